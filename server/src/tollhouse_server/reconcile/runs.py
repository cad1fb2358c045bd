"""The runs of reconciliation: one of a kind at a time, each with the place where it goes on after a kill.

waiting ──► running ──► finished                   an operator's request waits for a worker
               │  └───► failed                     given up, visible
               └─ lease runs out ─► running        another replica goes on where it stopped
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, and_, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ..db.drift_tables import reconciliation, reconciliation_seen, reconciliation_suspect
from ..db.engine import Tx
from ..db.tables import project
from ..domain.errors import Problem
from ..inbox import ERROR_LENGTH

BEGIN_LOCK = 7_263_003
"""The advisory lock under which a run is begun, so that of several replicas that find one due only one begins it."""

MOST_FAILURES = 10
"""Times in a row that a run may be interrupted by an error, Stripe's outage say, without getting on."""
RETRY_FIRST = timedelta(seconds=15)


class Kind(StrEnum):
    CATCH_UP = "catch-up"
    """Reads Stripe's list of events for those whose webhooks never came."""
    SWEEP = "sweep"
    """Compares Stripe's lists of objects with all that we hold."""


class Trigger(StrEnum):
    SCHEDULE = "schedule"
    OPERATOR = "operator"
    CLI = "cli"


class ReconciliationRunning(Problem):
    """A reconciliation of this kind is waiting or under way, and two would only ask Stripe the same.

    Wait for it, or look at what it has found so far.
    """

    status = 409
    code = "reconciliation-running"


class LeaseLost(Exception):
    """Another replica took the run over: whatever is in hand here must not be written."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is begun with. `project_id` None: all projects."""

    kind: Kind
    trigger: Trigger
    actor: str
    dry_run: bool = False
    project_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run under this process' lease, as it stood when the lease was taken."""

    id: str
    asked: Asked
    lease: uuid.UUID
    created_at: datetime
    """By the database's clock, as are the rows it is compared with."""
    started_at: datetime
    stage: str
    cursor: str | None
    since: datetime | None
    reached: datetime | None
    counts: Mapping[str, int]
    requests: int
    stripe_seconds: float
    paced_seconds: float
    failures: int


async def begin(tx: Tx, asked: Asked, *, at: datetime, since: datetime | None = None) -> str:
    """Stores a run that waits for somebody to take it; returns its id (`rec_…`). Raises ReconciliationRunning."""
    stored = await tx.scalar(
        upsert(reconciliation)
        .values(
            id=f"rec_{secrets.token_hex(12)}",
            kind=asked.kind,
            trigger=asked.trigger,
            actor=asked.actor,
            project_id=asked.project_id,
            dry_run=asked.dry_run,
            state="waiting",
            started_at=at,
            stage="",
            since=since,
        )
        .on_conflict_do_nothing(
            index_elements=[reconciliation.c.kind], index_where=reconciliation.c.finished_at.is_(None)
        )
        .returning(reconciliation.c.id)
    )
    if stored is None:
        under_way = await tx.scalar(
            select(reconciliation.c.id).where(
                reconciliation.c.kind == asked.kind, reconciliation.c.finished_at.is_(None)
            )
        )
        raise ReconciliationRunning(f"The {asked.kind} {under_way or ''} is under way: wait until it has finished.")
    return str(stored)


async def alone(tx: Tx) -> None:
    """Until the transaction ends, nobody else looks whether a run is due."""
    await tx.execute(select(func.pg_advisory_xact_lock(BEGIN_LOCK)))


async def last_started(tx: Tx, kind: Kind) -> datetime | None:
    """When the latest run of the kind began that was whole: of all projects, and not a dry one."""
    last: datetime | None = await tx.scalar(
        select(func.max(reconciliation.c.started_at)).where(reconciliation.c.kind == kind, *_whole())
    )
    return last


async def last_finished(tx: Tx) -> dict[Kind, datetime]:
    """When the latest whole run of each kind finished well."""
    rows = await tx.execute(
        select(reconciliation.c.kind, func.max(reconciliation.c.finished_at))
        .where(reconciliation.c.state == "finished", *_whole())
        .group_by(reconciliation.c.kind)
    )
    return {Kind(kind): at for kind, at in rows}


async def reached(tx: Tx) -> datetime | None:
    """Up to which instant Stripe's list of events has been read: the cursor of the catch-ups."""
    found: datetime | None = await tx.scalar(
        select(func.max(reconciliation.c.reached)).where(
            reconciliation.c.kind == Kind.CATCH_UP, reconciliation.c.state == "finished", *_whole()
        )
    )
    return found


def _whole() -> tuple[Any, Any]:
    return reconciliation.c.project_id.is_(None), ~reconciliation.c.dry_run


async def take(tx: Tx, kind: Kind, lease: timedelta, *, at_once: bool = False) -> Run | None:
    """The run of the kind that waits, or that its holder has abandoned, for `lease`; None where there is none.

    `at_once` takes one that pauses after an error, too.
    """
    token = uuid.uuid4()
    free = or_(
        reconciliation.c.lease_until.is_(None),
        reconciliation.c.lease_until <= func.clock_timestamp(),
        and_(reconciliation.c.lease.is_(None), literal(at_once)),
    )
    id_ = await tx.scalar(
        select(reconciliation.c.id)
        .where(reconciliation.c.kind == kind, reconciliation.c.finished_at.is_(None), free)
        .with_for_update(skip_locked=True)
    )
    if id_ is None:
        return None
    row = (
        await tx.execute(
            update(reconciliation)
            .where(reconciliation.c.id == id_)
            .values(state="running", lease=token, lease_until=func.clock_timestamp() + lease)
            .returning(reconciliation)
        )
    ).one()
    asked = Asked(Kind(row.kind), Trigger(row.trigger), row.actor, row.dry_run, row.project_id)
    return Run(
        row.id,
        asked,
        token,
        row.created_at,
        row.started_at,
        row.stage,
        row.cursor,
        row.since,
        row.reached,
        row.counts,
        row.requests,
        row.stripe_seconds,
        row.paced_seconds,
        row.failures,
    )


