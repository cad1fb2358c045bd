"""Passes that are bought again lengthen: a purchase that lasts some days begins where the one before it ends.

The law: a further purchase, whatever was refunded or disputed of it or of others, closes nothing. What a refund or a
dispute cuts off frees its place for those after it; a dispute that is won takes it again. Products that open a limit
per seat do not stack, as their quantity is of seats: more of them, bought later, would wait behind fewer, and open less
than by themselves.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from .catalog import Catalog, Earlier, Policy, Product
from .evidence import Purchase, PurchaseItem
from .standing import Standing, standing

Passes = Mapping[tuple[str, int], Standing]
"""How each pass stands, by its purchase's id and the place of its item in it; other lines stand by themselves."""


def stacked(catalog: Catalog, purchases: Iterable[Purchase], policy: Policy) -> Passes:
    """Every pass of these purchases that another could lengthen, each beginning where the one before it ends."""
    passes: dict[tuple[str, int], Standing] = {}
    ends: dict[object, datetime] = {}
    for purchase, place, item in sorted(_lines(purchases), key=_in_order):
        product, given = catalog.product(item.product), catalog.given(item.product, purchase.since)
        if product is None or given is None or given.lasts is None or _per_seat(given):
            continue
        # The passes of an earlier opening may give more than today's, or less: they make a row of their own.
        row = product.code, given.before if isinstance(given, Earlier) else None
        stands = standing(purchase, product.under(policy), given.lasts, item.quantity, after=ends.get(row))
        passes[purchase.id, place] = stands
        if stands.period is not None and stands.period.end is not None:
            ends[row] = stands.period.end
    return passes


_Line = tuple[Purchase, int, PurchaseItem]


def _lines(purchases: Iterable[Purchase]) -> Iterable[_Line]:
    return ((purchase, place, item) for purchase in purchases for place, item in enumerate(purchase.items))


def _in_order(line: _Line) -> tuple[datetime, str, str, int]:
    purchase, _, item = line
    return purchase.since, purchase.id, item.stripe_price, item.quantity


def _per_seat(given: Product | Earlier) -> bool:
    return any(opens.per_seat for opens in given.opens.values())
