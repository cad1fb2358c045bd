"""The subscriptions of a FakeTollhouse: what was bought with it renews, changes its plan, ends and goes on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from .answers import Catalog, Cost, CostLine, Price, Product, ScheduledChange, Subscription, Value

_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


class FakeProblem(Exception):
    """What the service would answer with."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail


class FakeSubscriptions:
    """By user; `opens` and `closes` are told of each feature, `now` tells the time.

    A fake's month has 30 days, and what a change costs is the whole difference of the prices, however much of the
    period is left.
    """

    def __init__(
        self,
        catalog: Catalog,
        opens: Callable[[str, str, Value], None],
        closes: Callable[[str, str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._sold = {price.lookup_key: (product, price) for product in catalog.products for price in product.prices}
        self._opens, self._closes, self._now = opens, closes, now
        self._held: dict[str, list[Subscription]] = {}

    def begin(self, user_id: str, price: str, quantity: int) -> None:
        """What a completed checkout gives; nothing for a price that the catalog has not, or that is paid once."""
        if price not in self._sold or self._sold[price][1].interval is None:
            return
        product, sold = self._sold[price]
        number = len(self._held.get(user_id, ())) + 1
        id_ = f"sub_{user_id}" if number == 1 else f"sub_{user_id}_{number}"
        ends = self._now() + _period(sold)
        begun = Subscription(id_, product.code, price, quantity, "active", True, None, ends, None, False)
        self._held.setdefault(user_id, []).append(begun)

    def of(self, user_id: str) -> tuple[Subscription, ...]:
        return tuple(self._held.get(user_id, ()))

    def prices(self, user_id: str) -> set[str]:
        """The prices of what runs."""
        return {str(one.price) for one in self.of(user_id) if one.status == "active"}

    def turn(self) -> None:
        """Lets happen what is due by now: ends, planned changes, renewals."""
        for user_id, held in self._held.items():
            for one in tuple(held):
                current = one
                while current.status == "active" and current.current_period_end <= self._now():
                    current = self._turned(user_id, current)

    def _turned(self, user_id: str, one: Subscription) -> Subscription:
        if one.ends_at is not None:
            return self._end(user_id, one, one.ends_at)
        if (planned := one.scheduled_change) is not None:
            one = self._put(user_id, one, str(planned.price), planned.quantity)
        price = self._sold[str(one.price)][1]
        return self._keep(user_id, replace(one, current_period_end=one.current_period_end + _period(price)))

    def change(self, user_id: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a change of plan, but for the customer."""
        price = wish["price"]
        if price not in self._sold:
            raise FakeProblem(404, "price-not-found", f"The catalog has no price {price!r}.")
        product, sold = self._sold[price]
        one = self._to_change(user_id, product, sold)
        quantity = wish.get("quantity") or one.quantity
        same, planned = (one.price, one.quantity) == (price, quantity), one.scheduled_change
        later = wish["when"] == "period_end"
        waiting = planned is not None and (planned.price, planned.quantity) == (price, quantity)
        at = one.current_period_end if later and not (same and planned) else self._now()
        answer: dict[str, Any] = {"subscription": one.id, "price": price, "quantity": quantity, "at": at}
        answer |= {"cost": None, "proration_date": None}
        if wish["preview"]:
            now = not later and not same
            answer["cost"] = self._cost(one, sold, quantity, now=now)
            answer["proration_date"] = self._now() if now else None
            return answer | {"outcome": "preview"}
        if same or (later and waiting):
            if not same or planned is None:
                return answer | {"outcome": "unchanged"}
            self._keep(user_id, replace(one, scheduled_change=None))
            return answer | {"outcome": "withdrawn"}
        if later:
            change = ScheduledChange(product.code, price, quantity, one.current_period_end)
            self._keep(user_id, replace(one, scheduled_change=change))
            return answer | {"outcome": "scheduled"}
        self._put(user_id, one, price, quantity)
        return answer | {"outcome": "changed"}

    def _to_change(self, user_id: str, product: Product, price: Price) -> Subscription:
        if price.interval is None:
            raise FakeProblem(422, "price-not-recurring", "The price is paid once.")
        running = [one for one in self.of(user_id) if one.status == "active"]
        found = [one for one in running if _excludes(self._sold[str(one.price)][0], product)]
        if not found and running:
            raise FakeProblem(422, "other-plan-group", "The price replaces nothing that the user has.")
        if not found:
            raise FakeProblem(409, "no-subscription", "The user has no subscription to change.")
        if len(found) > 1:
            raise FakeProblem(409, "several-subscriptions", "The user has several subscriptions of this plan group.")
        if found[0].ends_at is not None:
            raise FakeProblem(409, "subscription-ends", "The subscription is set to end.")
        if self._sold[str(found[0].price)][1].currency != price.currency:
            raise FakeProblem(422, "other-currency", "The price is sold in another currency.")
        return found[0]

    def _cost(self, one: Subscription, sold: Price, quantity: int, *, now: bool) -> Cost:
        old, new = self._sold[str(one.price)][1].amount * one.quantity, sold.amount * quantity
        lines = (CostLine("Unused time", -old), CostLine("Remaining time", new)) if now else ()
        due = new - old if now else 0
        return Cost(sold.currency, max(0, due), max(0, -due), lines, new, one.current_period_end)

    def end(self, user_id: str, wish: Mapping[str, Any]) -> None:
        """Ends one, now or with its period; what was planned for it goes with it."""
        one = self._named(user_id, wish.get("subscription"))
        if one.status != "active":
            return
        if wish["when"] == "now":
            self._end(user_id, one, self._now())
        else:
            ending = {"ends_at": one.current_period_end, "renews": False, "scheduled_change": None}
            self._keep(user_id, replace(one, **ending))  # type: ignore[arg-type]

    def resume(self, user_id: str, wish: Mapping[str, Any]) -> None:
        """Takes an end and a planned change back."""
        one = self._named(user_id, wish.get("subscription"))
        if one.status != "active":
            raise FakeProblem(409, "subscription-not-live", "The subscription is over.")
        self._keep(user_id, replace(one, ends_at=None, renews=True, scheduled_change=None))

    def _named(self, user_id: str, named: str | None) -> Subscription:
        held = self.of(user_id)
        found = [one for one in held if (one.status == "active" if named is None else one.id == named)]
        if named is not None and not found:
            raise FakeProblem(404, "subscription-not-found", "The user has no subscription of this id.")
        if len(found) > 1:
            raise FakeProblem(409, "several-subscriptions", "The user has several subscriptions: name one.")
        if not found and len(held) != 1:
            raise FakeProblem(409, "no-subscription", "The user has no subscription that runs.")
        return (found or held)[0]

    def replace_price(self, user_id: str, before: str, after: str) -> None:
        """As the portal's page does it; the features are changed by whoever confirms it."""
        for one in self.of(user_id):
            if one.price == before and one.status == "active":
                product = self._sold[after][0].code
                self._keep(user_id, replace(one, price=after, product=product, scheduled_change=None))

    def _put(self, user_id: str, one: Subscription, price: str, quantity: int) -> Subscription:
        before, after = self._sold[str(one.price)][0], self._sold[price][0]
        for feature in before.opens:
            self._closes(user_id, feature)
        for feature, value in after.opens.items():
            many = feature in after.per_seat and not isinstance(value, bool)
            self._opens(user_id, feature, value * quantity if many else value)
        changed = replace(one, price=price, product=after.code, quantity=quantity, scheduled_change=None)
        return self._keep(user_id, changed)

    def _end(self, user_id: str, one: Subscription, at: datetime) -> Subscription:
        for feature in self._sold[str(one.price)][0].opens:
            self._closes(user_id, feature)
        over = replace(one, status="canceled", ends_at=at, scheduled_change=None)
        return self._keep(user_id, replace(over, renews=False))

    def _keep(self, user_id: str, one: Subscription) -> Subscription:
        self._held[user_id] = [one if each.id == one.id else each for each in self._held[user_id]]
        return one


def _period(price: Price) -> timedelta:
    return timedelta(days=_DAYS[price.interval or "month"] * price.interval_count)


def _excludes(product: Product, wanted: Product) -> bool:
    return product.code == wanted.code or bool(wanted.plan_group and product.plan_group == wanted.plan_group)