async def save(tx: Tx, run: Run, lease: timedelta, **values: Any) -> None:
    """Writes where the run goes on, in the transaction of what it did. Raises LeaseLost: then all of it is undone."""
    await _mine(tx, run, lease_until=func.clock_timestamp() + lease, failures=0, error=None, **values)


async def beat(tx: Tx, run: Run, lease: timedelta) -> None:
    """A sign of life. Raises LeaseLost."""
    await _mine(tx, run, lease_until=func.clock_timestamp() + lease)


async def release(tx: Tx, run: Run) -> None:
    """Gives the run up for another replica to go on with at once. Raises LeaseLost."""
    await _mine(tx, run, lease=None, lease_until=None)


async def finish(tx: Tx, run: Run, *, at: datetime, **values: Any) -> None:
    await _mine(tx, run, state="finished", finished_at=at, stage="done", lease=None, lease_until=None, **values)
    for table in (reconciliation_seen, reconciliation_suspect):
        await tx.execute(delete(table).where(table.c.run_id == run.id))


async def abandon_all(tx: Tx, why: str, *, at: datetime) -> None:
    """Ends every run that waits or is under way: after a restore their place in Stripe's lists means nothing."""
    await tx.execute(
        update(reconciliation)
        .where(reconciliation.c.finished_at.is_(None))
        .values(state="failed", finished_at=at, lease=None, lease_until=None, error=why)
    )


async def stumble(tx: Tx, run: Run, error: BaseException, *, at: datetime, final: bool) -> bool:
    """Keeps the error; the run goes on a little later, unless it is `final` or the tenth in a row: then it has failed.

    Returns whether it has.
    """
    said = f"{type(error).__name__}: {error}".replace("\x00", "")[:ERROR_LENGTH]
    failures = await tx.scalar(select(reconciliation.c.failures).where(reconciliation.c.id == run.id)) or 0
    if final or failures + 1 >= MOST_FAILURES:
        over = {"state": "failed", "finished_at": at, "lease_until": None}
    else:
        over = {"lease_until": func.clock_timestamp() + RETRY_FIRST * 2 ** min(failures, 5)}
    await _mine(tx, run, lease=None, failures=failures + 1, error=said, **over)
    return "state" in over


async def _mine(tx: Tx, run: Run, **values: Any) -> None:
    held = await tx.execute(
        update(reconciliation)
        .where(reconciliation.c.id == run.id, reconciliation.c.lease == run.lease)
        .values(**values)
    )
    if held.rowcount != 1:
        raise LeaseLost(f"another replica has taken over {run.id}")


async def get(tx: Tx, run_id: str) -> Row[Any] | None:
    """The run, with the slug of its project where it is of one alone."""
    found: Row[Any] | None = (await tx.execute(_with_project().where(reconciliation.c.id == run_id))).one_or_none()
    return found


def _with_project() -> Select[Any]:
    return select(reconciliation, project.c.slug.label("project")).outerjoin(
        project, project.c.id == reconciliation.c.project_id
    )


async def listing(tx: Tx, *, kind: str | None = None, before: str | None = None, limit: int = 50) -> Sequence[Row[Any]]:
    """Newest first; `before` is the id of the run at which the page before ended."""
    conditions: list[Any] = [] if kind is None else [reconciliation.c.kind == kind]
    order = tuple_(reconciliation.c.created_at, reconciliation.c.id)
    if before is not None:
        end = reconciliation.alias("end")
        conditions.append(order < select(end.c.created_at, end.c.id).where(end.c.id == before).scalar_subquery())
    newest_first = reconciliation.c.created_at.desc(), reconciliation.c.id.desc()
    rows = await tx.execute(_with_project().where(*conditions).order_by(*newest_first).limit(limit))
    return list(rows)


async def saw(tx: Tx, run: Run, ids: Sequence[str]) -> None:
    """Stripe's lists show these of ours."""
    await _note(tx, reconciliation_seen, [{"run_id": run.id, "id": one} for one in ids])


async def suspect(tx: Tx, run: Run, stripe_customer_ids: Sequence[str]) -> None:
    """These customers are to be read again."""
    rows = [{"run_id": run.id, "stripe_customer_id": one} for one in stripe_customer_ids]
    await _note(tx, reconciliation_suspect, rows)


async def _note(tx: Tx, table: Any, rows: Sequence[Mapping[str, str]]) -> None:
    if rows:
        await tx.execute(upsert(table).on_conflict_do_nothing(), list(rows))


async def next_suspect(tx: Tx, run: Run) -> str | None:
    found: str | None = await tx.scalar(
        select(func.min(reconciliation_suspect.c.stripe_customer_id)).where(reconciliation_suspect.c.run_id == run.id)
    )
    return found


async def suspects(tx: Tx, run: Run) -> int:
    """How many are still to be read again."""
    mine = reconciliation_suspect.c.run_id == run.id
    return await tx.scalar(select(func.count()).select_from(reconciliation_suspect).where(mine)) or 0


async def cleared(tx: Tx, run: Run, stripe_customer_id: str) -> None:
    """The customer has been read again."""
    await tx.execute(
        delete(reconciliation_suspect).where(
            reconciliation_suspect.c.run_id == run.id,
            reconciliation_suspect.c.stripe_customer_id == stripe_customer_id,
        )
    )
