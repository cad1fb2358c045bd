"""What the hosted pages show and do, beyond paying (that is `checkout`)."""

from collections.abc import Iterator

from tollhouse_sandbox import (
    cards,
    checkout,
    checkout_discounts,
    events,
    money,
    payment_methods,
    setup_intents,
    subscriptions,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.store import Json


def _test_cards() -> list[Json]:
    listed = (card for card in cards.CARDS.values() if card.label)
    return [{"card": card.name, "number": card.number, "label": card.label} for card in listed]


def _priced(account: Account, price_id: str, quantity: int) -> Json:
    price = account.require("price", price_id)
    product = account.require("product", price["product"])
    recurring = price["recurring"] or {"interval": None, "interval_count": None}
    return {
        "name": product["name"],
        "description": product["description"],
        "quantity": quantity,
        "unit_amount": price["unit_amount"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
    }


def checkout_view(account: Account, session_id: str) -> Json:
    session = account.require("checkout.session", session_id)
    ends = checkout.trial_ends(account, session) if session["mode"] == "subscription" else None
    days = -(-(ends - account.now) // DAY) if ends else None
    customer = account.store.get("customer", session["customer"] or "")
    return {
        "session": public(account, session),
        "status": session["status"],
        "mode": session["mode"],
        "merchant": account.merchant,
        "currency": session["currency"],
        "amount_total": session["amount_total"],
        "amount_due_today": checkout.due_today(account, session),
        "email": session["customer_email"] or (customer or {}).get("email"),
        "lines": [
            {**_priced(account, line["price"], line["quantity"]), "amount": line["amount_total"]}
            for line in session["_line_items"]
        ],
        **checkout_discounts.shown(account, session),
        "trial_days": days,
        "trial_text": _trial_text(session, days),
        "cards": _test_cards(),
        "needs_card": checkout.needs_card(account, session),
    }


def _trial_text(session: Json, days: int | None) -> str | None:
    if days is None:
        return None
    then = money.written(session["amount_total"], session["currency"])
    return f"{days} day{'' if days == 1 else 's'} free, then {then}"


def portal_view(account: Account, portal_id: str) -> Json:
    portal, customer = _visitor(account, portal_id)
    method = payment_methods.default_for(account, customer)
    subscriptions = [_standing(account, each) for each in _of(account, "subscription", customer)]
    return {
        "portal": public(account, portal),
        "merchant": account.merchant,
        "customer": public(account, customer),
        "return_url": portal["return_url"],
        "payment_method": public(account, method) if method else None,
        "now": account.now,
        "subscriptions": subscriptions,
        "invoices": [public(account, each) for each in _of(account, "invoice", customer)],
        "cards": _test_cards(),
    }


def _visitor(account: Account, portal_id: str) -> tuple[Json, Json]:
    portal = account.require("billing_portal.session", portal_id)
    return portal, account.require("customer", portal["customer"])


def _of(account: Account, kind: str, customer: Json) -> Iterator[Json]:
    return account.store.newest_first(kind, customer=customer["id"])


def _standing(account: Account, subscription: Json) -> Json:
    return {
        "subscription": public(account, subscription),
        "lines": [_priced(account, item["price"], item["quantity"]) for item in subscription["items"]],
        "scheduled_end": subscription["cancel_at"],
        "current_period_end": _period_end(subscription),
    }


def _period_end(subscription: Json) -> int:
    return max(int(item["current_period_end"]) for item in subscription["items"])


def _own_subscription(account: Account, portal_id: str, subscription_id: str) -> Json:
    _, customer = _visitor(account, portal_id)
    subscription = account.require("subscription", subscription_id)
    if subscription["customer"] != customer["id"]:
        raise missing("subscription", subscription_id)
    return subscription


def portal_cancel(account: Account, portal_id: str, subscription_id: str) -> None:
    subscription = _own_subscription(account, portal_id, subscription_id)
    portal = account.require("billing_portal.session", portal_id)
    offered = account.require("billing_portal.configuration", portal["configuration"])["features"][
        "subscription_cancel"
    ]
    if not offered["enabled"]:
        raise StripeError("This portal does not let customers cancel.")
    if offered["mode"] == "immediately":
        subscriptions.cancel(account, subscription)
        return
    before = events.picture(account, subscription)
    subscription = account.store.change(
        subscription,
        cancel_at=_period_end(subscription),
        canceled_at=account.now,
        cancellation_details={**subscription["cancellation_details"], "reason": "cancellation_requested"},
    )
    events.updated(account, "customer.subscription.updated", subscription, before)


def portal_resume(account: Account, portal_id: str, subscription_id: str) -> None:
    subscription = _own_subscription(account, portal_id, subscription_id)
    before = events.picture(account, subscription)
    subscription = account.store.change(
        subscription,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        cancellation_details={**subscription["cancellation_details"], "reason": None},
    )
    events.updated(account, "customer.subscription.updated", subscription, before)


def portal_set_payment_method(account: Account, portal_id: str, card: str) -> None:
    _, customer = _visitor(account, portal_id)
    method = payment_methods.attach(account, payment_methods.resolve(account, card, param="card"), customer)
    events.emit(account, "setup_intent.succeeded", setup_intents.set_up(account, customer, method))
    payment_methods.make_default(account, customer, method)
    # What a subscription was begun with would otherwise go on being charged.
    for subscription in list(_of(account, "subscription", customer)):
        if subscription["default_payment_method"]:
            before = events.picture(account, subscription)
            renewed_with = account.store.change(subscription, default_payment_method=method["id"])
            events.updated(account, "customer.subscription.updated", renewed_with, before)
