"""Checkout: what happens when a hosted page is paid, expires, or its delayed debit settles."""

from collections.abc import Mapping
from typing import Any

from tollhouse_sandbox import (
    automatic_tax,
    cards,
    checkout_answers,
    checkout_discounts,
    checkout_invoices,
    currency_options,
    customers,
    events,
    ids,
    invoices,
    payment_methods,
    payments,
    redemption,
    setup_intents,
    subscribing,
    subscriptions,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Card, Outcome
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError, missing
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import DAY, trial_end
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.redemption import Promotion
from tollhouse_sandbox.store import Json

RECOVERABLE_FOR = 30 * DAY
"""Seconds from a page's expiry within which it can be taken up again."""
ANYBODY = "anybody@example.com"
"""The address of a customer who gave none."""


def trial_ends(account: Account, session: Json) -> int | None:
    """When the trial of a subscription session would end if it were paid now."""
    data = session["_subscription_data"]
    if "trial_end" in data:
        return int(data["trial_end"])
    days = data.get("trial_period_days")
    return trial_end(account.now, days) if days else None


def due_today(account: Account, session: Json) -> int:
    """What paying the page takes at once, in minor units."""
    if session["mode"] == "setup" or (session["mode"] == "subscription" and trial_ends(account, session)):
        return 0
    return int(session["amount_total"])


def needs_card(account: Account, session: Json) -> bool:
    if due_today(account, session):
        return True
    return bool(session["mode"] != "payment" and session["payment_method_collection"] == "always")


def open_session(account: Account, session_id: str, *, param: str = "id") -> Json:
    """The session if it can still be paid. Raises 400 when it cannot."""
    session = account.require("checkout.session", session_id, param=param)
    if session["status"] != "open":
        raise StripeError(f"This Checkout Session is {session['status']}: it can no longer be paid.")
    return session


def pay(
    account: Account,
    session: Json,
    card_name: str,
    email: str | None = None,
    *,
    authenticated: bool = False,
    answers: Mapping[str, Any] | None = None,
) -> Json:
    """Pays a page with a test card; `answers` are to what else it asks (`checkout_answers`).

    Raises 402 when the card is refused and 400 when an answer is wrong or missing, and then nothing has happened.
    """
    card = cards.named(card_name)
    if card is None:
        raise missing("PaymentMethod", card_name, param="card", status=400)
    if session["mode"] == "subscription" and session["customer"]:
        customers.keeps_to(account, session["customer"], session["currency"], param="currency")
    filled = checkout_answers.read(session, answers or {})
    promotions = checkout_discounts.promotions(account, session)
    if needs_card(account, session):
        if card.type not in session["payment_method_types"]:
            raise StripeError(f"This page does not take {card.type} payments.", param="card")
        _check(card, takes=due_today(account, session) > 0, authenticated=authenticated)
    email = email or session["customer_email"]
    customer = _customer(account, session, email, filled)
    email = email or (customer or {}).get("email") or ANYBODY
    session = account.store.change(session, **checkout_answers.written(session, filled, customer, email))
    method = _method(account, session, card, customer)
    if session["mode"] == "subscription":
        assert customer
        return _subscribe(account, session, customer, method, promotions)
    if session["mode"] == "setup":
        assert method
        intent = account.store.change(setup_intents.set_up(account, customer, method), **session["_setup_intent_data"])
        events.emit(account, "setup_intent.succeeded", intent)
        return _complete(account, session, customer, setup_intent=intent["id"])
    buyer = customer["id"] if customer else None
    discounts = [
        redemption.redeem(account, promotion, checkout_session=session["id"], customer=buyer)["id"]
        for promotion in promotions
    ]
    return _pay_once(account, session, customer, method, discounts)


def _check(card: Card, *, takes: bool, authenticated: bool) -> None:
    """Asks the bank before anything exists: a refused page leaves no subscription behind."""
    outcome = card.outcome(authenticated=authenticated, off_session=False)
    if outcome is Outcome.NEEDS_AUTHENTICATION:
        raise AuthenticationRequired()
    if outcome is Outcome.DECLINED and (takes or card.refused_when_saved):
        assert card.decline
        raise payment_methods.card_error(card.decline)


def _customer(account: Account, session: Json, email: str | None, filled: Mapping[str, str]) -> Json | None:
    """Who buys: a new customer gets all they filled in, one there was already what `customer_update` says."""
    told: Json = {"address": checkout_answers.address(filled), "name": checkout_answers.name(filled)}
    if session["customer"]:
        customer = account.require("customer", session["customer"])
        changes = {name: told[name] for name, when in session["_customer_update"].items() if when == "auto"}
        if customer["email"] is None:
            changes["email"] = email
        before = events.picture(account, customer)
        customer = account.store.change(customer, **{name: value for name, value in changes.items() if value})
        events.updated(account, "customer.updated", customer, before)
        return customer
    billed = (session["invoice_creation"] or {}).get("enabled")
    if session["mode"] == "subscription" or session["customer_creation"] == "always" or billed:
        return customers.create(account, email=email or ANYBODY, phone=filled.get("phone") or None, **told)
    return None


def _method(account: Account, session: Json, card: Card, customer: Json | None) -> Json | None:
    """Makes the payment method, saves it with the customer where Stripe does, and makes it the one to renew with."""
    if session["mode"] != "setup" and not needs_card(account, session):
        return None
    details = session["customer_details"]
    billing = {name: details[name] for name in ("address", "email", "name", "phone")}
    method = payment_methods.make(account, card, billing=billing)
    keeps = session["mode"] != "payment" or session["_payment_intent_data"].get("setup_future_usage")
    if customer and keeps:
        method = payment_methods.attach(account, method, customer)
        if session["mode"] == "subscription":
            payment_methods.make_default(account, customer, method)
    return method


def _subscribe(
    account: Account, session: Json, customer: Json, method: Json | None, promotions: list[Promotion]
) -> Json:
    data = session["_subscription_data"]
    settings = data.get("trial_settings") or {}
    order = subscribing.Order(
        customer=account.require("customer", customer["id"]),
        items=[
            (currency_options.charged(account, line["price"], session["currency"]), line["quantity"], {})
            for line in session["_line_items"]
        ],
        trial_end=trial_ends(account, session),
        metadata=data.get("metadata") or {},
        description=data.get("description"),
        default_payment_method=method["id"] if method else None,
        automatic_tax=session["automatic_tax"]["enabled"],
        promotions=promotions,
        trial_end_behavior=settings.get("end_behavior", {}),
    )
    subscription, payment, happened = subscribing.start(account, order, method=method, authenticated=True)
    if subscription["status"] == "trialing" and method:
        happened.append(Happening("setup_intent.succeeded", setup_intents.set_up(account, customer, method)))
    events.emit_all(account, happened)
    return _complete(
        account,
        session,
        customer,
        payment=payment,
        invoice=subscription["latest_invoice"],
        subscription=subscription["id"],
    )


def _pay_once(
    account: Account, session: Json, customer: Json | None, method: Json | None, discounts: list[str]
) -> Json:
    data = session["_payment_intent_data"]
    if session["invoice_creation"] and session["invoice_creation"]["enabled"]:
        assert customer
        invoice, payment = checkout_invoices.bill(account, session, customer, method, discounts, data)
        made = {"payment_intent": payment.intent["id"]} if payment else {}
        return _complete(account, session, customer, payment=payment, invoice=invoice["id"], **made)
    if method is None:
        return _complete(account, session, customer)
    intent = payments.intend(
        account,
        session["amount_total"],
        session["currency"],
        customer=customer["id"] if customer else None,
        **data,
    )
    payment = payments.attempt(account, intent, method, authenticated=True)
    events.emit_all(account, [Happening("payment_intent.created", payment.intent), *payment.happened])
    return _complete(account, session, customer, payment=payment, payment_intent=intent["id"])


def _complete(
    account: Account,
    session: Json,
    customer: Json | None,
    *,
    payment: Payment | None = None,
    **made: str,
) -> Json:
    paid = "no_payment_required" if payment is None else "paid"
    if payment and payment.outcome is Outcome.PROCESSING:
        paid = "unpaid"
    session = account.store.change(
        session,
        automatic_tax=automatic_tax.of_session(enabled=session["automatic_tax"]["enabled"], complete=True),
        customer=customer["id"] if customer else None,
        payment_status=paid,
        status="complete",
        url=None,
        _intent=payment.intent["id"] if payment else None,
        **made,
    )
    events.emit(account, "checkout.session.completed", session)
    return session


def redirect(session: Json) -> str:
    """Where the browser goes after paying: the merchant's URL with the session's id filled in."""
    return str(session["success_url"] or session["_page"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def expire(account: Account, session: Json) -> Json:
    """Closes an open page for good."""
    session = account.store.change(session, status="expired", url=None, after_expiration=_recovery(account, session))
    events.emit(account, "checkout.session.expired", session)
    return session


def _recovery(account: Account, session: Json) -> Json | None:
    """Where a page that expired can be taken up again, if that was asked for."""
    if not session["after_expiration"]:
        return None
    recovery = session["after_expiration"]["recovery"]
    if recovery["enabled"]:
        recovery = {**recovery, "expires_at": account.now + RECOVERABLE_FOR, "url": f"{session['_page']}/recover"}
    return {"recovery": recovery}


def new_page(account: Account) -> tuple[str, str]:
    """The id of a new session and the URL of its page."""
    session_id = "cs_test_a1" + ids.token(56)
    return session_id, f"{account.url}/pay/{session_id}"


def recover(account: Account, session: Json) -> Json:
    """A new page like one that expired. Raises 400 when it cannot be taken up again."""
    recovery = (session["after_expiration"] or {}).get("recovery") or {}
    if session["status"] != "expired" or not recovery.get("url") or recovery["expires_at"] < account.now:
        raise StripeError("This Checkout Session cannot be recovered.")
    session_id, page = new_page(account)
    return account.born(
        "checkout.session",
        **{
            **{name: value for name, value in session.items() if name not in ("object", "created", "livemode")},
            "id": session_id,
            "after_expiration": None,
            "allow_promotion_codes": recovery["allow_promotion_codes"] or session["allow_promotion_codes"],
            "expires_at": account.now + DAY,
            "recovered_from": session["id"],
            "status": "open",
            "url": page,
            "_page": page,
        },
    )


def waiting_for(account: Account, intent: str) -> Json | None:
    """The completed session whose debit this intent is."""
    return next(account.store.newest_first("checkout.session", intent=intent), None)


def settle(account: Account, intent: Json, *, succeeds: bool) -> None:
    """Ends a delayed debit, for the invoice it pays and the page it was begun on."""
    payment = payments.settle(account, intent, succeeds=succeeds)
    paid = invoices.payment_of(account, intent=intent["id"])
    if paid:
        subscriptions.settle_invoice(account, account.require("invoice", paid["invoice"]), payment)
    else:
        events.emit_all(account, payment.happened)
    session = waiting_for(account, intent["id"])
    if session:
        session = account.store.change(session, payment_status="paid" if succeeds else "unpaid")
        events.emit(account, f"checkout.session.async_payment_{'succeeded' if succeeds else 'failed'}", session)


def authenticate(account: Account, intent: Json, *, succeeds: bool) -> Json:
    """Goes on with an intent that waited for 3-D Secure, for the invoice it pays if it pays one."""
    if not succeeds:
        events.emit_all(account, payments.not_authenticated(account, intent).happened)
        return account.require("payment_intent", intent["id"])
    method = account.require("payment_method", intent["payment_method"])
    paid = invoices.payment_of(account, intent=intent["id"])
    if paid:
        invoice = account.require("invoice", paid["invoice"])
        return subscriptions.pay_invoice(account, invoice, method, off_session=False, authenticated=True).intent
    payment = payments.attempt(account, intent, method, authenticated=True)
    events.emit_all(account, payment.happened)
    return payment.intent


def settle_when_due(account: Account, intent: Json) -> None:
    """Ends a delayed debit as its test method says."""
    method = account.require("payment_method", intent["payment_method"])
    settle(account, intent, succeeds=bool(payment_methods.card_of(method).settles))
