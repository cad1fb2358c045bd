"""Updates of a running subscription: scheduled ends, trials, paused collection, pauses, and its items."""

from tollhouse_sandbox import (
    automatic_tax,
    currency_options,
    dunning,
    events,
    invoice_items,
    payment_methods,
    plan_changes,
    prices,
    redemption,
    schedules,
    subscriptions,
    trials,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import Status, has_ended
from tollhouse_sandbox.params import merged
from tollhouse_sandbox.store import Json


def update(account: Account, subscription: Json, given: Json) -> Json:
    """Applies the parameters of an update and emits what happened, `customer.subscription.updated` last."""
    before = events.picture(account, subscription)
    pays = given.get("payment_behavior") != "default_incomplete"
    # The payment method first: what is billed below is paid with it.
    subscription = account.store.change(subscription, **plain(account, subscription, given))
    happened: list[Happening] = []
    error: StripeError | None = None
    happened += subscriptions.add_items(account, subscription, given.get("add_invoice_items", []))
    anew = given.get("billing_cycle_anchor") == "now"
    if anew and subscription["status"] == Status.TRIALING:
        raise StripeError("The billing cycle of a trial begins when it ends.", param="billing_cycle_anchor")
    if "items" in given or anew:
        proration = given.get("proration_behavior", "create_prorations")
        items, at = given.get("items", []), given.get("proration_date")
        subscription, more, error = plan_changes.change_items(
            account, subscription, items, proration, at=at, anew=anew, pays=pays
        )
        happened += more
    if "trial_end" in given:
        credits_rest = given.get("proration_behavior") != "none"
        subscription, more, error = trials.move_end(
            account, subscription, given["trial_end"], credits_rest=credits_rest, pays=pays
        )
        happened += more
        if has_ended(subscription["status"]):  # there was nothing to pay with
            events.emit_all(account, happened)
            return subscription
    subscription = account.store.change(subscription, **_scheduled_end(account, subscription, given))
    if error and given.get("payment_behavior") == "error_if_incomplete":
        raise error
    if any(each.type == "invoice.created" for each in happened):
        invoice = account.require("invoice", account.require("subscription", subscription["id"])["latest_invoice"])
        dunning.conclude(account, invoice, happened, before, automatic=True)
    else:
        events.emit_all(account, happened)
        events.updated(account, "customer.subscription.updated", subscription, before)
    subscription = account.require("subscription", subscription["id"])
    schedules.follow(account, subscription)
    return subscription


def plain(account: Account, subscription: Json, given: Json) -> Json:
    """The fields that are merely written down."""
    changes: Json = {name: given[name] for name in ("description",) if name in given}
    if "automatic_tax" in given:
        changes["automatic_tax"] = automatic_tax.of_subscription(enabled=automatic_tax.asked(given))
    if "metadata" in given:
        changes["metadata"] = merged(subscription["metadata"], given["metadata"])
    if "default_payment_method" in given:
        changes["default_payment_method"] = _method(account, subscription, given["default_payment_method"])
    if "trial_settings" in given:
        ends = {**subscription["trial_settings"]["end_behavior"], **given["trial_settings"]["end_behavior"]}
        changes["trial_settings"] = {"end_behavior": ends}
    if "collection_method" in given or "days_until_due" in given:
        method = given.get("collection_method") or subscription["collection_method"]
        changes["collection_method"] = method
        changes["days_until_due"] = subscriptions.days_until_due(method, given, subscription["days_until_due"])
    if "pause_collection" in given:
        pause = given["pause_collection"]
        changes["pause_collection"] = {"resumes_at": None, **pause} if pause else None
    if "discounts" in given:
        costs = (
            prices.cost(currency_options.charged(account, each["price"], subscription["currency"]), each["quantity"])
            for each in subscription["items"]
        )
        purchase = redemption.Purchase(subscription["currency"], sum(costs), subscription["customer"])
        holder = {"customer": subscription["customer"], "subscription": subscription["id"]}
        held = subscription["discounts"]
        changes["discounts"] = redemption.chosen(account, held, given["discounts"], purchase, "discounts", **holder)
    if "cancellation_details" in given:
        changes["cancellation_details"] = {**subscription["cancellation_details"], **given["cancellation_details"]}
    return changes


def _method(account: Account, subscription: Json, chosen: str | None) -> str | None:
    if chosen is None:
        return None
    customer = account.require("customer", subscription["customer"])
    return str(payment_methods.owned(account, chosen, customer, param="default_payment_method")["id"])


def _scheduled_end(account: Account, subscription: Json, given: Json) -> Json:
    """An end at the period's end sets three fields; a date sets `cancel_at` and leaves `cancel_at_period_end` false."""
    if "cancel_at_period_end" in given and given.get("cancel_at"):
        raise StripeError(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.", param="cancel_at"
        )
    if given.get("cancel_at_period_end"):
        return _ends(account, subscription, _date(account, subscription, "max_period_end"), with_period=True)
    if given.get("cancel_at"):
        return _ends(account, subscription, _date(account, subscription, given["cancel_at"]), with_period=False)
    if "cancel_at_period_end" in given or "cancel_at" in given:
        details = {**subscription["cancellation_details"], "reason": None}
        return {
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "cancellation_details": details,
        }
    if subscription["cancel_at_period_end"]:  # its period may have just changed
        return {"cancel_at": subscriptions.end_date(subscription["items"], "max_period_end")}
    return {}


def _ends(account: Account, subscription: Json, at: int, *, with_period: bool) -> Json:
    return {
        "cancel_at": at,
        "cancel_at_period_end": with_period,
        "canceled_at": account.now,
        "cancellation_details": {**subscription["cancellation_details"], "reason": "cancellation_requested"},
    }


def _date(account: Account, subscription: Json, chosen: int | str) -> int:
    at = subscriptions.end_date(subscription["items"], chosen)
    if at is None or at <= account.now:
        raise StripeError("The `cancel_at` date must be in the future.", param="cancel_at")
    return at


def end(account: Account, subscription: Json, details: Json | None, *, prorate: bool, invoice_now: bool) -> Json:
    """Ends a subscription now. `prorate` gives the unused time back; `invoice_now` bills all that is pending.

    With neither, the prorations that wait for the next invoice are dropped: there will be none.
    """
    happened = plan_changes.credit_rest(account, subscription) if prorate else []
    if not (prorate or invoice_now):
        for item in invoice_items.waiting(account, subscription):
            if item["proration"]:
                account.store.remove(item)
                happened.append(Happening("invoiceitem.deleted", item))
    if invoice_now and invoice_items.waiting(account, subscription):
        happened += subscriptions.bill_now(account, subscription, [])[2]
    events.emit_all(account, happened)
    return subscriptions.cancel(account, subscription, details)


def migrate(account: Account, subscription: Json) -> Json:
    """From classic to flexible billing; there is no way back."""
    if subscription["billing_mode"]["type"] == "flexible":
        raise StripeError("This subscription's billing_mode is flexible already.", param="billing_mode[type]")
    before = events.picture(account, subscription)
    mode = subscriptions.billing_mode("flexible", account.now)
    subscription = account.store.change(subscription, billing_mode=mode)
    events.updated(account, "customer.subscription.updated", subscription, before)
    return subscription
