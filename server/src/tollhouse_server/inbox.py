"""Stripe's events as work: stored once, claimed a customer at a time, settled with the change they led to.

received ──► settled                      the change, if any, is committed
    └──────► deferred ──► settled         an error is kept in the row; tried again later
                 └──────► buried          given up, visible, and open to `replay`
"""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, and_, delete, func, select, text, update

from .db.engine import Tx
from .db.tables import inbox, read_number
from .logs import redacted

CHANNEL = "tollhouse_inbox"
"""The NOTIFY channel on which a stored event wakes the workers."""

BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_LONGEST = timedelta(hours=4)
ERROR_LENGTH = 2_000
_CLAIM_LOCK = 7_263_002
_ROWS_FOR_ONE = 4
"""How many due events are looked at for one subject to claim: of a burst, several may be of one."""
_id = attrgetter("id")

NOT_HANDLED = "not-handled"
"""The outcome of an event of a type that changes nothing of ours."""
APPLIED = "applied"
FOREIGN = "foreign"
"""The outcome of an event about an object of somebody else on the same Stripe account."""
WRONG_MODE = "wrong-mode"
"""The outcome of a live event at a service with a test key, or the reverse: it must never move a customer."""
WRONG_ACCOUNT = "wrong-account"
"""The outcome of an event of another Stripe account that is connected to ours."""


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook event as it arrived. `body` is the raw JSON text; `subject` is what it says is dirty."""

    id: str
    type: str
    api_version: str | None
    occurred_at: datetime
    body: str
    subject: str | None
    ignored_as: str | None = None
    """The outcome of one that must lead to nothing, whatever it is about."""
    found_by: str | None = None
    """The reconciliation that found it in Stripe's list, as its webhook had not come."""

    @property
    def pending_subject(self) -> str | None:
        """What is to be read again; None where nothing is."""
        return self.subject if self.ignored_as is None else None

    @property
    def outcome(self) -> str | None:
        """What becomes of it at once, as there is nothing to do; None where there is."""
        return None if self.pending_subject is not None else self.ignored_as or NOT_HANDLED


@dataclass(frozen=True, slots=True)
class Claim:
    """All pending events of one subject, under a lease. `read` numbers the read that follows."""

    lease: uuid.UUID
    subject: str
    read: int
    event_ids: tuple[str, ...]
    attempts: int
    """How often the newest of them has been tried before: one read does for all, so it decides when to give up."""
    found: tuple[str, ...] = ()
    """Those of the events that a reconciliation found missing."""


STORE = f"""
WITH stored AS (
  INSERT INTO inbox (event_id, type, api_version, subject, body, occurred_at, outcome, found_by,
                     state, next_attempt_at, settled_at)
  SELECT event.*,
    CASE WHEN event.outcome IS NULL THEN 'received' ELSE 'settled' END,
    CASE WHEN event.outcome IS NULL THEN now() END,
    CASE WHEN event.outcome IS NOT NULL THEN now() END
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::text[])
    AS event(event_id, type, api_version, subject, body, occurred_at, outcome, found_by)
  ON CONFLICT (event_id) DO NOTHING
  RETURNING event_id, state
)
SELECT array_agg(event_id), CASE WHEN bool_or(state = 'received') THEN pg_notify('{CHANNEL}', '')::text END FROM stored
"""  # noqa: S608 - a constant of ours
"""Stores events whose `columns_of` are the parameters; `new_of` reads its row. The workers wake when it commits."""


