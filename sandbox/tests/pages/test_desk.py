"""The control desk as a browser without JavaScript meets it."""

import re
from datetime import UTC, datetime

EMAIL = "ada@example.com"


def test_the_desk_moves_the_clock(merchant):
    """Each fast-forward button moves the sandbox's time, and what falls due on the way happens."""
    portal, subscription = merchant.subscriber(merchant.price())
    before = merchant.sandbox.now()
    assert merchant.browser.post("/control/clock", data={"to": "week"}).status_code == 303
    assert 7 <= (merchant.sandbox.now() - before).total_seconds() / 86400 < 7.01
    merchant.browser.post("/control/clock", data={"to": "month"})
    assert len(merchant.read(f"/invoices?subscription={subscription}")["data"]) == 2
    assert "Renews on" in merchant.open(portal).text


def test_the_desk_goes_to_what_is_due_next(merchant):
    """The button names an instant, leads there, and then offers a later one."""
    merchant.subscriber(merchant.price())
    offered = re.search(r"due next: (.*?, \d\d:\d\d:\d\d)", merchant.open("/").text)
    assert offered
    merchant.browser.post("/control/clock", data={"to": "next"})
    named = datetime.strptime(offered[1], "%a %d %b %Y, %H:%M:%S").replace(tzinfo=UTC)
    assert 0 <= (merchant.sandbox.now() - named).total_seconds() < 60
    again = re.search(r"due next: (.*?, \d\d:\d\d:\d\d)", merchant.open("/").text)
    assert again
    assert again[1] != offered[1]


def test_the_desk_shows_events_and_what_became_of_them(merchant):
    """An event whose delivery failed is listed with that failure, beside the endpoint and the customer."""
    merchant.create("/webhook_endpoints", url="http://127.0.0.1:9/hook", **{"enabled_events[0]": "*"})
    merchant.subscriber(merchant.price())
    merchant.sandbox.drain()
    page = merchant.open("/")
    assert "http://127.0.0.1:9/hook enabled every event" in page.text
    assert EMAIL in page.text
    assert "customer.subscription.created" in page.text
    assert "again" in page.text


def test_an_empty_desk_is_not_an_error(merchant):
    """A fresh sandbox has a desk that says there is nothing yet."""
    assert "No event yet." in merchant.open("/").text


def test_the_desk_goes_to_a_date_and_stands_still(merchant):
    """The clock goes to a date and can be frozen there; it refuses in words to go back, too far, or to nonsense."""
    to = datetime.fromtimestamp(merchant.sandbox.now().timestamp() + 3 * 86400, UTC)
    fields = {"to": "date", "date": f"{to:%Y-%m-%dT%H:%M}"}
    assert merchant.browser.post("/control/clock", data=fields).status_code == 303
    assert abs((merchant.sandbox.now() - to).total_seconds()) < 90
    merchant.browser.post("/control/clock", data={"to": "freeze"})
    assert "Frozen: it moves only" in merchant.open("/").text
    merchant.browser.post("/control/clock", data={"to": "run"})
    assert "ahead of real time" in merchant.open("/").text
    for date, words in (("2020-01-01T00:00", "only forward"), ("2999-01-01T00:00", "ten years"), ("soon", "Write the")):
        refused = merchant.browser.post("/control/clock", data={"to": "date", "date": date})
        assert refused.status_code == 400
        assert words in merchant.words(refused).text
    assert merchant.browser.post("/control/clock", data={"to": "nowhere"}).status_code == 400


def test_the_desk_lists_every_object(merchant):
    """Each kind has a list with its number, each object a page with its JSON, its events, and links both ways."""
    price = merchant.price()
    _, subscription = merchant.subscriber(price)
    assert merchant.open("/").all("a", href="/objects/subscription")
    assert merchant.open("/objects/subscription").all("a", href=f"/objects/subscription/{subscription}")
    page = merchant.open(f"/objects/subscription/{subscription}")
    assert '"status": "active"' in page.text
    assert "customer.subscription.created" in page.text
    assert page.all("a", href=f"/objects/price/{price}")
    invoice = merchant.read(f"/invoices?subscription={subscription}")["data"][0]["id"]
    assert page.all("a", href=f"/objects/invoice/{invoice}")
    named = merchant.create("/customers", name="<b>&</b>", description='say "cus_1"')
    assert "<b>&</b>" in merchant.open(f"/objects/customer/{named['id']}").text
    for path in ("/objects/unicorn", "/objects/price/price_x", "/objects/_delivery/x", "/objects/price?after=price_x"):
        assert merchant.browser.get(path).status_code == 404


def test_a_long_list_goes_on_behind_its_last(merchant):
    """Fifty objects fit on a page; the rest is behind the link to the older ones."""
    first = merchant.create("/customers", name="First")["id"]
    for _ in range(50):
        merchant.create("/customers")
    newest = merchant.open("/objects/customer")
    assert not newest.all("a", href=f"/objects/customer/{first}")
    (older,) = [link["href"] for link in newest.all("a") if "?after=" in link["href"]]
    assert merchant.open(older).all("a", href=f"/objects/customer/{first}")


def test_an_event_is_sent_again(merchant, receiver):
    """The page of an event tells each attempt with its answer; the button sends it to an endpoint once more."""
    receiver.answer = lambda nth: 503 if nth == 1 else 200
    fields = {"enabled_events[0]": "customer.created"}
    endpoint = merchant.create("/webhook_endpoints", url=receiver.url, **fields)["id"]
    merchant.create("/customers", email=EMAIL)
    merchant.sandbox.drain()
    event = receiver.events[0]["id"]
    assert "503" in merchant.open(f"/objects/event/{event}").text
    assert merchant.browser.post(f"/objects/event/{event}/resend", data={"endpoint": endpoint}).status_code == 303
    assert [each["id"] for each in receiver.events] == [event, event]
    assert "succeeded" in merchant.open(f"/objects/event/{event}").text
    merchant.create(f"/webhook_endpoints/{endpoint}", disabled="true")
    for unable in (endpoint, "we_x"):
        assert merchant.browser.post(f"/objects/event/{event}/resend", data={"endpoint": unable}).status_code == 400
    assert merchant.browser.post("/objects/event/evt_x/resend", data={"endpoint": endpoint}).status_code == 404


def test_faults_are_switched_on_and_off(merchant):
    """A fault ordered on the desk is listed there until it is switched off; what it does not have is said."""
    fields = {"kind": "drop", "about": "invoice.*", "times": "", "chance": "0.5"}
    assert merchant.browser.post("/control/faults", data=fields).status_code == 303
    fields = {"kind": "error", "about": "/v1/refunds", "times": "2", "chance": ""}
    assert merchant.browser.post("/control/faults", data=fields).status_code == 303
    page = merchant.open("/")
    assert "drop invoice.*, 50% of them, until it is switched off, struck 0 times" in page.text
    assert "error /v1/refunds, 2 more" in page.text
    (drop, _) = merchant.sandbox.faults()
    assert merchant.browser.post("/control/faults", data={"end": drop["id"]}).status_code == 303
    assert [fault["kind"] for fault in merchant.sandbox.faults()] == ["error"]
    for wrong in ({"kind": "drop", "times": "0"}, {"kind": "drop", "times": "often"}, {"kind": "rain"}, {"end": "x"}):
        refused = merchant.browser.post("/control/faults", data=wrong)
        assert refused.status_code in (400, 404)
        assert merchant.words(refused).all("p", role="alert")
