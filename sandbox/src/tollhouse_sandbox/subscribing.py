"""Subscriptions begun: what is ordered, the subscription it makes, and its first invoice."""

from dataclasses import dataclass, field

from tollhouse_sandbox import (
    automatic_tax,
    drafts,
    dunning,
    ids,
    invoices,
    redemption,
    subscriptions,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import FINALISED_AFTER, Cause, after
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.redemption import Promotion
from tollhouse_sandbox.store import Json

_UNUSED: Json = {
    "application": None,
    "application_fee_percent": None,
    "billing_cycle_anchor_config": None,
    "billing_schedules": [],
    "billing_thresholds": None,
    "customer_account": None,
    "default_source": None,
    "default_tax_rates": [],
    "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_update": None,
    "schedule": None,
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
}


@dataclass
class Order:
    """What is to be subscribed to. `items` are (price, quantity, metadata); `trial_end` is a Unix second.

    With `days_until_due` its invoices are sent instead of charged.
    """

    customer: Json
    items: list[tuple[Json, int, Json]]
    trial_end: int | None = None
    metadata: Json = field(default_factory=dict)
    description: str | None = None
    default_payment_method: str | None = None
    trial_end_behavior: Json = field(default_factory=dict)
    cancel_at: int | str | None = None
    cancel_at_period_end: bool = False
    days_until_due: int | None = None
    billing_mode: str = "flexible"
    anchor: int | None = None
    """When the periods turn, if not on the day it begins: the time until then is billed in part, or not at all."""
    prorated: bool = True
    extras: list[Json] = field(default_factory=list)
    """Invoice items that its first invoice takes, as the fields `invoice_items.make` wants."""
    promotions: list[Promotion] = field(default_factory=list)
    automatic_tax: bool = False
    item_promotions: list[list[Promotion]] = field(default_factory=list)


def start(
    account: Account,
    order: Order,
    *,
    method: Json | None = None,
    collected: bool = True,
    off_session: bool = False,
    authenticated: bool = False,
) -> tuple[Json, Payment | None, list[Happening]]:
    """Opens a subscription with its first invoice and tries to collect it, unless `collected` is false.

    An invoice that is to be sent stays a draft for an hour, and the subscription is active all the same. Answers with
    the subscription (`active`, `trialing`, or `incomplete`), the attempt if one was made, and what happened, in
    Stripe's order.
    """
    subscription = _open(account, order)
    sent = order.days_until_due is not None
    extras = subscriptions.add_items(account, subscription, order.extras)
    billed = subscription["items"] if order.prorated or order.anchor is None else []
    invoice = drafts.for_subscription(
        account,
        subscription,
        [subscriptions.line(account, subscription, item) for item in billed],
        reason="subscription_create",
        period=(account.now, account.now),
        finalises_at=account.now + FINALISED_AFTER if sent else None,
    )
    account.store.change(subscription, latest_invoice=invoice["id"])
    happened: list[Happening] = []
    if not sent:
        invoice, happened = invoices.finalise(account, invoice)
    payment = None
    if invoice["status"] == "open" and collected:
        payment, attempted = dunning.collect(
            account, invoice, method, automatic=False, off_session=off_session, authenticated=authenticated
        )
        happened += attempted
        if payment.outcome is Outcome.PROCESSING:
            dunning.move(account, subscription, Cause.PAID)
        # Recorded: the update of a first invoice is told before its payment, that of a renewal after it.
        happened.sort(key=lambda each: each.type not in ("invoice.finalized", "invoice.updated"))
    dunning.react(account, invoice, automatic=False)
    subscription = account.require("subscription", subscription["id"])
    first = [
        Happening("customer.subscription.created", subscription),
        *extras,
        Happening("invoice.created", invoice),
    ]
    return subscription, payment, [*first, *happened, *subscriptions.warning_if_near(account, subscription)]


def _open(account: Account, order: Order) -> Json:
    subscription_id = ids.new("subscription")
    now = account.now
    on_trial = order.trial_end is not None
    sent = order.days_until_due is not None
    at_trial_end = {
        "billing_cycle_anchor": None,
        "missing_payment_method": "create_invoice",
        **order.trial_end_behavior,
    }
    anchor = now if at_trial_end["billing_cycle_anchor"] == "unchanged" else order.trial_end or order.anchor or now
    items = []
    for price, quantity, metadata in order.items:
        trial_period = {"current_period_start": now, "current_period_end": order.trial_end}
        period = trial_period if on_trial else subscriptions.period_from(price, anchor, now)
        items.append(subscriptions.new_item(account, subscription_id, price, quantity, metadata, period))
    cancel_at = subscriptions.end_date(items, "max_period_end" if order.cancel_at_period_end else order.cancel_at)
    subscription = account.born(
        "subscription",
        id=subscription_id,
        **_UNUSED,
        automatic_tax=automatic_tax.of_subscription(enabled=order.automatic_tax),
        discounts=[],
        billing_cycle_anchor=anchor,
        collection_method="send_invoice" if sent else "charge_automatically",
        days_until_due=order.days_until_due,
        billing_mode=subscriptions.billing_mode(order.billing_mode),
        cancel_at=cancel_at,
        cancel_at_period_end=order.cancel_at_period_end,
        canceled_at=now if cancel_at else None,
        cancellation_details={
            "comment": None,
            "feedback": None,
            "feedback_option": None,
            "reason": "cancellation_requested" if cancel_at else None,
        },
        currency=order.items[0][0]["currency"],
        customer=order.customer["id"],
        default_payment_method=order.default_payment_method,
        description=order.description,
        ended_at=None,
        items=items,
        latest_invoice=None,
        metadata=order.metadata,
        pause_collection=None,
        pending_setup_intent=None,
        start_date=now,
        status=after(None, _BEGINS[on_trial, sent]),
        trial_end=order.trial_end,
        trial_settings={"end_behavior": at_trial_end},
        trial_start=now if on_trial else None,
        _announced=None,
        _resumption=None,
        _trial_warned=False,
    )
    return _redeem(account, subscription, order)


def _redeem(account: Account, subscription: Json, order: Order) -> Json:
    """The subscription with the discounts that were ordered, its own and those of its items."""
    holder = {"customer": subscription["customer"], "subscription": subscription["id"]}
    own = [redemption.redeem(account, promotion, **holder)["id"] for promotion in order.promotions]
    of_items = order.item_promotions or [[] for _ in subscription["items"]]
    items = [
        {
            **item,
            "discounts": [
                redemption.redeem(account, each, **holder, subscription_item=item["id"])["id"] for each in given
            ],
        }
        for item, given in zip(subscription["items"], of_items, strict=True)
    ]
    return account.store.change(subscription, discounts=own, items=items)


_BEGINS = {
    (False, False): Cause.SUBSCRIBED,
    (False, True): Cause.SUBSCRIBED_BY_INVOICE,
    (True, False): Cause.SUBSCRIBED_ON_TRIAL,
    (True, True): Cause.SUBSCRIBED_ON_TRIAL,
}
"""By whether it begins with a trial, and whether its invoices are sent."""
