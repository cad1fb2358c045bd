"""Payment intents and setup intents by the API: held and captured, canceled, authenticated, saved for later."""

import pytest
import stripe

from tollhouse_sandbox.errors import StripeError


def intend(shop, **params):
    return shop.api.payment_intents.create(params={"amount": 1000, "currency": "eur", **params})


def pay(shop, card="pm_card_visa", **params):
    return intend(shop, payment_method=card, confirm=True, **params)


def test_held_and_captured_in_part(shop):
    """Held money is on no balance; what is captured is; the rest counts as given back, and may not be refunded."""
    held = pay(shop, capture_method="manual")
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 1000, 0)
    assert shop.happened()[-2:] == ["charge.succeeded", "payment_intent.amount_capturable_updated"]
    charge = shop.api.charges.retrieve(held.latest_charge)
    assert (charge.captured, charge.paid, charge.balance_transaction) == (False, True, None)
    assert charge.payment_method_details.card.capture_before == charge.created + 7 * 86_400
    with pytest.raises(stripe.InvalidRequestError, match="not captured"):
        shop.api.refunds.create(params={"charge": charge.id})
    with pytest.raises(stripe.InvalidRequestError, match="between 1 and 1000"):
        shop.api.payment_intents.capture(held.id, params={"amount_to_capture": 1001})
    done = shop.api.payment_intents.capture(held.id, params={"amount_to_capture": 600, "metadata": {"a": "b"}})
    assert (done.status, done.amount_capturable, done.amount_received) == ("succeeded", 0, 600)
    assert shop.happened()[-2:] == ["charge.captured", "payment_intent.succeeded"]
    charge = shop.api.charges.retrieve(charge.id, params={"expand": ["balance_transaction"]})
    assert (charge.amount_captured, charge.amount_refunded, charge.balance_transaction.net) == (600, 400, 600)
    assert shop.api.refunds.create(params={"charge": charge.id}).amount == 600
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded") as again:
        shop.api.payment_intents.capture(held.id)
    assert again.value.code == "payment_intent_unexpected_state"


