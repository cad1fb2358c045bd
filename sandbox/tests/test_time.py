"""The clock, persistence, the control calls, and the command line."""

import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import stripe

from tollhouse_sandbox.clock import Clock
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.store import Store
from tollhouse_sandbox.testing import running_sandbox


def test_the_clock_runs_freezes_and_moves(desk):
    """Real time plus an offset; frozen it moves only when told to; it never goes back."""
    frozen = desk.now()
    assert desk.now() == frozen
    desk.advance(days=2, hours=1)
    assert desk.now() == frozen + timedelta(days=2, hours=1)
    desk.advance_to(frozen)
    assert desk.now() == frozen + timedelta(days=2, hours=1)
    desk.freeze(False)
    running = desk.now()
    assert desk.now() > running
    shown = httpx.get(f"{desk.url}/_sandbox/clock", trust_env=False).json()
    assert abs(shown["now"] - time.time() - shown["offset"]) < 1
    assert shown["offset"] == pytest.approx(timedelta(days=2, hours=1).total_seconds(), abs=60)
    desk.reset()
    assert abs((desk.now() - datetime.now(UTC)).total_seconds()) < 5


def test_a_clock_that_was_set_shows_that_second():
    """Rounding of floats must never show the second before the one something was due at."""
    for second in range(1_900_000_000, 1_900_000_300):
        clock = Clock()
        clock.move_to(second)
        assert clock.second() == second


