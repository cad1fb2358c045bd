"""What projects earn: three queries, however many customers there are, measured by the domain."""

import asyncio
import csv
import io
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Row, Table, and_, cast, func, literal, or_, select, true

from .db.columns import Instant
from .db.engine import Tx
from .db.tables import money_fact, project, stretch
from .domain.billing import State
from .domain.intervals import Every, cut
from .domain.metrics import Fact, FactKind, Figures, Held, measure, together
from .domain.rounding import told
from .domain.time import written
from .recurring import as_stretch

DAYS = 30
"""How much time is told where nothing is asked: so many days of UTC, today's among them."""

_Keyed = Mapping[str, Sequence[Figures]]


@dataclass(frozen=True, slots=True)
class Line:
    """One interval of one project in one currency; `project` None is the fleet."""

    project: str | None
    starts_at: datetime
    ends_at: datetime
    complete: bool
    """Whether it was over when it was computed."""
    currency: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked, as known at `computed_at`. An interval that is not over yet counts up to then."""

    starts_at: datetime
    ends_at: datetime
    every: Every
    computed_at: datetime
    whole: tuple[Line, ...]
    """The project's lines; of a fleet its sums."""
    projects: tuple[Line, ...]
    """Each project's; of a single one the same."""


async def report(
    tx: Tx,
    project_id: uuid.UUID | None,
    starts_at: datetime | None,
    ends_at: datetime | None,
    every: Every,
    *,
    at: datetime,
) -> Report:
    """The project's figures, or without one the fleet's, in three queries. Raises IntervalsInvalid."""
    tomorrow = datetime.combine(at.astimezone(UTC).date(), time(), UTC) + timedelta(days=1)
    ends_at = ends_at or tomorrow
    starts_at = starts_at or ends_at - timedelta(days=DAYS)
    edges = _begun(cut(starts_at, ends_at, every), at)
    measured = await _measured(tx, project_id, edges, at)
    projects = tuple(line for name, figures in sorted(measured.items()) for line in _lines(name, edges, figures, at))
    whole = projects if project_id else tuple(_lines(None, edges, _sums(list(measured.values())), at))
    return Report(starts_at, ends_at, every, at, whole, projects)


def _begun(edges: Sequence[datetime], at: datetime) -> list[datetime]:
    """Without the intervals that have not begun: nothing is known of them. The first one stays."""
    return [edge for place, edge in enumerate(edges) if place < 2 or edges[place - 1] <= at]


def _lines(name: str | None, edges: Sequence[datetime], figures: _Keyed, at: datetime) -> Iterator[Line]:
    for place, (start, end) in enumerate(pairwise(edges)):
        for currency, rows in sorted(figures.items()):
            yield Line(name, start, end, end <= at, currency, rows[place])


def _sums(projects: Sequence[_Keyed]) -> dict[str, list[Figures]]:
    currencies = {currency for figures in projects for currency in figures}
    return {
        currency: [together(rows) for rows in zip(*(one[currency] for one in projects if currency in one), strict=True)]
        for currency in currencies
    }


async def _measured(
    tx: Tx, project_id: uuid.UUID | None, edges: Sequence[datetime], at: datetime
) -> dict[str, dict[str, list[Figures]]]:
    """By project and currency."""
    overlapping = (await tx.execute(_overlapping(project_id, edges))).all()
    summed = (await tx.execute(_summed_facts(project_id, edges, at))).all()
    returning = {(row.customer_id, row.currency) for row in await tx.execute(_returning(project_id, edges))}
    # In a thread: of a large fleet it takes a while, and the checks of the apps must not wait for it.
    return await asyncio.to_thread(_measure, overlapping, summed, returning, edges, at)


def _measure(
    overlapping: Iterable[Row[Any]],
    summed: Iterable[Row[Any]],
    returning: set[tuple[uuid.UUID, str]],
    edges: Sequence[datetime],
    at: datetime,
) -> dict[str, dict[str, list[Figures]]]:
    held: dict[str, list[Held]] = {}
    for row in overlapping:
        held.setdefault(row.slug, []).append(Held(row.customer_id, row.currency, as_stretch(row)))
    facts: dict[str, list[Fact]] = {}
    for row in summed:
        fact = Fact(FactKind(row.kind), edges[row.place - 1], row.currency, int(row.amount), row.times)
        facts.setdefault(row.slug, []).append(fact)
    slugs = {*held, *facts}
    return {slug: measure(held.get(slug, ()), facts.get(slug, ()), edges, at, returning) for slug in slugs}


def _of(table: Table, project_id: uuid.UUID | None) -> ColumnElement[bool]:
    return true() if project_id is None else table.c.project_id == project_id


def _overlapping(project_id: uuid.UUID | None, edges: Sequence[datetime]) -> Any:
    """The stretches that do not end before the first edge; the law of `measure`."""
    return (
        select(stretch, project.c.slug)
        .join(project, project.c.id == stretch.c.project_id)
        .where(
            _of(stretch, project_id),
            stretch.c.starts_at < edges[-1],
            or_(stretch.c.ends_at.is_(None), stretch.c.ends_at >= edges[0]),
        )
    )


def _summed_facts(project_id: uuid.UUID | None, edges: Sequence[datetime], at: datetime) -> Any:
    """The facts counted and added up for each interval, in the database: a year of charges is a few rows."""
    place = func.width_bucket(money_fact.c.at, cast(literal(list(edges), ARRAY(Instant)), ARRAY(Instant)))
    summed = (
        select(
            money_fact.c.project_id,
            money_fact.c.kind,
            money_fact.c.currency,
            place.label("place"),
            func.count().label("times"),
            func.sum(money_fact.c.amount).label("amount"),
        )
        .where(
            _of(money_fact, project_id),
            money_fact.c.at >= edges[0],
            money_fact.c.at < edges[-1],
            money_fact.c.at <= at,
        )
        .group_by(money_fact.c.project_id, money_fact.c.kind, money_fact.c.currency, place)
        .subquery()
    )
    return select(summed, project.c.slug).join(project, project.c.id == summed.c.project_id)


def _returning(project_id: uuid.UUID | None, edges: Sequence[datetime]) -> Any:
    """Whoever begins something in this time and had MRR before all that is read of them."""
    begins = select(stretch.c.customer_id).where(
        _of(stretch, project_id), stretch.c.starts_at >= edges[0], stretch.c.starts_at < edges[-1]
    )
    earlier = and_(
        stretch.c.ends_at < edges[0],
        stretch.c.state != State.TRIALING.value,
        stretch.c.monthly != literal(0, stretch.c.monthly.type),
    )
    return (
        select(stretch.c.customer_id, stretch.c.currency)
        .where(_of(stretch, project_id), earlier, stretch.c.customer_id.in_(begins))
        .distinct()
    )


def as_csv(lines: Iterable[Line]) -> str:
    """One row for each line under a header (RFC 4180). What a spreadsheet might take for a formula, it cannot."""
    text = io.StringIO()
    sheet = csv.writer(text)
    sheet.writerow(["project", "from", "to", "complete", "currency", *told(Figures())])
    for line in lines:
        when = written(line.starts_at), written(line.ends_at), str(line.complete).lower()
        figures = ("" if figure is None else figure for figure in told(line.figures).values())
        sheet.writerow([_harmless(line.project or ""), *when, _harmless(line.currency), *figures])
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
