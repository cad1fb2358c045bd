"""Changes a running subscription: its plan now or at the period's end, its end, and what takes that back; previews."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe

from ..domain.changing import Verb
from ..domain.time import from_timestamp
from .client import StripeRefused, stripe_errors

Request = Mapping[str, Any]
"""What Stripe is asked with; stored before it is sent, so that a second try asks the same to the letter."""


@dataclass(frozen=True, slots=True)
class Running:
    """What Stripe says of a subscription that only a change of it needs to know."""

    id: str
    currency: str
    schedule: str | None
    items: tuple[tuple[str, str, int], ...]
    """Of each line its id (`si_…`), its price and its quantity."""
    discounts: tuple[str, ...]
    on_trial: bool
    period_end: int
    cancel_at_period_end: bool
    cancel_at: int | None
    collection_paused: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class CostLine:
    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a change would cost, in minor units of `currency`."""

    currency: str
    due_now: int
    credit: int
    """What the customer gets back, to be set off against later bills."""
    lines: tuple[CostLine, ...]
    """What `due_now` or `credit` is made of."""
    renewal: int
    renews_at: datetime


async def read_running(client: stripe.StripeClient, subscription_id: str) -> Running:
    """The subscription as it is now, with all of its lines."""
    with stripe_errors():
        found = await client.v1.subscriptions.retrieve_async(subscription_id)
        lines = [line async for line in found["items"].auto_paging_iter()]
    schedule = found.schedule
    return Running(
        id=found.id,
        currency=found.currency,
        schedule=schedule if isinstance(schedule, str) or schedule is None else schedule.id,
        items=tuple((line.id, line.price.id, line.quantity or 1) for line in lines),
        discounts=tuple(str(each) for each in found.discounts),
        on_trial=found.status == "trialing",
        period_end=max(line.current_period_end for line in lines),
        cancel_at_period_end=found.cancel_at_period_end,
        cancel_at=found.cancel_at,
        collection_paused=found.pause_collection is not None,
        paused=found.status == "paused",
    )


def request_of(
    verb: Verb, running: Running, *, old: str, price: str, quantity: int, proration_date: datetime | None
) -> dict[str, Any]:
    """What is asked for a change of the line whose price is `old`, or for an end or a resumption."""
    asked: dict[str, Any] = {"subscription": running.id, "schedule": running.schedule}
    if verb is Verb.CHANGE_NOW:
        asked["parameters"] = {
            "items": _changed_items(running, old, price, quantity),
            "proration_behavior": "always_invoice",
            "payment_behavior": "error_if_incomplete",
        }
        if proration_date is not None and not running.on_trial:
            asked["parameters"]["proration_date"] = int(proration_date.timestamp())
    elif verb is Verb.CHANGE_LATER:
        asked["at"] = running.period_end
        asked["discounts"] = [{"discount": each} for each in running.discounts]
        asked["items"] = [{"price": held, "quantity": many} for _, held, many in running.items]
        asked["then"] = [
            {"price": price, "quantity": quantity} if held == old else {"price": held, "quantity": many}
            for _, held, many in running.items
        ]
    elif verb is Verb.RESUME:
        if running.schedule is None and running.cancel_at_period_end:
            asked["parameters"] = {"cancel_at_period_end": False}
        elif running.schedule is None and running.cancel_at is not None:
            asked["parameters"] = {"cancel_at": ""}
        if running.collection_paused:
            asked["parameters"] = {**asked.get("parameters", {}), "pause_collection": ""}
        asked["paused"] = running.paused
    return asked


def _changed_items(running: Running, old: str, price: str, quantity: int) -> list[dict[str, Any]]:
    (item,) = (line for line, held, _ in running.items if held == old)
    return [{"id": item, "price": price, "quantity": quantity}]


