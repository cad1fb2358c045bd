"""Which fields of a kind its objects are found by, so that nobody looks through all of them for those of one other."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

Paths = Mapping[str, tuple[str, ...]]


def _by(*fields: str, **paths: str) -> Paths:
    """Each is named as its field, or stands for a path, which may lead through a list: then an object has several."""
    return {name: tuple(path.split(".")) for name, path in {**{field: field for field in fields}, **paths}.items()}


RELATIONS: Mapping[str, Paths] = {
    "_delivery": _by("event"),
    "_usage": _by("stream"),
    "balance_transaction": _by("source"),
    "billing.meter": _by("event_name"),
    "charge": _by("customer", "payment_intent"),
    "checkout.session": _by("customer", "subscription", "payment_intent", intent="_intent"),
    "credit_note": _by("customer", "invoice"),
    "customer": _by("email", "test_clock"),
    "discount": _by("customer", "subscription"),
    "dispute": _by("charge", "payment_intent"),
    "entitlements.active_entitlement": _by(customer="_customer"),
    "entitlements.feature": _by("lookup_key"),
    "event": _by(about="data.object.id"),
    "invoice": _by("customer", subscription="parent.subscription_details.subscription"),
    "invoice_payment": _by("invoice", payment_intent="payment.payment_intent"),
    "invoiceitem": _by("customer", "invoice", subscription="parent.subscription_details.subscription"),
    "payment_intent": _by("customer"),
    "payment_method": _by("customer"),
    "price": _by("product", "lookup_key"),
    "product_feature": _by(product="_product"),
    "promotion_code": _by("customer", coupon="promotion.coupon", text="_text"),
    "refund": _by("charge", "payment_intent"),
    "setup_intent": _by("customer", "payment_method"),
    "subscription_schedule": _by("customer", "subscription", "test_clock"),
    "test_helpers.test_clock": _by("status"),
    "subscription": _by("test_clock", "customer", price="items.price", item="items.id"),
}
"""Kind → name → where the value is. A list parameter of the same name must mean the same (`operations.page`)."""


class Index:
    """Where in the order of a kind's creation the objects of each value are. None is not a value to be found by."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._places: dict[tuple[str, Any], list[int]] = defaultdict(list)

    def moved(self, place: int, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        """Notes that the object of this place has another version; None stands for none."""
        for name, path in self._paths.items():
            if old and new and old.get(path[0]) is new.get(path[0]):
                continue
            before, now = _values(old, path), _values(new, path)
            for value in before - now:
                places = self._places[name, value]
                del places[bisect_left(places, place)]
            for value in now - before:
                insort(self._places[name, value], place)

    def places(self, name: str, value: str, among: range) -> list[int]:
        """Those of these places that have the value, in their order and as they are now."""
        if name not in self._paths:
            raise KeyError(name)
        places = self._places.get((name, value), [])
        return places[bisect_left(places, among.start) : bisect_left(places, among.stop)]


def _values(body: Any, path: tuple[str, ...]) -> set[Any]:
    if isinstance(body, list):
        return set().union(*(_values(each, path) for each in body))
    if not path:
        return set() if body is None else {body}
    return _values(body.get(path[0]), path[1:]) if isinstance(body, Mapping) else set()
