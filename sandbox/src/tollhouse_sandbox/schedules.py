"""Subscription schedules: what is planned for a subscription, and how such a plan ends. `phases` carries it out."""

from collections.abc import Iterable

from tollhouse_sandbox import events
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.store import Json

KIND = "subscription_schedule"
WARNED_BEFORE = 7 * DAY
"""Seconds before a schedule's end at which `subscription_schedule.expiring` is sent."""


def begin(account: Account, subscription: Json) -> Json:
    """A schedule whose only phase is what the subscription has now, until its period ends. Raises 400 for a second one.

    A subscription that is set to end gets a schedule that ends it.
    """
    if subscription["schedule"]:
        raise StripeError(
            f"You cannot migrate a subscription that is already attached to a schedule: `{subscription['schedule']}`.",
            param="from_subscription",
        )
    before = events.picture(account, subscription)
    first = _first_phase(subscription)
    schedule = account.born(
        KIND,
        application=None,
        billing_mode=subscription["billing_mode"],
        canceled_at=None,
        completed_at=None,
        customer=subscription["customer"],
        customer_account=None,
        default_settings=_settings(subscription),
        end_behavior="cancel" if subscription["cancel_at"] else "release",
        metadata={},
        pause_schedules=[],
        released_at=None,
        released_subscription=None,
        status="active",
        subscription=subscription["id"],
        test_clock=None,
        **_course(account, [first], first),
    )
    subscription = account.store.change(subscription, schedule=schedule["id"])
    events.emit(account, f"{KIND}.created", schedule)
    events.updated(account, "customer.subscription.updated", subscription, before)
    return schedule


def _settings(subscription: Json) -> Json:
    return {
        "application_fee_percent": None,
        "automatic_tax": subscription["automatic_tax"],
        "billing_cycle_anchor": "automatic",
        "billing_thresholds": None,
        "collection_method": subscription["collection_method"],
        "default_payment_method": subscription["default_payment_method"],
        "description": subscription["description"],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "days_until_due": subscription["days_until_due"],
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "on_behalf_of": None,
        "transfer_data": None,
    }


def _first_phase(subscription: Json) -> Json:
    start = min(item["current_period_start"] for item in subscription["items"])
    period_end = max(item["current_period_end"] for item in subscription["items"])
    trial_end = subscription["trial_end"] if subscription["status"] == "trialing" else None
    return phase(
        subscription,
        items=items_of(subscription),
        start_date=start,
        end_date=subscription["cancel_at"] or period_end,
        discounts=[_reduction(discount=each) for each in subscription["discounts"]],
        trial_end=trial_end,
    )


def phase(subscription: Json, **fields: object) -> Json:
    """A phase as it is shown; `items`, `start_date` and `end_date` must be among the fields."""
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": subscription["currency"],
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "invoice_settings": None,
        "metadata": {},
        "on_behalf_of": None,
        "proration_behavior": "create_prorations",
        "transfer_data": None,
        "trial_end": None,
        **fields,
    }


def phase_item(price: str, quantity: int, metadata: Json) -> Json:
    return {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": metadata,
        "plan": price,
        "price": price,
        "quantity": quantity,
        "tax_rates": [],
    }


def items_of(subscription: Json) -> list[Json]:
    """A subscription's items as a phase has them."""
    return [phase_item(item["price"], item["quantity"], item["metadata"]) for item in subscription["items"]]


def reductions(given: Iterable[Json]) -> list[Json]:
    """A phase's discounts, with all three of their fields."""
    return [_reduction(**each) for each in given]


def _reduction(**named: str) -> Json:
    return {"coupon": None, "discount": None, "promotion_code": None, **named}


def planned(account: Account, schedule: Json, phases: list[Json], current: Json) -> Json:
    """The schedule with these phases, one of which runs now. Emits nothing."""
    return account.store.change(schedule, **_course(account, phases, current))


def _course(account: Account, phases: list[Json], current: Json) -> Json:
    return {
        "phases": phases,
        "current_phase": {name: current[name] for name in ("start_date", "end_date")},
        "_warned": phases[-1]["end_date"] - WARNED_BEFORE <= account.now,
    }


