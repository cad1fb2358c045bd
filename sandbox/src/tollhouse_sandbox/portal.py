"""What customers do in the portal: with what is theirs, and as far as the portal's configuration lets them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tollhouse_sandbox import (
    cards,
    currency_options,
    customers,
    dunning,
    events,
    hosted,
    pauses,
    payment_methods,
    schedules,
    setup_intents,
    subscription_updates,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError, missing
from tollhouse_sandbox.lifecycle import Status
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.store import Json

_RUNNING = frozenset({Status.ACTIVE, Status.TRIALING, Status.PAST_DUE, Status.UNPAID, Status.PAUSED})
_CHANGEABLE = frozenset({Status.ACTIVE, Status.TRIALING, Status.PAST_DUE})

OFF = "This portal does not let customers {what}."


@dataclass(frozen=True)
class Visit:
    """Somebody in the portal: the session that let them in, who they are, and what they may do."""

    account: Account
    session: Json
    customer: Json
    configuration: Json

    @property
    def features(self) -> Json:
        return dict(self.configuration["features"])

    def needs(self, feature: str, what: str) -> Json:
        """The settings of a feature. Raises 400 where it is switched off."""
        if not self.features[feature]["enabled"]:
            raise StripeError(OFF.format(what=what))
        return dict(self.features[feature])

    def may(self, subscription: Json) -> Json:
        """Which of the portal's doings this subscription is open to."""
        return may(self.features, subscription, schedules.of(self.account, subscription))

    def subscription(self, subscription_id: str) -> Json:
        """A subscription of this customer. Raises 404 for one of somebody else."""
        found = self.account.require("subscription", subscription_id)
        if found["customer"] != self.customer["id"]:
            raise missing("subscription", subscription_id)
        return found

    def all(self, kind: str) -> Iterator[Json]:
        """What the customer has of a kind, newest first."""
        return self.account.store.newest_first(kind, customer=self.customer["id"])


def visit(account: Account, session_id: str) -> Visit:
    session = account.require("billing_portal.session", session_id)
    return Visit(
        account,
        session,
        customers.existing(account, session["customer"]),
        account.require("billing_portal.configuration", session["configuration"]),
    )


def may(features: Json, subscription: Json, schedule: Json | None = None) -> Json:
    """Which of the portal's doings this subscription is open to. What a `schedule` has planned, nobody changes here."""
    status, ends = subscription["status"], subscription["cancel_at"] is not None
    changeable = status in _CHANGEABLE and not ends
    free = schedule is None or (schedules.following(schedule) is None and schedule["end_behavior"] == "release")
    running = status in _RUNNING
    pausable = dunning.can_pause(subscription)
    one_item = len(subscription["items"]) == 1
    return {
        "cancel": running and free and not ends and features["subscription_cancel"]["enabled"],
        "resume": running and free and ends,
        "update": changeable and free and one_item and features["subscription_update"]["enabled"],
        "pause": changeable and pausable and features["subscription_pause"]["enabled"],
        "unpause": status == Status.PAUSED and not ends and not subscription["_resumption"],
    }


def cancel(seen: Visit, subscription_id: str, *, feedback: str | None = None, comment: str | None = None) -> None:
    """Ends a subscription as the configuration says: at its period's end, which sets only `cancel_at`, or now."""
    subscription, offered = seen.subscription(subscription_id), seen.needs("subscription_cancel", "cancel")
    asks = offered["cancellation_reason"]
    if feedback and not (asks["enabled"] and feedback in asks["options"]):
        raise StripeError(f"This portal does not offer the reason {feedback}.", param="feedback")
    details = {name: value for name, value in (("feedback", feedback), ("comment", comment)) if value}
    if not seen.may(subscription)["cancel"]:
        raise StripeError("This plan cannot be cancelled (any more).")
    if offered["mode"] == "immediately":
        behavior = offered["proration_behavior"]
        subscription_updates.end(
            seen.account,
            subscription,
            details,
            prorate=behavior != "none",
            invoice_now=behavior == "always_invoice",
        )
        return
    _take_over(seen, subscription)
    flexible = subscription["billing_mode"]["type"] == "flexible"
    end: Json = {"cancel_at": "max_period_end"} if flexible else {"cancel_at_period_end": True}
    subscription_updates.update(seen.account, subscription, {**end, "cancellation_details": details})


