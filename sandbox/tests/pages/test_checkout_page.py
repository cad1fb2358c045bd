"""The payment page as a browser without JavaScript meets it."""

import re
from datetime import timedelta
from typing import Any

APP = "http://app.example.com"
EMAIL = "ada@example.com"


def test_the_page_says_what_is_bought_and_what_it_costs(merchant):
    """Product, price, interval, the total of today, and the way back to the app are on the page."""
    page = merchant.open(f"/pay/{merchant.checkout(merchant.price())}")
    assert "PDF Tool Pro" in page.text
    assert "€9.00 per month" in page.text
    assert "Total due today €9.00" in page.text
    assert "SANDBOX No money moves" in page.text
    assert page.all("a", href=f"{APP}/pricing")


def test_the_page_asks_what_the_app_wants_to_know(merchant):
    """Custom fields, a phone number and the terms are fields of the form; what is missing is said, the rest kept."""
    field = "custom_fields[0]"
    asks: dict[str, Any] = {
        f"{field}[key]": "size",
        f"{field}[label][type]": "custom",
        f"{field}[label][custom]": "Size",
        f"{field}[type]": "dropdown",
        f"{field}[dropdown][options][0][label]": "Large",
        f"{field}[dropdown][options][0][value]": "l",
        "phone_number_collection[enabled]": "true",
        "consent_collection[terms_of_service]": "required",
        "custom_text[submit][message]": "Sent to your door.",
    }
    checkout = merchant.checkout(merchant.price(), **asks)
    page = merchant.open(f"/pay/{checkout}")
    assert "Phone number" in page.text and "Size" in page.text and "Sent to your door." in page.text
    form = {"email": EMAIL, "card": "pm_card_visa", "answer custom_fields[size]": "l", "answer phone": "+49 30 1"}
    refused = merchant.browser.post(f"/pay/{checkout}", data=form)
    assert "fill in: I agree to the terms of service" in merchant.words(refused).text
    assert merchant.words(refused).all("input", name="answer phone")[0]["value"] == "+49 30 1"
    agreed = merchant.browser.post(f"/pay/{checkout}", data={**form, "answer terms_of_service": "yes"})
    assert agreed.status_code == 303
    assert merchant.session(checkout)["custom_fields"][0]["dropdown"]["value"] == "l"


def test_a_trial_is_told_before_it_starts(merchant):
    """Who starts a trial reads how long it is free, what it costs afterwards, and that nothing is due today."""
    fields: dict[str, Any] = {"subscription_data[trial_period_days]": 14}
    page = merchant.open(f"/pay/{merchant.checkout(merchant.price(), **fields)}")
    assert "14 days free then €9.00 per month" in page.text
    assert "Total due today €0.00" in page.text
    assert "Start trial" in page.text


def test_paying_leads_back_to_the_app(merchant):
    """A good card answers 303 to the app's success URL with the session's id in it, and the session is paid."""
    checkout = merchant.checkout(merchant.price())
    answer = merchant.pay(checkout)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{APP}/welcome?session={checkout}"
    assert merchant.session(checkout)["payment_status"] == "paid"
    assert merchant.session(checkout)["customer_details"]["email"] == EMAIL


def test_a_decline_is_said_and_nothing_is_lost(merchant):
    """After a declined card the page shows why, keeps what was typed and chosen, and can be paid again."""
    checkout = merchant.checkout(merchant.price())
    answer = merchant.pay(checkout, "pm_card_chargeDeclined")
    page = merchant.words(answer)
    assert answer.status_code == 402
    assert "Your card was declined." in page.text
    assert page.all("input", id="email")[0]["value"] == EMAIL
    assert "checked" in page.all("input", value="pm_card_chargeDeclined")[0]
    assert merchant.session(checkout)["status"] == "open"
    assert merchant.pay(checkout).status_code == 303