def of(account: Account, subscription: Json) -> Json | None:
    """The schedule that manages a subscription."""
    schedule = account.store.get(KIND, subscription["schedule"] or "")
    return schedule if schedule and schedule["status"] == "active" else None


def refuse_ends(account: Account, subscription: Json) -> None:
    """Raises 400 when it is for a schedule to say when the subscription ends."""
    schedule = of(account, subscription)
    if schedule:
        raise StripeError(
            f"The subscription is managed by the subscription schedule `{schedule['id']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )


def current(schedule: Json) -> Json:
    """The phase that runs."""
    start = schedule["current_phase"]["start_date"]
    return next(dict(each) for each in schedule["phases"] if each["start_date"] == start)


def following(schedule: Json) -> Json | None:
    """The phase after the one that runs; None in the last."""
    end = schedule["current_phase"]["end_date"]
    return next((each for each in schedule["phases"] if each["start_date"] >= end), None)


def next_due(schedule: Json) -> tuple[int, str] | None:
    """When a schedule's next phase begins, or it ends, or that is to be announced."""
    if schedule["status"] != "active":
        return None
    turns = int(schedule["current_phase"]["end_date"])
    warning = int(schedule["phases"][-1]["end_date"]) - WARNED_BEFORE
    return (turns, "advance") if schedule["_warned"] or turns <= warning else (warning, "warn")


def warn(account: Account, schedule: Json) -> None:
    """Announces the end."""
    events.emit(account, f"{KIND}.expiring", account.store.change(schedule, _warned=True))


def follow(account: Account, subscription: Json) -> None:
    """Writes into the phase that runs what somebody changed in the subscription itself."""
    schedule = of(account, subscription)
    if schedule is None:
        return
    runs, items = current(schedule), items_of(subscription)
    if runs["items"] == items:
        return
    before = events.picture(account, schedule)
    changed = {**runs, "items": items}
    phases = [changed if each["start_date"] == runs["start_date"] else each for each in schedule["phases"]]
    events.updated(account, f"{KIND}.updated", planned(account, schedule, phases, changed), before)


def check_living(schedule: Json, verb: str) -> None:
    """Raises 400 when the schedule has ended."""
    if schedule["status"] not in ("active", "not_started"):
        raise StripeError(
            f"You cannot {verb} a subscription schedule that is currently in the `{schedule['status']}` status. It "
            "must be in the `not_started` or `active` status."
        )


def release(account: Account, schedule: Json, *, keeps_end: bool = False) -> Json:
    """Lets the subscription go on by itself; an end that the schedule has set is taken back unless `keeps_end`."""
    subscription = account.require("subscription", schedule["subscription"])
    before = events.picture(account, subscription)
    schedule = account.store.change(
        schedule,
        status="released",
        released_at=account.now,
        released_subscription=subscription["id"],
        subscription=None,
        current_phase=None,
    )
    changes: Json = {"schedule": None}
    if schedule["end_behavior"] == "cancel" and not keeps_end:
        changes |= ending(account, subscription, None)
    subscription = account.store.change(subscription, **changes)
    events.emit(account, f"{KIND}.released", schedule)
    events.updated(account, "customer.subscription.updated", subscription, before)
    return schedule


def ending(account: Account, subscription: Json, at: int | None) -> Json:
    """The fields of a subscription with the end that its schedule sets, or with none."""
    if subscription["cancel_at"] == at:
        return {}
    reason = "cancellation_requested" if at else None
    return {
        "cancel_at": at,
        "cancel_at_period_end": False,
        "canceled_at": account.now if at else None,
        "cancellation_details": {**subscription["cancellation_details"], "reason": reason},
    }


def completed(account: Account, schedule: Json) -> None:
    """Notes that the last phase is over and the subscription ends with it."""
    schedule = account.store.change(schedule, status="completed", completed_at=account.now, current_phase=None)
    events.emit(account, f"{KIND}.completed", schedule)


def closed(account: Account, subscription: Json, *, delinquent: bool) -> list[Happening]:
    """Ends the schedule of a subscription that ends before its plan does."""
    schedule = of(account, subscription)
    if schedule is None:
        return []
    schedule = account.store.change(schedule, status="canceled", canceled_at=account.now, current_phase=None)
    return [Happening(f"{KIND}.{'aborted' if delinquent else 'canceled'}", schedule)]