def _take_over(seen: Visit, subscription: Json) -> None:
    """Releases a schedule that has nothing more to do."""
    schedule = schedules.of(seen.account, subscription)
    if schedule:
        schedules.release(seen.account, schedule)


def resume(seen: Visit, subscription_id: str) -> None:
    """Takes a scheduled end back."""
    subscription = seen.subscription(subscription_id)
    schedules.refuse_ends(seen.account, subscription)
    subscription_updates.update(seen.account, subscription, {"cancel_at": None})


def pause(seen: Visit, subscription_id: str) -> None:
    seen.needs("subscription_pause", "pause")
    pauses.pause(seen.account, seen.subscription(subscription_id))


def unpause(seen: Visit, subscription_id: str) -> None:
    """Starts a paused subscription again; what is due is paid now."""
    pauses.resume(seen.account, seen.subscription(subscription_id), pays=True)


def offers(seen: Visit, subscription: Json) -> list[Json]:
    """What the subscription can be changed to: `{"price", "product", "minimum", "maximum"}`, the quantity's bounds.

    The current price is among them if its quantity can be changed. Those not charged in its currency are left out.
    """
    offered = seen.needs("subscription_update", "change plans")
    allowed = offered["default_allowed_updates"]
    (item,), currency = subscription["items"], subscription["currency"]
    found = []
    for entry in offered["products"]:
        product = seen.account.require("product", entry["product"])
        for sold in (seen.account.require("price", price_id) for price_id in entry["prices"]):
            current = sold["id"] == item["price"]
            if not currency_options.charges_in(sold, currency) or not (current or "price" in allowed):
                continue
            price = currency_options.in_currency(sold, currency, param="price")
            low, high = _bounds(entry["adjustable_quantity"], item["quantity"], "quantity" in allowed)
            if price["active"] and not (current and low == high):
                found.append({"price": price, "product": product, "minimum": low, "maximum": high})
    return found


def _bounds(adjustable: Json, quantity: int, allowed: bool) -> tuple[int, int]:
    if not (allowed and adjustable["enabled"]):
        return quantity, quantity
    return adjustable["minimum"], adjustable["maximum"] or 999_999


def change(seen: Visit, subscription_id: str, price: str, quantity: int, discounts: list[Json] | None = None) -> None:
    """Changes the plan; nothing changes when what is due now cannot be paid. Raises 402 then."""
    subscription, given = _change(seen, subscription_id, price, quantity)
    if discounts:
        given["discounts"] = discounts
    subscription_updates.update(seen.account, subscription, {**given, "payment_behavior": "error_if_incomplete"})


def _change(seen: Visit, subscription_id: str, price: str, quantity: int) -> tuple[Json, Json]:
    """The parameters with which the API would make the same change. Raises 400 for what is not offered."""
    subscription, settings = seen.subscription(subscription_id), seen.needs("subscription_update", "change plans")
    if not seen.may(subscription)["update"]:
        raise StripeError("This plan cannot be changed here.")
    offer = next((each for each in offers(seen, subscription) if each["price"]["id"] == price), None)
    if offer is None:
        raise StripeError("This portal does not offer that plan.", param="price")
    if not offer["minimum"] <= quantity <= offer["maximum"]:
        raise StripeError(
            f"The quantity can be from {offer['minimum']} to {offer['maximum']}.",
            param="quantity",
        )
    (item,) = subscription["items"]
    if (price, quantity) == (item["price"], item["quantity"]):
        raise StripeError("This is the plan you have already.")
    given: Json = {
        "items": [{"id": item["id"], "price": price, "quantity": quantity}],
        "proration_behavior": settings["proration_behavior"],
    }
    if subscription["status"] == Status.TRIALING and settings["trial_update_behavior"] == "end_trial":
        given["trial_end"] = "now"
    return subscription, given