def test_the_bank_may_ask_who_it_is(merchant):
    """A card with 3-D Secure leads to a second step; failing it charges nothing, completing it pays."""
    checkout = merchant.checkout(merchant.price(19900, interval=None), mode="payment")
    step = merchant.pay(checkout, "pm_card_threeDSecure2Required")
    assert step.status_code == 200
    fields = {str(hidden["name"]): str(hidden["value"]) for hidden in merchant.words(step).all("input", type="hidden")}

    failed = merchant.browser.post(f"/pay/{checkout}/authenticate", data=fields | {"answer": "fail"})
    assert failed.status_code == 402
    assert "could not confirm it is you" in merchant.words(failed).text
    assert merchant.session(checkout)["status"] == "open"

    completed = merchant.browser.post(f"/pay/{checkout}/authenticate", data=fields | {"answer": "complete"})
    assert completed.status_code == 303
    assert merchant.session(checkout)["payment_status"] == "paid"


def test_a_bank_debit_is_on_its_way_first(merchant):
    """A delayed debit completes the page at once but is paid only days later."""
    checkout = merchant.checkout(merchant.price(19900, interval=None), mode="payment")
    assert merchant.pay(checkout, "pm_sepaDebit").status_code == 303
    assert (merchant.session(checkout)["status"], merchant.session(checkout)["payment_status"]) == (
        "complete",
        "unpaid",
    )
    merchant.sandbox.advance(days=14)
    assert merchant.session(checkout)["payment_status"] == "paid"


def test_a_finished_page_says_so(merchant):
    """A page that was paid offers no second payment, neither shown nor when an old form is sent again."""
    checkout = merchant.checkout(merchant.price())
    merchant.pay(checkout)
    for answer in (merchant.browser.get(f"/pay/{checkout}"), merchant.pay(checkout)):
        page = merchant.words(answer)
        assert "This checkout is complete" in page.text
        assert not page.all("form")


def test_an_expired_page_says_so(merchant):
    """A page past its 24 hours cannot be paid and sends people back to the app."""
    checkout = merchant.checkout(merchant.price())
    merchant.sandbox.advance(hours=25)
    page = merchant.open(f"/pay/{checkout}")
    assert "This checkout has expired" in page.text
    assert page.all("a", href=f"{APP}/pricing")


def test_currencies_without_cents_are_written_without(merchant):
    """500 yen are 500, not 5.00."""
    page = merchant.open(f"/pay/{merchant.checkout(merchant.price(500, 'jpy'))}")
    assert re.search(r"500 JPY per month", page.text)
    assert "5.00" not in page.text


def with_code(merchant):
    coupon = merchant.create("/coupons", percent_off=20, duration="repeating", duration_in_months=3, name="Spring")[
        "id"
    ]
    merchant.create("/promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": coupon}, code="SPRING20")
    return merchant.checkout(merchant.price(), allow_promotion_codes="true")


def test_a_promotion_code_is_put_on_and_taken_off(merchant):
    """A code changes the bill before anybody pays and keeps what was filled in; the button takes it off again."""
    checkout = with_code(merchant)
    filled = {"email": EMAIL, "card": "pm_card_mastercard"}
    applied = merchant.words(
        merchant.browser.post(f"/pay/{checkout}", data=filled | {"do": "apply", "code": "spring20"})
    )
    assert "€7.20 today, 20% off for 3 months" in applied.text
    assert "Spring 20% off for 3 months -€1.80" in applied.text
    assert applied.all("input", id="email")[0]["value"] == EMAIL
    assert "checked" in applied.all("input", value="pm_card_mastercard")[0]
    removed = merchant.words(merchant.browser.post(f"/pay/{checkout}", data=filled | {"do": "remove"}))
    assert "Total due today €9.00" in removed.text
    assert merchant.session(checkout)["status"] == "open"


def test_nobody_pays_without_the_code_they_typed(merchant):
    """Who types a code and presses pay sees the new total first; the next press pays it."""
    checkout = with_code(merchant)
    filled = {"email": EMAIL, "card": "pm_card_visa"}
    shown = merchant.words(merchant.browser.post(f"/pay/{checkout}", data=filled | {"code": "SPRING20"}))
    assert "look at the total before you pay" in shown.text
    assert merchant.browser.post(f"/pay/{checkout}", data=filled | {"code": ""}).status_code == 303
    assert merchant.session(checkout)["amount_total"] == 720


