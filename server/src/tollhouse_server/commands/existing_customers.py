"""Whether a publish must first be told what becomes of those who have what it changes."""

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, column, exists, func, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from ..catalogs import Project, products_by_stripe_price
from ..db.engine import Tx
from ..db.tables import bundled, grant, purchase, subscription
from ..domain.catalog import Catalog
from ..domain.catalog_changes import product_changes
from ..domain.errors import Problem
from ..domain.evidence import Bundled, Purchase, Source, begun
from ..domain.kept_openings import changed, gives_less, holds, kept_through, lessened, shortened
from ..snapshot import as_grant


class ExistingCustomersUndecided(Problem):
    """Customers have a product that would give them less; each entry of `errors` names one and how many have it.

    Nothing was changed. Publish again and say what becomes of them: existing=keep lets them keep what they have,
    existing=move gives them what the new catalog says.
    """

    status = 409
    code = "existing-customers-undecided"


@dataclass(frozen=True, slots=True)
class Undecided:
    """A product, what changes of it, and how many customers would have less."""

    product: str
    changes: tuple[str, ...]
    customers: int

    def __str__(self) -> str:
        who = "1 customer would have" if self.customers == 1 else f"{self.customers} customers would have"
        return f"{'; '.join(self.changes)}: {who} less by it"


async def undecided(tx: Tx, owner: Project, old: Catalog, new: Catalog, at: datetime) -> list[Undecided]:
    """The products of which some customer would have less if `new`, as its document alone says it, were published.

    None: it may be published without a word on existing customers.
    """
    lessening = {product.code for product, after in changed(old, new) if gives_less(product, after, new.features)}
    if not lessening:
        return []
    after = kept_through(old, new, None, at)
    losing: dict[str, set[uuid.UUID]] = {code: set() for code in old.products if code in lessening}
    async for customer_id, source, code, quantity in _lines(tx, owner, lessening):
        has, gets = old.products[code].given(begun(source)), after.given(code, begun(source))
        less = lessened(has, gets, new.features, quantity) or (isinstance(source, Purchase) and shortened(has, gets))
        if less and holds(source, has, old.policy_of(code), at):
            losing[code].add(customer_id)
    return [
        Undecided(code, tuple(_said(old, new, code)), len(customers)) for code, customers in losing.items() if customers
    ]


def question(asked: Sequence[Undecided]) -> ExistingCustomersUndecided:
    """The problem that puts the question."""
    errors = [{"pointer": f"/products/{one.product}", "detail": f"{one}."} for one in asked]
    products = ", ".join(one.product for one in asked)
    return ExistingCustomersUndecided(
        f"Existing customers of {products} would have less. Say existing=keep, and they keep what they have, or "
        "existing=move, and they get what the new catalog says. Nothing was changed.",
        errors=errors,
    )


def _said(old: Catalog, new: Catalog, code: str) -> Iterator[str]:
    after = new.products.get(code)
    if after is None:
        yield "it is removed"
    else:
        yield from product_changes(old.products[code], after)


async def _lines(
    tx: Tx, owner: Project, codes: set[str]
) -> AsyncIterator[tuple[uuid.UUID, Source | Bundled, str, int]]:
    """Each line of anybody's evidence that is of one of the products, with its quantity."""
    sold = {id_: code for id_, (code, _) in (await products_by_stripe_price(tx, owner.id)).items() if code in codes}
    for table in (subscription, purchase):
        for row in await tx.execute(_with_prices(table, owner.id, list(sold))):
            for item in row.evidence.items:
                if item.stripe_price in sold:
                    yield row.customer_id, row.evidence, sold[item.stripe_price], item.quantity
    for row in await tx.execute(select(grant).where(grant.c.project_id == owner.id, grant.c.product.in_(codes))):
        yield row.customer_id, as_grant(row), row.product, 1
    for row in await tx.execute(select(bundled.c.customer_id, bundled.c.lines).where(bundled.c.project_id == owner.id)):
        for line in row.lines:
            if line.product in codes:
                yield row.customer_id, line, line.product, line.quantity


def _with_prices(table: Table, project_id: uuid.UUID, prices: list[str]) -> Select[Any]:
    items = func.jsonb_array_elements(type_coerce(table.c.evidence, JSONB)["items"])
    item = items.table_valued(column("value", JSONB), name="item")
    priced = exists().select_from(item).where(item.c.value["stripe_price"].astext.in_(prices))
    return select(table.c.customer_id, table.c.evidence).where(table.c.project_id == project_id, priced)
