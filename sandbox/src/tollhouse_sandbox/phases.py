"""The phases of subscription schedules: planned anew by an update, and entered at their instants."""

from tollhouse_sandbox import events, plan_changes, schedules, subscription_updates, subscriptions
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import Status, has_ended, period_end
from tollhouse_sandbox.params import merged
from tollhouse_sandbox.schedules import KIND
from tollhouse_sandbox.store import Json

AT_MOST = 10
"""How many current and future phases a schedule may have."""
_RENEWS = (Status.ACTIVE, Status.PAST_DUE, Status.UNPAID)


def plan(account: Account, schedule: Json, given: Json) -> Json:
    """Applies an update of a schedule: other phases from the one that runs on, another end."""
    schedules.check_living(schedule, "update")
    subscription = account.require("subscription", schedule["subscription"])
    before = events.picture(account, schedule)
    running = schedules.current(schedule)
    phases = schedule["phases"]
    if "phases" in given:
        past = [each for each in phases if each["end_date"] <= running["start_date"]]
        new = _planned(account, subscription, running, given["phases"])
        phases, running = [*past, *new], new[0]
    schedule = account.store.change(
        schedule,
        end_behavior=given.get("end_behavior", schedule["end_behavior"]),
        metadata=merged(schedule["metadata"], given.get("metadata", {})),
    )
    schedule = schedules.planned(account, schedule, phases, running)
    events.updated(account, f"{KIND}.updated", schedule, before)
    proration = given.get("proration_behavior", "create_prorations")
    if schedules.items_of(subscription) != running["items"]:
        items = _paired(subscription, running)
        subscription_updates.update(account, subscription, {"items": items, "proration_behavior": proration})
    _set_end(account, schedule)
    return account.require(KIND, schedule["id"])


def _planned(account: Account, subscription: Json, running: Json, given: list[Json]) -> list[Json]:
    """The phases from the running one on, each beginning where the one before ends."""
    current = [each for each in given if each.get("end_date") is None or each["end_date"] > running["start_date"]]
    if not 1 <= len(current) <= AT_MOST:
        raise StripeError(f"A subscription schedule has from 1 to {AT_MOST} current and future phases.", param="phases")
    start, phases = running["start_date"], []
    if current[0].get("start_date") != start:
        raise StripeError("You can not modify the start date of the current phase.", param="phases[0][start_date]")
    for place, each in enumerate(current):
        param = f"phases[{place}]"
        if each.get("start_date", start) != start:
            raise StripeError(
                "The start date of a phase must be the end date of the phase before it.", param=f"{param}[start_date]"
            )
        items = [_item(account, subscription, item, f"{param}[items][{at}]") for at, item in enumerate(each["items"])]
        if not items:
            raise StripeError("A phase must have at least one item.", param=f"{param}[items]")
        end = _end(account, each, start, items, last=place == len(current) - 1, param=param)
        if end <= max(start, account.now):
            raise StripeError("The end date of a phase must lie in the future.", param=f"{param}[end_date]")
        phases.append(
            schedules.phase(
                subscription,
                items=items,
                start_date=start,
                end_date=end,
                discounts=schedules.reductions(each.get("discounts") or []),
                metadata=merged({}, each.get("metadata") or {}),
                proration_behavior=each.get("proration_behavior", "create_prorations"),
                trial_end=running["trial_end"] if place == 0 else None,
            )
        )
        start = end
    return phases


def _item(account: Account, subscription: Json, given: Json, param: str) -> Json:
    price = plan_changes.price_of(account, given, param, subscription["currency"])
    if price is None:
        raise StripeError(f"Missing required param: {param}[price].", code="parameter_missing", param=f"{param}[price]")
    return schedules.phase_item(price["id"], given.get("quantity", 1), merged({}, given.get("metadata") or {}))


def _end(account: Account, given: Json, start: int, items: list[Json], *, last: bool, param: str) -> int:
    """The end that was given, or one that a duration leads to; the last phase lasts one interval if nothing is said."""
    if "end_date" in given and "duration" in given:
        raise StripeError("You may only specify one of these parameters: end_date, duration.", param=param)
    if "end_date" in given:
        return int(given["end_date"])
    if "duration" not in given and not last:
        raise StripeError(f"Missing required param: {param}[end_date].", code="parameter_missing", param=param)
    recurring = account.require("price", items[0]["price"])["recurring"]
    rhythm = {"interval_count": 1, **given["duration"]} if "duration" in given else recurring
    return period_end(start, start, rhythm["interval"], rhythm["interval_count"])