def test_a_code_that_is_none_is_told_beside_it(merchant):
    """A wrong code is said at its field, which keeps it, and costs nothing else; a page may take none at all."""
    checkout = with_code(merchant)
    refused = merchant.browser.post(f"/pay/{checkout}", data={"email": EMAIL, "do": "apply", "code": "NONE"})
    page = merchant.words(refused)
    assert refused.status_code == 400
    (field,) = page.all("input", id="code")
    assert (field["value"], field["aria-invalid"], field["aria-describedby"]) == ("NONE", "true", "code-error")
    assert page.all("p", id="code-error", role="alert")
    plain = merchant.checkout(merchant.price())
    assert not merchant.open(f"/pay/{plain}").all("input", id="code")
    assert merchant.browser.post(f"/pay/{plain}", data={"code": "SPRING20"}).status_code == 400


def test_a_debit_says_when_it_is_decided(merchant):
    """The choice of a bank debit names the day on which the bank will have decided."""
    merchant.sandbox.freeze()
    day = merchant.sandbox.now() + timedelta(days=3)
    assert f"decided on {day.day} {day:%B %Y}" in merchant.open(f"/pay/{merchant.checkout(merchant.price())}").text


def test_a_card_is_saved_without_a_purchase(merchant):
    """Setup mode has no bill, and its 3-D Secure step speaks of saving the card."""
    session = merchant.create("/checkout/sessions", mode="setup", currency="eur", success_url=f"{APP}/saved")["id"]
    page = merchant.open(f"/pay/{session}")
    assert "Save a payment method" in page.text
    assert "Total" not in page.text
    step = merchant.words(merchant.pay(session, "pm_card_threeDSecure2Required"))
    assert "before it lets the card be saved" in step.text


def test_the_quantity_is_chosen_on_the_page(merchant):
    """Where the app lets it be changed: who changes it sees the new total before they pay, within the app's bounds."""
    fields = {"line_items[0][adjustable_quantity][enabled]": "true", "line_items[0][adjustable_quantity][maximum]": 5}
    checkout = merchant.checkout(merchant.price(), **fields)
    (field,) = merchant.open(f"/pay/{checkout}").all("input", type="number")
    assert (field["min"], field["max"], field["value"]) == ("1", "5", "1")
    filled = {"email": EMAIL, "card": "pm_card_visa"}
    changed = merchant.words(merchant.browser.post(f"/pay/{checkout}", data=filled | {field["name"]: "3"}))
    assert "look at the total" in changed.text
    assert "Total due today €27.00" in changed.text
    for wrong, words in (("6", "from 1 to 5"), ("many", "whole number")):
        refused = merchant.browser.post(f"/pay/{checkout}", data=filled | {field["name"]: wrong, "do": "update"})
        assert (refused.status_code, words in refused.text) == (400, True)
    assert merchant.browser.post(f"/pay/{checkout}", data=filled | {field["name"]: "3"}).status_code == 303
    assert merchant.session(checkout)["amount_total"] == 2700


def test_an_optional_item_is_added_and_removed(merchant):
    """What the app offers beside is put on the bill by one button and taken off by another."""
    extra = merchant.price(500)
    fields = {"optional_items[0][price]": extra, "optional_items[0][quantity]": 1}
    checkout = merchant.checkout(merchant.price(), **fields)
    (add,) = merchant.open(f"/pay/{checkout}").all("button", value=f"add:{extra}")
    added = merchant.words(merchant.browser.post(f"/pay/{checkout}", data={"do": add["value"]}))
    assert "Total due today €14.00" in added.text
    (drop,) = [each for each in added.all("button", name="do") if str(each["value"]).startswith("drop:")]
    removed = merchant.words(merchant.browser.post(f"/pay/{checkout}", data={"do": drop["value"]}))
    assert "Total due today €9.00" in removed.text


def test_an_expired_page_is_taken_up_again(merchant):
    """Where the app allows it, an expired page leads to a new one like it."""
    checkout = merchant.checkout(merchant.price(), **{"after_expiration[recovery][enabled]": "true"})
    merchant.sandbox.advance(hours=25)
    (link,) = merchant.open(f"/pay/{checkout}").all("a", href=f"{merchant.sandbox.url}/pay/{checkout}/recover")
    again = merchant.browser.get(link["href"])
    assert "Total due today €9.00" in merchant.open(again.headers["location"]).text