def test_held_and_let_go(shop):
    """Canceled by the app, or by time after seven days: the customer has the money again."""
    first, second = (pay(shop, capture_method="manual") for _ in range(2))
    canceled = shop.api.payment_intents.cancel(first.id, params={"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert shop.happened()[-2:] == ["charge.refunded", "payment_intent.canceled"]
    shop.desk.advance(days=7)
    assert shop.happened()[-2:] == ["charge.expired", "payment_intent.canceled"]
    expired = shop.api.payment_intents.retrieve(second.id, params={"expand": ["latest_charge"]})
    assert (expired.cancellation_reason, expired.latest_charge.refunded) == ("automatic", True)
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        shop.api.payment_intents.cancel(second.id)


def test_an_intent_is_changed_until_it_is_paid(shop):
    """Amount, customer and texts; afterwards only what is merely noted."""
    intent = intend(shop, description="Two", receipt_email="a@example.com")
    customer = shop.customer(card=None)
    changed = shop.api.payment_intents.update(
        intent.id,
        params={
            "amount": 1200,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": "pm_card_mastercard",
            "setup_future_usage": "off_session",
            "shipping": {"name": "Ann", "address": {"country": "DE"}},
        },
    )
    assert (changed.status, changed.amount, changed.currency) == ("requires_confirmation", 1200, "usd")
    assert (changed.shipping.address.country, changed.receipt_email) == ("DE", "a@example.com")
    paid = shop.api.payment_intents.confirm(intent.id)
    assert paid.status == "succeeded"
    saved = shop.api.payment_methods.list(params={"customer": customer.id, "type": "card"}).data
    assert [each.id for each in saved] == [paid.payment_method]
    shop.api.payment_intents.update(intent.id, params={"metadata": {"a": "b"}, "description": ""})
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        shop.api.payment_intents.update(intent.id, params={"amount": 1})
    with pytest.raises(stripe.InvalidRequestError, match="include the Customer"):
        pay(shop, paid.payment_method)
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        pay(shop, paid.payment_method, customer=shop.customer(card=None).id)


def test_a_method_of_nobody_pays_once(shop):
    """Used, or taken off its customer: it cannot be used again, nor attached."""
    paid = pay(shop)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        pay(shop, paid.payment_method)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        shop.api.payment_methods.attach(paid.payment_method, params={"customer": shop.customer(card=None).id})
    assert shop.api.payment_methods.retrieve(paid.payment_method).customer is None


@pytest.mark.parametrize("params", [{"off_session": True}, {"error_on_requires_action": True}])
def test_authentication_that_cannot_be_asked_for(shop, params):
    """While the customer is away, or the app says so, it is a decline, and the intent waits for another card."""
    with pytest.raises(stripe.CardError) as refused:
        pay(shop, "pm_card_authenticationRequired", **params)
    assert refused.value.code == "authentication_required"
    told = refused.value.error.payment_intent
    assert (told["status"], told["last_payment_error"]["code"]) == (
        "requires_payment_method",
        "authentication_required",
    )
    assert shop.happened()[-1] == "payment_intent.payment_failed"


def test_authentication(shop):
    """The intent waits for the customer: passed it is paid, failed it waits for another card; asked for by the app."""
    asked = pay(shop, "pm_card_threeDSecure2Required")
    assert (asked.status, asked.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert shop.happened()[-1] == "payment_intent.requires_action"
    assert shop.desk.authenticate(asked.id)["status"] == "succeeded"
    options = {"card": {"request_three_d_secure": "any"}}
    insisted = pay(shop, payment_method_options=options)
    failed = shop.desk.authenticate(insisted.id, succeeds=False)
    assert (failed["status"], failed["next_action"]) == ("requires_payment_method", None)
    assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    with pytest.raises(StripeError, match="waits for no authentication"):
        shop.desk.authenticate(insisted.id)


def test_an_invoice_waits_for_authentication(shop):
    """The first invoice's intent is authenticated, and the subscription becomes active."""
    subscription = shop.subscribe(shop.price(), shop.customer("pm_card_authenticationRequired"))
    assert subscription.status == "incomplete"
    payments = shop.api.invoice_payments.list(params={"invoice": subscription.latest_invoice}).data
    intent = payments[0].payment.payment_intent
    with pytest.raises(stripe.InvalidRequestError, match="belongs to an invoice"):
        shop.api.payment_intents.cancel(intent)
    shop.desk.authenticate(intent)
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"


def test_types_that_may_pay(shop):
    """A list refuses others; bank debits are described by their account; wallets are told on the charge."""
    with pytest.raises(stripe.InvalidRequestError, match="not allowed"):
        pay(shop, allowed_payment_method_types=["sepa_debit"])
    data = {"type": "sepa_debit", "sepa_debit": {"iban": "DE89370400440532013000"}}
    debit = intend(shop, confirm=True, payment_method_data=data)
    assert debit.status == "processing"
    assert shop.api.charges.retrieve(debit.latest_charge).payment_method_details.sepa_debit.country == "DE"
    wallet = pay(shop, "pm_card_visa_applePay", automatic_payment_methods={"enabled": True})
    assert shop.api.charges.retrieve(wallet.latest_charge).payment_method_details.card.wallet.type == "apple_pay"
    closed = pay(shop, "pm_usBankAccount_accountClosed")
    shop.desk.advance(days=3)
    failed = shop.api.payment_intents.retrieve(closed.id)
    assert (failed.status, failed.last_payment_error.decline_code) == ("requires_payment_method", "account_closed")


def test_a_setup_intent(shop):
    """Created, confirmed, and the card is the customer's; declined it waits for another; 3-D Secure on the way."""
    customer = shop.customer(card=None)
    intent = shop.api.setup_intents.create(params={"customer": customer.id, "usage": "on_session"})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        shop.api.setup_intents.confirm(intent.id)
    with pytest.raises(stripe.CardError):
        shop.api.setup_intents.confirm(intent.id, params={"payment_method": "pm_card_chargeDeclined"})
    assert shop.happened()[-1] == "setup_intent.setup_failed"
    refused = shop.api.setup_intents.retrieve(intent.id)
    assert (refused.status, refused.last_setup_error.code) == ("requires_payment_method", "card_declined")
    card = {"payment_method": "pm_card_authenticationRequired", "description": "Later"}
    assert shop.api.setup_intents.update(intent.id, params=card).status == "requires_confirmation"
    assert shop.api.setup_intents.confirm(intent.id).status == "requires_action"
    assert shop.desk.authenticate(intent.id, succeeds=False)["status"] == "requires_payment_method"
    shop.api.setup_intents.confirm(intent.id, params={"payment_method": "pm_card_authenticationRequired"})
    done = shop.desk.authenticate(intent.id)
    assert done["status"] == "succeeded"
    assert shop.happened()[-2:] == ["payment_method.attached", "setup_intent.succeeded"]
    assert shop.api.payment_methods.retrieve(done["payment_method"]).customer == customer.id
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        shop.api.setup_intents.cancel(intent.id)
    given_up = shop.api.setup_intents.create(params={"allowed_payment_method_types": ["sepa_debit"]})
    assert given_up.payment_method_types == ["sepa_debit"]
    with pytest.raises(stripe.InvalidRequestError, match="not allowed for this SetupIntent"):
        shop.api.setup_intents.update(given_up.id, params={"payment_method": "pm_card_visa"})
    assert shop.api.setup_intents.cancel(given_up.id, params={"cancellation_reason": "abandoned"}).status == "canceled"
    assert [each.id for each in shop.api.setup_intents.list(params={"customer": customer.id}).data] == [intent.id]


def test_a_charge_by_itself(shop):
    """The old way: taken at once, held and captured, declined; of the customer's card."""
    charge = shop.api.charges.create(params={"amount": 500, "currency": "eur", "source": "tok_visa"})
    assert (charge.status, charge.captured, charge.payment_intent) == ("succeeded", True, None)
    held = shop.api.charges.create(
        params={"amount": 500, "currency": "eur", "customer": shop.customer().id, "capture": False}
    )
    assert shop.api.charges.capture(held.id, params={"amount": 300}).amount_captured == 300
    with pytest.raises(stripe.InvalidRequestError, match="already been captured"):
        shop.api.charges.capture(held.id)
    with pytest.raises(stripe.CardError):
        shop.api.charges.create(params={"amount": 500, "currency": "eur", "source": "tok_visa_chargeDeclined"})
    assert shop.happened()[-1] == "charge.failed"
    shop.api.charges.create(params={"amount": 500, "currency": "eur", "source": "tok_visa", "capture": False})
    shop.desk.advance(days=7)
    assert shop.happened()[-1] == "charge.expired"
    noted = shop.api.charges.update(charge.id, params={"fraud_details": {"user_report": "safe"}, "description": "x"})
    assert noted.fraud_details.user_report == "safe"
    shop.api.refunds.create(params={"charge": charge.id, "amount": 100})