def advance(account: Account, schedule: Json) -> None:
    """Ends the phase that runs: the next one begins, or the schedule is over."""
    following = schedules.following(schedule)
    if following is not None:
        _enter(account, schedule, following)
    elif schedule["end_behavior"] == "cancel":
        subscription = account.require("subscription", schedule["subscription"])
        schedules.completed(account, schedule)
        subscriptions.cancel(account, subscription)
    else:
        schedules.release(account, schedule)


def _enter(account: Account, schedule: Json, phase: Json) -> None:
    """Gives the subscription what the phase says. Where its period ends at this instant, it renews with that."""
    told = events.picture(account, schedule)
    schedule = schedules.planned(account, schedule, schedule["phases"], phase)
    events.updated(account, f"{KIND}.updated", schedule, told)
    subscription = account.require("subscription", schedule["subscription"])
    before = events.picture(account, subscription)
    turning = all(item["current_period_end"] <= account.now for item in subscription["items"])
    given: Json = {"discounts": _discounts(subscription, phase), "metadata": phase["metadata"]}
    if not turning:
        items = {"items": _paired(subscription, phase), "proration_behavior": phase["proration_behavior"]}
        subscription_updates.update(account, subscription, {**given, **items})
    else:
        subscription = _exchanged(account, subscription, phase)
        subscription = account.store.change(subscription, **subscription_updates.plain(account, subscription, given))
        if subscription["status"] in _RENEWS:
            subscriptions.renew(account, subscription, before)
        else:
            events.updated(account, "customer.subscription.updated", subscription, before)
    _set_end(account, schedule)


def _discounts(subscription: Json, phase: Json) -> list[Json]:
    """What a phase names; a discount that is used up by now is not missed."""
    named = [{name: value for name, value in each.items() if value} for each in phase["discounts"]]
    return [each for each in named if each.get("discount") in (None, *subscription["discounts"])]


def _pairs(subscription: Json, phase: Json) -> list[tuple[Json | None, Json | None]]:
    """Each item before and after: those of one price belong together, then the others in their order."""
    left, pairs = list(subscription["items"]), []
    wanted = list(phase["items"])
    for item in list(left):
        same = next((each for each in wanted if each["price"] == item["price"]), None)
        if same:
            pairs.append((item, same))
            left.remove(item)
            wanted.remove(same)
    for place in range(max(len(left), len(wanted))):
        pairs.append((left[place] if place < len(left) else None, wanted[place] if place < len(wanted) else None))
    return pairs


def _paired(subscription: Json, phase: Json) -> list[Json]:
    """The `items` of an update that leads to those of the phase."""
    given = []
    for old, new in _pairs(subscription, phase):
        named = {"id": old["id"]} if old else {}
        values = {name: new[name] for name in ("price", "quantity", "metadata")} if new else {"deleted": True}
        given.append({**named, **values})
    return given


def _exchanged(account: Account, subscription: Json, phase: Json) -> Json:
    """The subscription with the phase's items in the period that ends now, so that there is nothing to prorate."""
    items, rhythms = [], set()
    period = {name: subscription["items"][0][name] for name in ("current_period_start", "current_period_end")}
    for old, new in _pairs(subscription, phase):
        if old:
            rhythms.add(subscriptions.rhythm(account.require("price", old["price"])))
        if new:
            price = account.require("price", new["price"])
            fresh = subscriptions.new_item(account, subscription["id"], price, new["quantity"], new["metadata"], period)
            values = {name: new[name] for name in ("price", "quantity", "metadata")}
            items.append({**(old or fresh), **values})
    mode = subscription["billing_mode"]["type"]
    priced = [account.require("price", item["price"]) for item in items]
    subscriptions.check_rhythm(mode, priced)
    same = {subscriptions.rhythm(price) for price in priced} <= rhythms
    anchor = subscription["billing_cycle_anchor"] if same else account.now
    return account.store.change(subscription, items=items, billing_cycle_anchor=anchor)


def _set_end(account: Account, schedule: Json) -> None:
    """In its last phase, a schedule that ends its subscription says so there."""
    subscription = account.require("subscription", schedule["subscription"])
    if has_ended(subscription["status"]) or schedules.of(account, subscription) is None:
        return
    last = schedules.following(schedule) is None and schedule["end_behavior"] == "cancel"
    end = schedule["phases"][-1]["end_date"] if last else None
    before = events.picture(account, subscription)
    subscription = account.store.change(subscription, **schedules.ending(account, subscription, end))
    events.updated(account, "customer.subscription.updated", subscription, before)


def cancel(account: Account, schedule: Json, *, prorate: bool, invoice_now: bool) -> Json:
    """Ends the subscription now, and the schedule with it."""
    schedules.check_living(schedule, "cancel")
    subscription = account.require("subscription", schedule["subscription"])
    subscription_updates.end(account, subscription, None, prorate=prorate, invoice_now=invoice_now)
    return account.require(KIND, schedule["id"])