def columns_of(events: Iterable[Event]) -> list[list[Any]]:
    """In the order of their ids: two transactions that stored the same ones in two orders would wait for each other."""
    rows = [
        (one.id, one.type, one.api_version, one.pending_subject, one.body, one.occurred_at, one.outcome, one.found_by)
        for one in sorted(events, key=_id)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def new_of(row: Sequence[Any] | None) -> set[str]:
    """The ids of those events that had not been stored before."""
    return set(row[0] or ()) if row else set()


async def receive(tx: Tx, *events: Event) -> set[str]:
    """Stores each event, once; the ids of those that had not been stored before."""
    return new_of((await tx.exec_driver_sql(STORE, tuple(columns_of(events)))).one())


_HELD = """EXISTS (
  SELECT FROM inbox held
  WHERE held.subject = due.subject
    AND held.next_attempt_at IS NOT NULL  -- lets the partial index of pending subjects serve
    AND held.lease_until > clock_timestamp()
)"""

# Several workers see the same subjects: the advisory lock, held to the commit, lets one go on with each. Rows are not
# locked: two workers that held some of each other's subjects' rows would wait for each other.
_DUE = f"""
SELECT subject, pg_try_advisory_xact_lock({_CLAIM_LOCK}, hashtext(subject)) AS alone
FROM (
  SELECT subject, next_attempt_at FROM inbox due
  WHERE next_attempt_at <= clock_timestamp() AND subject <> ALL (%s::text[]) AND NOT {_HELD}
  ORDER BY next_attempt_at LIMIT %s
) waiting
GROUP BY subject ORDER BY min(next_attempt_at)
"""  # noqa: S608 - constants of ours

# Whether a subject is held is asked again, in a statement of its own: the first one may not have seen a lease that was
# committed meanwhile. What is leased is due again when the lease ends, so it is in nobody's way until then.
_LEASE = f"""
WITH due AS MATERIALIZED (
  SELECT subject, gen_random_uuid() AS lease, nextval('read_number') AS read, clock_timestamp() AS at,
    (SELECT max(claimed_at) FROM inbox before WHERE before.subject = due.subject) + %s::interval AS not_before
  FROM unnest(%s::text[]) AS due(subject)
  WHERE NOT {_HELD}
), too_early AS (
  UPDATE inbox SET next_attempt_at = due.not_before FROM due
  WHERE inbox.subject = due.subject AND inbox.next_attempt_at < due.not_before AND due.not_before > due.at
)
UPDATE inbox
SET lease = due.lease, claimed_at = due.at, lease_until = due.at + %s::interval, next_attempt_at = due.at + %s::interval
FROM due
WHERE inbox.subject = due.subject AND inbox.next_attempt_at IS NOT NULL AND (due.not_before > due.at) IS NOT TRUE
RETURNING inbox.subject, due.lease, due.read, inbox.id, inbox.event_id, inbox.attempts, inbox.found_by
"""  # noqa: S608 - constants of ours


async def claim(tx: Tx, *, lease: timedelta, pause: timedelta, most: int = 1) -> list[Claim]:
    """The subjects that have waited longest, each with all its pending events, for `lease`; none where nothing is due.

    A subject that another worker holds is passed over, so that one customer never has two workers. One that was claimed
    less than `pause` ago becomes due when that is over: however many events come, it is read once in that time, and
    those who have waited longer than it are before it.
    """
    passed: list[str] = []
    while rows := (await tx.exec_driver_sql(_DUE, (passed, most * _ROWS_FOR_ONE))).all():
        alone = [row.subject for row in rows if row.alone][:most]
        if alone and (claims := _claims(await tx.exec_driver_sql(_LEASE, (pause, alone, lease, lease)))):
            return claims
        passed += [row.subject for row in rows]
    return []


def _claims(rows: Iterable[Row[Any]]) -> list[Claim]:
    subjects: dict[str, list[Row[Any]]] = {}
    for row in sorted(rows, key=_id):
        subjects.setdefault(row.subject, []).append(row)
    return [
        Claim(
            lease=events[0].lease,
            subject=subject,
            read=events[0].read,
            event_ids=tuple(row.event_id for row in events),
            attempts=min(row.attempts for row in events),
            found=tuple(row.event_id for row in events if row.found_by is not None),
        )
        for subject, events in subjects.items()
    ]


async def until_next(tx: Tx) -> timedelta | None:
    """How long until the next event is due that is not due yet; None where there is none."""
    pending = inbox.c.next_attempt_at
    next_one = select(func.min(pending) - func.clock_timestamp()).where(pending > func.clock_timestamp())
    found: timedelta | None = await tx.scalar(next_one)
    return found


async def next_read(tx: Tx) -> int:
    """A number larger than that of every read of Stripe that has begun before."""
    return (await tx.execute(select(read_number.next_value()))).scalar_one()


async def settle(tx: Tx, done: Claim, outcome: str, *, project_id: uuid.UUID | None = None) -> list[timedelta]:
    """Marks the claim's events as done, in the transaction of the change they led to. Returns how long each took."""
    settled = await tx.execute(
        _mine(done)
        .values(
            state="settled",
            outcome=outcome,
            project_id=project_id,
            attempts=inbox.c.attempts + 1,
            settled_at=func.now(),
            next_attempt_at=None,
            lease=None,
            lease_until=None,
            error=None,
        )
        .returning(func.clock_timestamp() - inbox.c.received_at)
    )
    return list(settled.scalars())


async def defer(tx: Tx, failed: Claim, error: BaseException) -> None:
    """Keeps the error and tries again later: at about 2 s, 4 s, 8 s … 4 h, spread by half so that a herd disperses."""
    wait = min(BACKOFF_FIRST * 2 ** min(failed.attempts, 20), BACKOFF_LONGEST) * random.uniform(0.5, 1)  # noqa: S311
    await tx.execute(
        _mine(failed).values(
            state="deferred",
            attempts=inbox.c.attempts + 1,
            next_attempt_at=func.now() + wait,
            lease=None,
            lease_until=None,
            error=_text(error),
        )
    )


async def bury(tx: Tx, failed: Claim, error: BaseException) -> None:
    """Gives the claim's events up, visibly: they stay until an operator replays them."""
    await tx.execute(
        _mine(failed).values(
            state="buried",
            attempts=inbox.c.attempts + 1,
            next_attempt_at=None,
            lease=None,
            lease_until=None,
            error=_text(error),
        )
    )


async def replay(tx: Tx, event_id: str) -> bool:
    """Makes a stored event pending again, whatever became of it; False where none is stored under this id.

    Safe at any time: the event only says which customer to read again. A read under way began too early to count, so
    whoever has it in hand loses the event.
    """
    row = await tx.scalar(
        update(inbox)
        .where(inbox.c.event_id == event_id, inbox.c.subject.is_not(None))
        .values(
            state="received",
            outcome=None,
            settled_at=None,
            attempts=0,
            next_attempt_at=func.now(),
            lease=None,
            lease_until=None,
        )
        .returning(inbox.c.id)
    )
    if row is not None:
        await tx.execute(text(f"NOTIFY {CHANNEL}"))
    return row is not None


async def stored(tx: Tx, event_ids: Sequence[str]) -> set[str]:
    """Those of the events that are here, whatever became of them."""
    return set(await tx.scalars(select(inbox.c.event_id).where(inbox.c.event_id.in_(event_ids))))


async def get(tx: Tx, event_id: str) -> Row[Any] | None:
    """The stored event (`evt_…`) with its state and error."""
    return (await tx.execute(select(inbox).where(inbox.c.event_id == event_id))).one_or_none()


async def listing(
    tx: Tx, *, state: str | None = None, type_: str | None = None, before: int | None = None, limit: int = 50
) -> Sequence[Row[Any]]:
    """Stored events without their bodies, newest first; `before` is the `id` at which the page before ended."""
    conditions = [
        column == wanted for column, wanted in ((inbox.c.state, state), (inbox.c.type, type_)) if wanted is not None
    ]
    if before is not None:
        conditions.append(inbox.c.id < before)
    columns = [column for column in inbox.c if column.name != "body"]
    return (
        await tx.execute(select(*columns).where(and_(True, *conditions)).order_by(inbox.c.id.desc()).limit(limit))
    ).all()


async def depth(tx: Tx) -> tuple[dict[str, int], timedelta]:
    """How many events are pending (deferred ones among them), deferred, buried; how long the oldest has waited."""
    pending, deferred, waited = (
        await tx.execute(
            select(
                func.count(),
                func.count().filter(inbox.c.state == "deferred"),
                func.coalesce(func.extract("epoch", func.now() - func.min(inbox.c.received_at)), 0),
            ).where(inbox.c.next_attempt_at.is_not(None))
        )
    ).one()
    buried = await tx.scalar(select(func.count()).where(inbox.c.state == "buried"))
    return {"pending": pending, "deferred": deferred, "buried": buried or 0}, timedelta(seconds=float(waited))


async def prune(tx: Tx, keep: timedelta) -> None:
    """Forgets events that were settled longer than `keep` ago."""
    await tx.execute(delete(inbox).where(inbox.c.state == "settled", inbox.c.settled_at < func.now() - keep))


def _mine(held: Claim) -> Any:
    """The claim's events, as far as no other worker has taken them over since."""
    return update(inbox).where(inbox.c.lease == held.lease, inbox.c.event_id.in_(held.event_ids))


def _text(error: BaseException) -> str:
    return redacted(f"{type(error).__name__}: {error}".replace("\x00", ""))[:ERROR_LENGTH]