async def preview(
    client: stripe.StripeClient, running: Running, *, old: str, price: str, quantity: int, at: datetime, now: bool
) -> Cost:
    """What the change would cost if it were made at `at`, now or at the period's end. Changes nothing."""
    items = _changed_items(running, old, price, quantity)
    recurring: Any = {
        "subscription": running.id,
        "preview_mode": "recurring",
        "subscription_details": {"items": items, "proration_behavior": "none"},
    }
    prorated = {"proration_behavior": "always_invoice", "proration_date": int(at.timestamp())}
    changed: Any = {"subscription": running.id, "subscription_details": {"items": items, **prorated}}
    with stripe_errors():
        renewal = await client.v1.invoices.create_preview_async(recurring)
        changes_now = now and not running.on_trial
        bill = await client.v1.invoices.create_preview_async(changed) if changes_now else None
    lines = [] if bill is None else [line.to_dict() async for line in bill.lines.auto_paging_iter()]
    # With nothing to prorate, what Stripe shows is the next renewal, not a bill of this change.
    billed = bill if bill is not None and any(map(_is_proration, lines)) else None
    return Cost(
        currency=renewal.currency,
        due_now=billed.amount_due if billed else 0,
        credit=max(0, -billed.total) if billed else 0,
        lines=tuple(CostLine(line["description"] or "", line["amount"]) for line in lines) if billed else (),
        renewal=renewal.total,
        renews_at=from_timestamp(min(line.period.start for line in renewal.lines.data)),
    )


def _is_proration(line: Mapping[str, Any]) -> bool:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


async def carry_out(client: stripe.StripeClient, change_id: str, verb: Verb, asked: Request) -> None:
    """Does what the row of the change says. The same id with the same request does it once, however often."""
    subscription: str = asked["subscription"]

    def once(step: str) -> stripe.RequestOptions:
        return {"idempotency_key": f"tollhouse-{change_id}-{step}"}

    v1 = client.v1
    with stripe_errors():
        match verb:
            case Verb.CHANGE_NOW:
                await v1.subscriptions.update_async(subscription, asked["parameters"], once("change"))
                # Only then: a card that declines must leave what was planned as it is.
                await _release(client, asked, once("release"))
            case Verb.CHANGE_LATER:
                await _plan(client, asked, once("schedule"), once("phases"))
            case Verb.WITHDRAW:
                await _release(client, asked, once("release"))
            case Verb.CANCEL_NOW:
                await v1.subscriptions.cancel_async(subscription, {}, once("cancel"))
            case Verb.CANCEL_LATER:
                await _release(client, asked, once("release"))
                await v1.subscriptions.update_async(subscription, {"cancel_at_period_end": True}, once("end"))
            case Verb.RESUME:
                await _release(client, asked, once("release"))
                if "parameters" in asked:
                    await v1.subscriptions.update_async(subscription, asked["parameters"], once("resume"))
                if asked["paused"]:
                    await v1.subscriptions.resume_async(
                        subscription, {"payment_behavior": "resume_on_payment_success"}, once("restart")
                    )


async def _release(client: stripe.StripeClient, asked: Request, options: stripe.RequestOptions) -> None:
    """Lets go of the schedule, and so of everything that was planned; one that is over by now is let be."""
    if asked["schedule"] is None:
        return
    try:
        await client.v1.subscription_schedules.release_async(asked["schedule"], {}, options)
    except stripe.InvalidRequestError:
        schedule = await client.v1.subscription_schedules.retrieve_async(asked["schedule"])
        if schedule.status == "active":
            raise


async def _plan(
    client: stripe.StripeClient, asked: Request, made: stripe.RequestOptions, planned: stripe.RequestOptions
) -> None:
    schedules = client.v1.subscription_schedules
    if asked["schedule"] is None:
        schedule = await schedules.create_async({"from_subscription": asked["subscription"]}, made)
    else:
        schedule = await schedules.retrieve_async(asked["schedule"])
    if schedule.current_phase is None:
        raise StripeRefused(f"the schedule {schedule.id} is {schedule.status}", None)
    start, at = schedule.current_phase.start_date, asked["at"]
    discounts = asked["discounts"] or ""  # those that a phase does not name end with it
    running = {"start_date": start, "end_date": at, "items": asked["items"], "discounts": discounts}
    following = {"start_date": at, "items": asked["then"], "discounts": discounts, "proration_behavior": "none"}
    parameters: Any = {"phases": [running, following], "end_behavior": "release", "proration_behavior": "none"}
    await schedules.update_async(schedule.id, parameters, planned)
