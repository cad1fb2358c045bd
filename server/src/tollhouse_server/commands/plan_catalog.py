"""Says what publishing a catalog would do, and writes nothing: publishing reads and decides by the same function."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import func, or_, select

from .. import snapshot
from ..catalogs import Project, current_catalog, document_of, products_by_stripe_price, project_by_slug
from ..db.engine import Database, Tx
from ..db.tables import customer, price, stretch
from ..domain.billing import State
from ..domain.blast_radius import BlastRadius, Touched
from ..domain.catalog import Catalog
from ..domain.catalog_changes import differences
from ..domain.catalog_file import parse_catalog
from ..domain.entitlements import compute
from ..domain.errors import CatalogInvalid, Problem
from ..domain.evidence import Evidence
from ..domain.kept_openings import Existing, dump, kept_through, with_kept
from ..domain.mistakes import Mistake
from ..stripe_gateway import StripeClient
from ..stripe_gateway.catalog import read_catalog
from ..stripe_gateway.catalog_plan import InStripe, Step, steps
from .check_bundles import check_bundles
from .counted_prices import known_then
from .existing_customers import Undecided, undecided

BATCH = 500
"""How many customers are computed at a time."""


class VersionMismatch(Problem):
    """The project's catalog is not at the version that If-Match names.

    Read it again, apply your change to that one, and publish with its ETag.
    """

    status = 412
    code = "version-mismatch"


class StripePriceTaken(Problem):
    """A Stripe price that the catalog would sell belongs to another project's catalog.

    Give yours another code, or take the price out of the other project's catalog first.
    """

    status = 409
    code = "stripe-price-taken"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a publish needs to know and will do. `owner` None: the project is new."""

    owner: Project | None
    document: Mapping[str, Any]
    before: Catalog | None
    after: Catalog
    same: bool
    """The document is the published one, to the letter: the order of the products too; and so is what is kept."""
    existing: Existing | None
    asked: tuple[Undecided, ...]
    """What must be answered, by `existing`, before it is published."""
    there: InStripe
    todo: tuple[Step, ...]

    @property
    def version(self) -> int:
        """Of the catalog in force."""
        return self.owner.catalog_version if self.owner else 0

    @property
    def nothing_to_do(self) -> bool:
        return self.same and not self.todo

    @property
    def id(self) -> str:
        """The same as long as applying it would do the same to the same: by all that it reads and does."""
        told = [self.after.project, self.version, self.document, self.existing, [step.as_json() for step in self.todo]]
        return f"plan_{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}"

    @property
    def changes(self) -> list[str]:
        """What becomes otherwise in the catalog, in sentences."""
        return [] if self.same else differences(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a publish would do, and to whom."""

    prepared: Prepared
    radius: BlastRadius

    @property
    def id(self) -> str:
        return self.prepared.id

    def as_json(self) -> dict[str, Any]:
        """As the API tells it, and the command line with --json."""
        of = self.prepared
        return {
            "id": self.id,
            "project": of.after.project,
            "version": of.version,
            "nothing_to_do": of.nothing_to_do,
            "existing": of.existing,
            "undecided": [asdict(one) for one in of.asked],
            "stripe": [step.as_json() for step in of.todo],
            "changes": of.changes,
            "blast_radius": {
                "looked_at": self.radius.looked_at,
                **_touched(self.radius.whole),
                "effects": [
                    {**asdict(effect), "says": str(effect), **_touched(touched)}
                    for effect, touched in self.radius.effects
                ],
            },
        }


def _touched(touched: Touched) -> dict[str, Any]:
    mrr = {money.currency: money.amount for money in touched.mrr}
    return {"customers": touched.customers, "paying": touched.paying, "mrr": mrr}


Tell = Callable[[int, int], None]
"""Is told how many customers of how many are done."""


async def prepare(
    database: Database,
    stripe: StripeClient,
    document: Mapping[str, Any],
    *,
    at: datetime,
    slug: str | None = None,
    expected: Container[int] | None = None,
    existing: Existing | None = None,
) -> Prepared:
    """Reads ours and Stripe's, and decides what is to be done; writes nothing.

    Raises CatalogInvalid, VersionMismatch, StripePriceTaken, StripeUnavailable, StripeRefused.
    """
    draft = parse_catalog(document, 0)
    if slug is not None and draft.project != slug:
        detail = f"This is project {slug!r}: write project = {slug!r}."
        wrong = {"pointer": "/project", "code": str(Mistake.OTHER_PROJECT), "detail": detail}
        raise CatalogInvalid("The catalog is of another project.", errors=[wrong])
    before, published, on_sale, asked = None, None, {}, []
    async with database.transaction() as tx:
        owner = await project_by_slug(tx, draft.project)
        version = owner.catalog_version if owner else 0
        if expected is not None and version not in expected:
            raise VersionMismatch(
                f"The catalog is at version {version} by now: read it again and publish with its ETag."
            )
        if owner is not None:
            before = await current_catalog(tx, owner) if version else None
            published = await document_of(tx, owner)
            on_sale = await _on_sale_at_stripe(tx, owner)
        await check_bundles(tx, draft)
        if before is not None and owner is not None and existing is None:
            asked = await undecided(tx, owner, before, draft, at)
    there = await read_catalog(stripe, draft)
    _refuse_counted(draft, there)
    async with database.transaction() as tx:
        await _refuse_others(tx, owner, there)
    same = json.dumps(published) == json.dumps(document)
    kept: dict[str, Any] = {}
    # Of the same document again, `move` can only mean those who were let keep earlier ones.
    if before is not None and not (same and existing is Existing.MOVE):
        kept = dump(kept_through(before, draft, existing, at))
    same = same and before is not None and kept == dump(before)
    after = with_kept(parse_catalog(document, version if same else version + 1), kept)
    return Prepared(owner, document, before, after, same, existing, tuple(asked), there, steps(draft, there, on_sale))


async def plan_catalog(
    database: Database,
    stripe: StripeClient,
    document: Mapping[str, Any],
    *,
    at: datetime,
    slug: str | None = None,
    existing: Existing | None = None,
    tell: Tell = lambda *_: None,
) -> Plan:
    """What publishing the document now would do, and whom it touches. Raises what `prepare` does."""
    prepared = await prepare(database, stripe, document, at=at, slug=slug, existing=existing)
    return Plan(prepared, await _radius(database, prepared, at, tell))


async def _on_sale_at_stripe(tx: Tx, owner: Project) -> dict[str, str]:
    """The project's prices that Stripe sells, each with its lookup key; those too that an earlier publish left so."""
    rows = await tx.execute(
        select(price.c.stripe_price_id, price.c.lookup_key)
        .where(price.c.project_id == owner.id, price.c.active)
        .order_by(price.c.lookup_key, price.c.stripe_price_id)
    )
    return {row.stripe_price_id: row.lookup_key for row in rows}


def _refuse_counted(draft: Catalog, there: InStripe) -> None:
    """What `stripe_prices` names must be there, and must not be sold by the catalog as well."""
    sold = {found.id for found in there.prices.values()}
    errors = []
    for product in draft.products.values():
        for place, price_id in enumerate(product.stripe_prices):
            if price_id not in there.counted:
                mistake, detail = Mistake.UNKNOWN_STRIPE_PRICE, f"Stripe knows no price {price_id}"
            elif price_id in sold:
                mistake, detail = Mistake.STRIPE_PRICE_TWICE, "has a lookup key of this catalog: delete it here"
            else:
                continue
            pointer = f"/products/{product.code}/stripe_prices/{place}"
            errors.append({"pointer": pointer, "code": str(mistake), "detail": detail})
    if errors:
        raise CatalogInvalid("The catalog counts Stripe prices that it cannot.", errors=errors)


async def _refuse_others(tx: Tx, owner: Project | None, there: InStripe) -> None:
    ids = [found.id for found in (*there.prices.values(), *there.counted.values())]
    taken = select(price.c.stripe_price_id).where(price.c.stripe_price_id.in_(ids))
    if owner is not None:
        taken = taken.where(price.c.project_id != owner.id)
    others = set(await tx.scalars(taken))
    keys = [key for key, found in there.prices.items() if found.id in others]
    keys += [price_id for price_id in there.counted if price_id in others]
    if keys:
        raise StripePriceTaken(f"Another project's catalog has the Stripe price {', '.join(keys)}.")


async def _radius(database: Database, prepared: Prepared, at: datetime, tell: Tell) -> BlastRadius:
    """Each customer of the project computed under both catalogs, a batch in memory at a time.

    Each batch is a transaction of its own: a large project takes a while, and evidence moves meanwhile in any case.
    """
    radius, owner, before = BlastRadius(), prepared.owner, prepared.before
    if owner is None or before is None or not _may_matter(before, prepared.after):
        return radius
    async with database.transaction() as tx:
        whole = await tx.scalar(select(func.count()).where(customer.c.project_id == owner.id)) or 0
    last: uuid.UUID | None = None
    while True:
        tell(radius.looked_at, whole)
        async with database.transaction() as tx:
            batch = await _batch(tx, owner.id, last)
            known = await products_by_stripe_price(tx, owner.id)
            evidence = await snapshot.gather_all(tx, batch, known)
            paid = await _paid(tx, batch, at)
            then = await known_then(tx, owner, before, prepared.after, known)
        if not batch:
            return radius
        # In a thread: of a large project it takes a while, and whoever else is served must not wait for it.
        changed = {one: snapshot.with_products(held, then) for one, held in evidence.items()}
        await asyncio.to_thread(_count, radius, (before, evidence), (prepared.after, changed), paid, at)
        last = batch[-1]


def _may_matter(before: Catalog, after: Catalog) -> bool:
    """Whether the catalogs differ in anything but what they are called, what it costs, and where people are led."""
    plain: dict[str, Any] = {"version": 0, "name": "", "redirect_origins": (), "prices": {}}
    return replace(before, **plain) != replace(after, **plain)


async def _batch(tx: Tx, project_id: uuid.UUID, last: uuid.UUID | None) -> Sequence[uuid.UUID]:
    query = select(customer.c.id).where(customer.c.project_id == project_id).order_by(customer.c.id).limit(BATCH)
    return (await tx.scalars(query if last is None else query.where(customer.c.id > last))).all()


async def _paid(tx: Tx, batch: Sequence[uuid.UUID], at: datetime) -> dict[uuid.UUID, dict[str, Fraction]]:
    """What each customer pays a month now, by currency; a trial pays nothing yet."""
    rows = await tx.execute(
        select(stretch.c.customer_id, stretch.c.currency, stretch.c.monthly).where(
            stretch.c.customer_id.in_(batch),
            stretch.c.state != State.TRIALING.value,
            stretch.c.starts_at <= at,
            or_(stretch.c.ends_at.is_(None), stretch.c.ends_at > at),
        )
    )
    paid: dict[uuid.UUID, dict[str, Fraction]] = {}
    for row in rows:
        mine = paid.setdefault(row.customer_id, {})
        mine[row.currency] = mine.get(row.currency, Fraction(0)) + row.monthly
    return paid


def _count(
    radius: BlastRadius,
    now: tuple[Catalog, Mapping[uuid.UUID, Evidence]],
    then: tuple[Catalog, Mapping[uuid.UUID, Evidence]],
    paid: Mapping[uuid.UUID, Mapping[str, Fraction]],
    at: datetime,
) -> None:
    """Each catalog with the evidence as it leads prices back to products."""
    for customer_id in now[1]:
        before, after = (compute(catalog, held[customer_id], catalog.policy, at) for catalog, held in (now, then))
        radius.add(before, after, at, paid.get(customer_id, {}))