def test_due_things_happen_in_order(shop):
    """One advance over everything: warning, trial end, payment, cancellation, each at its own second."""
    customer = shop.customer()
    trial = shop.subscribe(shop.price(), customer, trial_period_days=10)
    leaving = shop.subscribe(shop.price(), customer, cancel_at=trial.created + 8 * 86_400)
    since = shop.last_event()
    shop.desk.advance(days=11)
    told = [(event.type, (event.created - trial.created) // 3600) for event in shop.events(since)]
    assert told[0] == ("invoice.upcoming", 3 * 24)
    assert told[1] == ("customer.subscription.trial_will_end", 7 * 24)
    assert told[2] == ("customer.subscription.deleted", 8 * 24)
    assert told[3] == ("customer.subscription.updated", 10 * 24)
    assert told[-1] == ("customer.subscription.updated", 10 * 24 + 1)
    assert [at for _, at in told] == sorted(at for _, at in told)
    assert shop.api.subscriptions.retrieve(leaving.id).status == "canceled"


def test_real_time_does_what_is_due(desk, shop):
    """Without any call, what becomes due while the clock runs is done in the background."""
    session = shop.checkout(shop.price())
    desk.advance(hours=23, minutes=59, seconds=59.5)
    desk.freeze(False)
    deadline = time.monotonic() + 10
    while shop.api.checkout.sessions.retrieve(session.id).status == "open" and time.monotonic() < deadline:
        pass
    assert shop.api.checkout.sessions.retrieve(session.id).status == "expired"


def test_everything_survives_a_restart(tmp_path, connect):
    """With a data file objects, order, secrets, keys, clock, settings and waiting work are there again."""
    file = tmp_path / "sandbox.sqlite"
    with running_sandbox(data=file, frozen=True) as desk:
        api = connect(desk.url)
        price = api.prices.create(
            params={
                "currency": "eur",
                "unit_amount": 900,
                "recurring": {"interval": "month"},
                "product_data": {"name": "Pro"},
            }
        )
        customer = api.customers.create(
            params={"payment_method": "pm_card_visa", "email": "a@example.com"}, options={"idempotency_key": "once"}
        )
        method = api.customers.payment_methods.list(customer.id).data[0].id
        subscription = api.subscriptions.create(
            params={"customer": customer.id, "items": [{"price": price.id}], "default_payment_method": method}
        )
        api.webhook_endpoints.create(params={"url": "http://127.0.0.1:9/", "enabled_events": ["*"]})
        gone = api.products.create(params={"name": "gone"})
        api.products.delete(gone.id)
        desk.drain()
        desk.after_dunning("unpaid")
        desk.advance(hours=5)
        moment = desk.now()
        events = [event.id for event in api.events.list(params={"limit": 100}).data]
    with running_sandbox(data=file, frozen=True) as desk:
        api = connect(desk.url)
        assert abs(desk.now() - moment) < timedelta(seconds=1)
        assert [event.id for event in api.events.list(params={"limit": 100}).data] == events
        again = api.customers.create(
            params={"payment_method": "pm_card_visa", "email": "a@example.com"}, options={"idempotency_key": "once"}
        )
        assert again.id == customer.id
        assert len(api.customers.list().data) == 1
        with pytest.raises(stripe.InvalidRequestError):
            api.products.retrieve(gone.id)
        desk.advance(days=32)
        renewed = api.subscriptions.retrieve(subscription.id)
        assert renewed.latest_invoice != subscription.latest_invoice
        undelivered = api.events.list(params={"delivery_success": False, "limit": 100}).data
        assert undelivered
        desk.reset()
    with running_sandbox(data=file) as desk:
        assert connect(desk.url).customers.list().data == []


def test_a_refused_request_leaves_no_trace(tmp_path, connect):
    """What a failed call changed is undone in memory and never reaches the file."""
    file = tmp_path / "sandbox.sqlite"
    with running_sandbox(data=file) as desk:
        api = connect(desk.url)
        api.prices.create(
            params={"currency": "eur", "unit_amount": 1, "product_data": {"name": "A"}, "lookup_key": "taken"}
        )
        with pytest.raises(stripe.InvalidRequestError, match="lookup key"):
            api.prices.create(
                params={"currency": "eur", "unit_amount": 1, "product_data": {"name": "B"}, "lookup_key": "taken"}
            )
        assert [product.name for product in api.products.list().data] == ["A"]
        assert len(api.events.list().data) == 2
    with running_sandbox(data=file) as desk:
        assert [product.name for product in connect(desk.url).products.list().data] == ["A"]


def test_the_store_undoes_removals():
    """A rolled-back removal, change and creation leave everything as it was."""
    store = Store()
    store.put({"object": "thing", "id": "a", "value": 1})
    store.commit()
    store.change({"object": "thing", "id": "a"}, value=2)
    store.put({"object": "thing", "id": "b"})
    store.remove({"object": "thing", "id": "a"})
    store.rollback()
    assert [*store.oldest_first("thing")] == [{"object": "thing", "id": "a", "value": 1}]
    assert store.count("thing") == 1


def test_the_store_finds_what_is_related():
    """By one value, in both directions and between cursors, after changes, removals and what was undone of them."""

    def price(name, **fields):
        return {"object": "price", "id": name, "product": "p", "lookup_key": None, **fields}

    def found(**related):
        return "".join(one["id"] for one in store.oldest_first("price", **related))

    store = Store()
    for name in "abcd":
        store.put(price(name))
    store.commit()
    assert found(product="p") == "abcd"
    assert found(product="q") == found(lookup_key="k") == ""
    store.change(price("b"), product="q")
    store.remove(price("c"))
    store.put(price("e", lookup_key="k"))
    assert (found(product="p"), found(product="q"), found(lookup_key="k")) == ("ade", "b", "e")
    store.change(price("b"), product="p")
    assert [one["id"] for one in store.newest_first("price", "d", product="p")] == ["b", "a"]
    assert [one["id"] for one in store.newest_first("price", before="b", product="p")] == ["e", "d"]
    store.rollback()
    assert (found(product="p"), found(product="q"), found(lookup_key="k"), found()) == ("abcd", "", "", "abcd")
    with pytest.raises(KeyError):
        found(colour="red")


def test_an_object_is_found_by_each_value_of_a_list():
    """As a subscription is by each of its items, and no longer by one that was taken out."""
    store = Store()
    store.put({"object": "subscription", "id": "sub", "items": [{"id": "si_1"}, {"id": "si_2"}]})
    assert [one["id"] for one in store.newest_first("subscription", item="si_2")] == ["sub"]
    store.change({"object": "subscription", "id": "sub"}, items=[{"id": "si_1"}])
    assert not any(store.newest_first("subscription", item="si_2"))
    assert any(store.newest_first("subscription", item="si_1"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", b"not json"),
        ("clock", b"[]"),
        ("clock", b'{"advance_seconds": "soon"}'),
        ("faults", b'{"nonsense": 1}'),
        ("settings", b'{"after_dunning": "forgive"}'),
        ("settings", b'{"retries_after": [0]}'),
        ("settings", b'{"mercy": true}'),
        ("disputes", b"{}"),
    ],
)
def test_wrong_control_calls(desk, path, body):
    """The sandbox's own calls refuse what they cannot read."""
    answer = httpx.post(f"{desk.url}/_sandbox/{path}", content=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_errors_of_the_driver_are_stripes(desk):
    """`pay` on an unknown page raises what Stripe would answer."""
    with pytest.raises(StripeError) as unknown:
        desk.pay("cs_test_none")
    assert (unknown.value.status, unknown.value.code) == (404, "resource_missing")
    assert desk.session_id(f"{desk.url}/pay/cs_test_a1b2?x=1#y") == "cs_test_a1b2"


def test_a_year_of_many_subscriptions_is_quick(shop):
    """Twenty subscriptions through a year: a couple of seconds at most on a slow machine."""
    customer, price = shop.customer(), shop.price()
    for _ in range(20):
        shop.subscribe(price, customer)
    started = time.process_time()
    shop.desk.advance(days=366)
    assert time.process_time() - started < 5
    assert len(list(shop.api.invoices.list(params={"limit": 100}).auto_paging_iter())) == 20 * 13


def test_the_command_line(tmp_path):
    """`serve` listens where it is told, keeps its state in the file, and ends when it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from tollhouse_sandbox.cli import main; main()"]
    options = ["serve", "--port", str(port), "--data", str(tmp_path / "desk.sqlite")]
    with (
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process,
        httpx.Client(transport=httpx.HTTPTransport(retries=8), base_url=f"http://127.0.0.1:{port}") as http,
    ):
        try:
            made = http.post("/v1/customers", headers={"Authorization": "Bearer sk_test_x"}).json()
        finally:
            process.terminate()
            shown, _ = process.communicate(timeout=10)
    assert made["id"].startswith("cus_")
    assert f"http://127.0.0.1:{port}" in shown
    with running_sandbox(data=tmp_path / "desk.sqlite") as desk:
        kept = httpx.get(f"{desk.url}/v1/customers/{made['id']}", headers={"Authorization": "Bearer sk_test_x"})
        assert kept.json()["id"] == made["id"]


def test_nothing_of_the_server_is_imported():
    """The sandbox is its own distribution: no module of it imports the server, the client, or `stripe`."""
    import tollhouse_sandbox

    for file in Path(tollhouse_sandbox.__file__).parent.rglob("*.py"):
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in ("stripe", "tollhouse", "tollhouse_server"), f"{file.name}: {line}"
