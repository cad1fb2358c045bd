"""Changes of a running subscription's items: prices, quantities, additions, removals, and what they cost."""

from dataclasses import dataclass

from tollhouse_sandbox import (
    currency_options,
    debits,
    discounts,
    invoice_items,
    invoicing,
    prices,
    redemption,
    subscriptions,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import Status
from tollhouse_sandbox.store import Json


@dataclass(frozen=True)
class Change:
    """One item before and after; None for an item that is added or removed. `restarts`: a new period begins."""

    old: Json | None
    new: Json | None
    restarts: bool = False


def change_items(
    account: Account,
    subscription: Json,
    given: list[Json],
    proration: str,
    *,
    at: int | None = None,
    anew: bool = False,
    pays: bool = True,
) -> tuple[Json, list[Happening], StripeError | None]:
    """Applies `items` of an update. Emits nothing: answers with what happened and with a declined payment, if any.

    A price with another interval begins a new period now and is invoiced at once; anything else keeps the period, and
    `proration` says what becomes of the difference: `create_prorations`, `always_invoice`, or `none`. It is reckoned
    as if the change were made `at` another time than now. `anew`: all items begin a new period now.
    """
    for item in subscription["items"]:
        if at is not None and not item["current_period_start"] <= at <= item["current_period_end"]:
            raise StripeError("The proration date must lie in the current billing period.", param="proration_date")
    changes = [_change(account, subscription, item, f"items[{place}]") for place, item in enumerate(given)]
    if anew:
        named = [change.old["id"] for change in changes if change.old]
        changes += [Change(item, item) for item in subscription["items"] if item["id"] not in named]
    before = subscription
    changes = [_restarted(account, each) if anew or _restarts(account, each) else each for each in changes]
    restarted = [each.new["id"] for each in changes if each.restarts and each.new]
    subscription = _store_items(account, subscription, changes, anchored=bool(restarted))
    on_trial = subscription["status"] == Status.TRIALING
    happened: list[Happening] = []
    if proration != "none" and not on_trial:
        happened = _prorate(account, subscription, changes, account.now if at is None else at, before=before)
        subscription = account.require("subscription", subscription["id"])
    if on_trial or not (restarted or (proration == "always_invoice" and happened)):
        return subscription, happened, None
    lines = [
        subscriptions.line(account, subscription, item) for item in subscription["items"] if item["id"] in restarted
    ]
    payment, _, billed = subscriptions.bill_now(account, subscription, lines, pays=pays)
    error = payment.error if payment else None
    return account.require("subscription", subscription["id"]), [*happened, *billed], error


def _change(account: Account, subscription: Json, given: Json, param: str) -> Change:
    if "id" not in given:
        return Change(None, _added(account, subscription, given, param))
    old = next((item for item in subscription["items"] if item["id"] == given["id"]), None)
    if old is None:
        raise missing("subscription_item", given["id"], param=f"{param}[id]", status=400)
    if given.get("deleted"):
        return Change(old, None)
    new = dict(old)
    price = price_of(account, given, param, subscription["currency"])
    if price:
        new["price"] = price["id"]
    if "quantity" in given:
        new["quantity"] = given["quantity"]
    if "metadata" in given:
        new["metadata"] = given["metadata"] or {}
    if "discounts" in given:
        new["discounts"] = _discounts(account, subscription, new, given["discounts"], param)
    return Change(old, new)


def price_of(account: Account, given: Json, param: str, currency: str | None) -> Json | None:
    """The recurring price an item names or describes, as it is charged in `currency` (None: its own); None for none."""
    if "price_data" in given:
        price = prices.create(account, given["price_data"])
        return currency_options.in_currency(price, currency or price["currency"], param=f"{param}[price_data]")
    if "price" not in given:
        return None
    price = account.require("price", given["price"], param=f"{param}[price]")
    if not price["recurring"]:
        raise StripeError(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            param=f"{param}[price]",
        )
    return currency_options.in_currency(price, currency or price["currency"], param=f"{param}[price]")


def _added(account: Account, subscription: Json, given: Json, param: str) -> Json:
    price = price_of(account, given, param, subscription["currency"])
    if price is None:
        raise StripeError(f"Missing required param: {param}[price].", code="parameter_missing", param=f"{param}[price]")
    if any(item["price"] == price["id"] for item in subscription["items"]):
        raise StripeError(
            f"An existing Subscription Item is already using this price: {price['id']}.", param=f"{param}[price]"
        )
    period = _running_period(account, subscription, price)
    quantity = given.get("quantity", 1)
    item = subscriptions.new_item(account, subscription["id"], price, quantity, given.get("metadata") or {}, period)
    return {**item, "discounts": _discounts(account, subscription, item, given.get("discounts", []), param)}


def _discounts(account: Account, subscription: Json, item: Json, given: list[Json], param: str) -> list[str]:
    """The discounts of one item after an update."""
    customer = subscription["customer"]
    cost = prices.cost(currency_options.charged(account, item["price"], subscription["currency"]), item["quantity"])
    purchase = redemption.Purchase(subscription["currency"], cost, customer)
    holder = {"customer": customer, "subscription": subscription["id"], "subscription_item": item["id"]}
    return redemption.chosen(account, item["discounts"], given, purchase, f"{param}[discounts]", **holder)


def _running_period(account: Account, subscription: Json, price: Json) -> Json:
    """The period of an item with the same rhythm, so that both renew together; else a new one."""
    for item in subscription["items"]:
        if subscriptions.rhythm(account.require("price", item["price"])) == subscriptions.rhythm(price):
            return {name: item[name] for name in ("current_period_start", "current_period_end")}
    return subscriptions.period_from(price, subscription["billing_cycle_anchor"], account.now)


def _restarts(account: Account, change: Change) -> bool:
    if not (change.old and change.new):
        return False
    old, new = (account.require("price", item["price"]) for item in (change.old, change.new))
    return subscriptions.rhythm(old) != subscriptions.rhythm(new)


def _restarted(account: Account, change: Change) -> Change:
    if change.new is None:
        return change
    price = account.require("price", change.new["price"])
    period = subscriptions.period_from(price, account.now, account.now)
    return Change(change.old, {**change.new, **period}, restarts=True)


def _store_items(account: Account, subscription: Json, changes: list[Change], *, anchored: bool) -> Json:
    by_id = {change.old["id"]: change.new for change in changes if change.old}
    items = [by_id.get(item["id"], item) for item in subscription["items"]]
    items += [change.new for change in changes if change.old is None]
    kept = [item for item in items if item is not None]
    if not kept:
        raise StripeError("A subscription must have at least one active plan.", param="items")
    mode = subscription["billing_mode"]["type"]
    subscriptions.check_rhythm(mode, [account.require("price", item["price"]) for item in kept])
    anchor = account.now if anchored else subscription["billing_cycle_anchor"]
    return account.store.change(subscription, items=kept, billing_cycle_anchor=anchor)


def _prorate(
    account: Account, subscription: Json, changes: list[Change], at: int | None, *, before: Json | None = None
) -> list[Happening]:
    """Makes the items that a change costs from `at` on; None: from the beginning of each period.

    `before` is the subscription as it was, if it has changed.
    """
    happened = []
    flexible = subscription["billing_mode"]["type"] == "flexible"
    costs = (discounts.net_costs(account, before or subscription), discounts.net_costs(account, subscription))
    for change in changes:
        item = change.old or change.new
        assert item
        old = _sold(account, subscription, change.old) if change.old else None
        new = _sold(account, subscription, change.new) if change.new and not change.restarts else None
        sold = old or new
        if old == new or sold is None:
            continue
        period = subscriptions.whole_period(sold[0], (before or subscription)["billing_cycle_anchor"], item)
        since = item["current_period_start"] if at is None else at
        net = (costs[0].get(item["id"]), costs[1].get(item["id"]))
        debit = debits.last(change.old) if change.old and flexible else None
        charged = None
        for proration in invoicing.prorations(old, new, period, since, net, debit):
            credit = proration.amount < 0
            credited = debits.credited(account, item) if credit else None
            pending = _pending(account, subscription, item, proration, credited)
            happened.append(Happening("invoiceitem.created", pending))
            charged = charged if credit else pending
        debits.note_pending(account, subscription["id"], item["id"], charged)
    return happened


def credit_rest(account: Account, subscription: Json, *, whole: bool = False) -> list[Happening]:
    """Gives back what was paid for the rest of the running periods, or for `whole` periods."""
    left = [Change(item, None) for item in subscription["items"]]
    return _prorate(account, subscription, left, None if whole else account.now)


def charge_rest(account: Account, subscription: Json) -> list[Happening]:
    """Charges for the rest of the running periods."""
    return _prorate(account, subscription, [Change(None, item) for item in subscription["items"]], account.now)


def _sold(account: Account, subscription: Json, item: Json) -> tuple[Json, int, str]:
    price = currency_options.charged(account, item["price"], subscription["currency"])
    return price, item["quantity"], subscriptions.product_name(account, price)


def _pending(
    account: Account, subscription: Json, item: Json, proration: invoicing.Proration, credited: Json | None
) -> Json:
    price = proration.price
    return invoice_items.make(
        account,
        customer=subscription["customer"],
        amount=proration.amount,
        currency=price["currency"],
        description=proration.description,
        pricing=invoicing.pricing(price),
        quantity=proration.quantity,
        period=proration.period,
        subscription=subscription["id"],
        subscription_item=item["id"],
        discountable=False,
        metadata=subscription["metadata"],
        net_amount=proration.amount,
        proration=True,
        proration_details={"credited_items": credited, "discount_amounts": []},
    )