def preview(seen: Visit, subscription_id: str, price: str, quantity: int) -> Json:
    """What a change would cost, found by making it and undoing it: `{"lines": [{"description", "amount"}],
    "billed": bool, "due": int}`.

    What is not billed now goes with the next invoice. Amounts are minor units, of the subscription's currency.
    """
    subscription, given = _change(seen, subscription_id, price, quantity)
    account = seen.account

    def waiting() -> list[Json]:
        return list(account.store.oldest_first("invoiceitem", subscription=subscription_id))

    known = len(waiting())
    with account.supposing():
        changed = subscription_updates.update(
            account, subscription, {**given, "payment_behavior": "default_incomplete"}
        )
        if changed["latest_invoice"] == subscription["latest_invoice"]:
            return {"lines": waiting()[known:], "billed": False, "due": 0}
        invoice = account.require("invoice", changed["latest_invoice"])
        return {"lines": invoice["lines"], "billed": True, "due": invoice["amount_due"]}


def set_payment_method(seen: Visit, card_name: str, *, authenticated: bool = False) -> None:
    """Makes a new card the customer's default, and what their subscriptions are paid with.

    Raises 402 when the card cannot be saved, and `AuthenticationRequired` when the bank asks who it is.
    """
    seen.needs("payment_method_update", "change the payment method")
    account, customer = seen.account, seen.customer
    card = cards.named(card_name)
    if card and card.outcome(authenticated=authenticated, off_session=False) is Outcome.NEEDS_AUTHENTICATION:
        raise AuthenticationRequired()
    method = payment_methods.attach(account, payment_methods.resolve(account, card_name, param="card"), customer)
    events.emit(account, "setup_intent.succeeded", setup_intents.set_up(account, customer, method))
    payment_methods.make_default(account, customer, method)
    # What a subscription was begun with would otherwise go on being charged.
    for subscription in list(seen.all("subscription")):
        if subscription["default_payment_method"]:
            before = events.picture(account, subscription)
            renewed_with = account.store.change(subscription, default_payment_method=method["id"])
            events.updated(account, "customer.subscription.updated", renewed_with, before)


def update_customer(seen: Visit, given: Json) -> None:
    """Changes what the configuration lets customers change: `email`, `name`, `phone`, `address`."""
    allowed = seen.needs("customer_update", "change their details")["allowed_updates"]
    for name in given:
        if name not in allowed:
            raise StripeError(OFF.format(what=f"change their {name}"), param=name)
    if "email" in given and "@" not in (given["email"] or ""):
        raise StripeError("Write an e-mail address.", param="email")
    before = events.picture(seen.account, seen.customer)
    customer = seen.account.store.change(seen.customer, **given)
    events.updated(seen.account, "customer.updated", customer, before)


def flow(seen: Visit) -> Json | None:
    """The one thing the session's link leads to, until it is done."""
    return None if seen.session["_flow_done"] else seen.session["flow"]


def complete(seen: Visit, kind: str) -> Json | None:
    """Notes that something was done. When the session's link led to just that: what comes after it, else None."""
    led_to = flow(seen)
    if led_to is None or led_to["type"] != kind:
        return None
    seen.account.store.change(seen.session, _flow_done=True)
    return dict(led_to["after_completion"])


def view(seen: Visit) -> Json:
    """What the portal shows of its customer."""
    method = payment_methods.default_for(seen.account, seen.customer)
    return {
        "customer": public(seen.account, seen.customer),
        "payment_method": public(seen.account, method) if method else None,
        "subscriptions": [standing(seen, each) for each in seen.all("subscription")],
        "invoices": [public(seen.account, each) for each in seen.all("invoice") if each["status"] != "draft"],
    }


def standing(seen: Visit, subscription: Json) -> Json:
    """A subscription with its lines, its end, and what the portal lets be done with it."""
    return {
        "subscription": public(seen.account, subscription),
        "lines": [
            hosted.priced(seen.account, item["price"], item["quantity"], subscription["currency"])
            for item in subscription["items"]
        ],
        "scheduled_end": subscription["cancel_at"],
        "current_period_end": max(int(item["current_period_end"]) for item in subscription["items"]),
        "may": seen.may(subscription),
    }
