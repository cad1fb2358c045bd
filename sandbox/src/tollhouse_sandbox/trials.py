"""Trials: begun, warned of, prolonged, ended on their day or before."""

from typing import Any

from tollhouse_sandbox import dunning, events, lifecycle, plan_changes, subscriptions
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import DAY, TRIAL_WARNING, Cause, Status, after
from tollhouse_sandbox.payment_methods import default_for
from tollhouse_sandbox.store import Json

LONGEST = 730 * DAY
"""Seconds a trial may last."""


def check_end(account: Account, end: int) -> int:
    """The end of a trial if it can be one. Raises `StripeError` 400 otherwise."""
    if end <= account.now:
        raise StripeError("Invalid timestamp: must be an integer Unix timestamp in the future.", param="trial_end")
    if end > account.now + LONGEST:
        raise StripeError("A trial can last at most 730 days (2 years).", param="trial_end")
    return end


def warn(account: Account, subscription: Json) -> None:
    """Three days before its end."""
    events.emit_all(account, subscriptions.warning_if_near(account, subscription))


def end_on_its_day(account: Account, subscription: Json) -> None:
    """Billing begins with a draft, or what `trial_settings` says happens if there is nothing to pay with."""
    before = events.picture(account, subscription)
    unpayable = _without_method(account, subscription)
    if unpayable is not None:
        events.emit_all(account, unpayable)
        _tell_unless_ended(account, subscription, before)
        return
    trial = (subscription["trial_start"], subscription["trial_end"])
    subscription, items, happened = _begin_billing(account, subscription)
    events.emit_all(account, happened)
    events.updated(account, "customer.subscription.updated", subscription, before)
    subscriptions.bill_cycle(account, subscription, items, trial)


def _tell_unless_ended(account: Account, subscription: Json, before: Json) -> None:
    subscription = account.require("subscription", subscription["id"])
    if not lifecycle.has_ended(subscription["status"]):
        events.updated(account, "customer.subscription.updated", subscription, before)


def _without_method(account: Account, subscription: Json) -> list[Happening] | None:
    """Cancels or pauses a subscription that would have to be charged and cannot be, if its settings say so."""
    missing = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    customer = account.require("customer", subscription["customer"])
    sent = subscription["collection_method"] == "send_invoice"
    if missing == "create_invoice" or sent or default_for(account, customer, subscription):
        return None
    if missing == "cancel":
        return dunning.ended(account, subscription, reason="payment_failed")
    return dunning.paused(account, subscription, Cause.TRIAL_END_WITHOUT_PAYMENT_METHOD)


def _begin_billing(account: Account, subscription: Json) -> tuple[Json, list[Json], list[Happening]]:
    """Makes it active from now on; answers with it, the items to be billed for a whole period, and what happened.

    With an unchanged anchor the period is the one that runs now, and its rest is charged by invoice items.
    """
    fresh = subscription["trial_settings"]["end_behavior"]["billing_cycle_anchor"] != "unchanged"
    subscription = subscriptions.with_running_periods(account, subscription, fresh=fresh)
    status = after(subscription["status"], Cause.TRIAL_ENDED)
    subscription = account.store.change(subscription, status=status)
    if fresh:
        return subscription, subscription["items"], []
    return subscription, [], plan_changes.charge_rest(account, subscription)


def move_end(
    account: Account, subscription: Json, end: int | str, *, credits_rest: bool, pays: bool
) -> tuple[Json, list[Happening], StripeError | None]:
    """Ends a trial now, or sets another end. Where none runs one begins, and the rest of the period is credited or not.

    Emits nothing: answers with the subscription, what happened, and a declined payment, if any.
    """
    if end != "now":
        end = check_end(account, int(end))
        if subscription["status"] == Status.TRIALING:
            return _prolong(account, subscription, end)
        return _begin(account, subscription, end, credits_rest=credits_rest)
    if subscription["status"] != Status.TRIALING:
        return subscription, [], None
    happened = []
    if not subscription["_trial_warned"]:
        subscription = account.store.change(subscription, _trial_warned=True)
        happened.append(Happening("customer.subscription.trial_will_end", subscription))
    subscription = account.store.change(subscription, trial_end=account.now)
    unpayable = _without_method(account, subscription)
    if unpayable is not None:
        return account.require("subscription", subscription["id"]), [*happened, *unpayable], None
    subscription, items, charged = _begin_billing(account, subscription)
    lines = [subscriptions.line(account, subscription, item) for item in items]
    payment, _, billed = subscriptions.bill_now(account, subscription, lines, pays=pays)
    error = payment.error if payment else None
    return account.require("subscription", subscription["id"]), [*happened, *charged, *billed], error


def _prolong(account: Account, subscription: Json, end: int) -> tuple[Json, list[Happening], None]:
    subscription = _until(account, subscription, end)
    return subscription, subscriptions.warning_if_near(account, subscription), None


def _begin(
    account: Account, subscription: Json, end: int, *, credits_rest: bool
) -> tuple[Json, list[Happening], StripeError | None]:
    status = after(subscription["status"], Cause.TRIAL_BEGUN)
    happened = plan_changes.credit_rest(account, subscription) if credits_rest else []
    items = [{**item, "current_period_start": account.now} for item in subscription["items"]]
    subscription = _until(account, {**subscription, "items": items}, end, status=status, trial_start=account.now)
    lines = [subscriptions.line(account, subscription, item) for item in subscription["items"]]
    payment, _, billed = subscriptions.bill_now(account, subscription, lines)
    subscription = account.require("subscription", subscription["id"])
    warning = subscriptions.warning_if_near(account, subscription)
    return subscription, [*happened, *billed, *warning], payment.error if payment else None


def _until(account: Account, subscription: Json, end: int, **more: Any) -> Json:
    """The subscription with another end of its trial, of which it is warned again if it is not near."""
    keeps = subscription["trial_settings"]["end_behavior"]["billing_cycle_anchor"] == "unchanged"
    return account.store.change(
        subscription,
        billing_cycle_anchor=subscription["billing_cycle_anchor"] if keeps else end,
        items=[{**item, "current_period_end": end} for item in subscription["items"]],
        trial_end=end,
        _trial_warned=subscription["_trial_warned"] and end - TRIAL_WARNING <= account.now,
        **more,
    )
