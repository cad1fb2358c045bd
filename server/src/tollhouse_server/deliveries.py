"""Messages on their way to endpoints: claimed under a lease, in order for each customer, spread over the endpoints.

pending ──► delivered                     the endpoint answered 2xx
   └──────► given_up                      the last try failed, or the endpoint was disabled; kept, open to `resend`

Whoever locks an endpoint and its deliveries locks the endpoint first.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Exists,
    Row,
    ScalarSelect,
    Select,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import delivery, notification_endpoint, outbox
from .outbox import CUSTOMER_CHANGED, wake

AT_ONCE = 2
"""Requests under way to one endpoint, however many workers there are; one to an endpoint that keeps failing."""
ENDPOINTS_PER_CLAIM = 50
ERROR_LENGTH = 500
KEPT = ("pending", "given-up")
ENDPOINTS = ("enabled", "failing", "disabled")


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery, under a lease, with all that sending it takes."""

    id: int
    lease: uuid.UUID
    endpoint_id: str
    project_id: uuid.UUID
    url: str
    generation: int
    overlaps: bool
    """The secret of the generation before still counts."""
    message_id: str
    type: str
    body: str
    customer_id: uuid.UUID | None
    version: int | None
    attempts: int
    """Before this one."""


async def claim(tx: Tx, *, limit: int, lease: timedelta) -> list[Claim]:
    """Up to `limit` deliveries that are due, for `lease`; none of an endpoint that has its share under way already.

    The claimed are each the first that its endpoint has yet to hear of its customer.
    """
    locked = list(await tx.scalars(_endpoints_with_work()))
    if not locked:
        return []
    token = uuid.uuid4()
    # A statement of its own, after the locks: what other workers committed before we had them is seen.
    rows = await tx.execute(
        update(delivery)
        .where(
            delivery.c.id.in_(_first_of_each_customer(locked, limit)),
            notification_endpoint.c.id == delivery.c.endpoint_id,
            outbox.c.id == delivery.c.message_id,
        )
        .values(lease=token, lease_until=func.clock_timestamp() + lease)
        .returning(
            *(delivery.c[name] for name in ("id", "lease", "endpoint_id", "project_id", "message_id", "customer_id")),
            *(delivery.c[name] for name in ("version", "attempts")),
            *(notification_endpoint.c[name] for name in ("url", "generation")),
            func.coalesce(notification_endpoint.c.previous_until > func.clock_timestamp(), false()).label("overlaps"),
            outbox.c.type,
            outbox.c.body,
        )
    )
    return [Claim(**row._mapping) for row in rows]


def _endpoints_with_work() -> Select[Any]:
    endpoint = notification_endpoint
    due = exists().where(delivery.c.endpoint_id == endpoint.c.id, *_is_due(delivery.c)).correlate(endpoint)
    return (
        select(endpoint.c.id)
        .where(endpoint.c.disabled_at.is_(None), due, _under_way() < _share())
        .order_by(func.random())  # so that none waits behind others for ever
        .limit(ENDPOINTS_PER_CLAIM)
        .with_for_update(key_share=True, skip_locked=True, of=endpoint)
    )


def _first_of_each_customer(endpoints: Sequence[str], limit: int) -> Select[Any]:
    endpoint, one = notification_endpoint.alias("e"), delivery.alias("d")
    share = _share(endpoint.c) - _under_way(endpoint.c)
    first = (
        select(one.c.id)
        .where(one.c.endpoint_id == endpoint.c.id, *_is_due(one.c), ~_waits_for_another(one.c))
        .order_by(one.c.next_attempt_at, one.c.id)
        .limit(func.greatest(share, 0))
        .correlate(endpoint)
        .lateral("first")
    )
    return (
        select(first.c.id)
        .select_from(endpoint.join(first, true()))
        .where(endpoint.c.id.in_(endpoints))
        .order_by(func.random())
        .limit(limit)
    )


def _is_due(row: Any) -> tuple[ColumnElement[bool], ...]:
    now = func.clock_timestamp()
    return row.next_attempt_at <= now, or_(row.lease_until.is_(None), row.lease_until <= now)


def _under_way(endpoint: Any = notification_endpoint.c) -> ScalarSelect[int]:
    held = delivery.alias("held")
    return (
        select(func.count())
        .select_from(held)
        .where(held.c.endpoint_id == endpoint.id, held.c.lease_until > func.clock_timestamp())
        .correlate(endpoint.id.table)
        .scalar_subquery()
    )


def _share(endpoint: Any = notification_endpoint.c) -> ColumnElement[int]:
    return case((endpoint.failing_since.is_not(None), 1), else_=AT_ONCE)


def _waits_for_another(row: Any) -> Exists:
    """An earlier version is still to be delivered or given up."""
    earlier = delivery.alias("earlier")
    return (
        exists()
        .where(
            earlier.c.endpoint_id == row.endpoint_id,
            earlier.c.customer_id == row.customer_id,
            earlier.c.version < row.version,
            earlier.c.next_attempt_at.is_not(None),
        )
        .correlate(row.id.table)
    )


async def succeed(tx: Tx, done: Claim, status: int) -> float | None:
    """Marks the delivery as done; the seconds since it was queued, None where another worker took it over."""
    waited = await tx.scalar(
        _mine(done)
        .values(**_settled("delivered"), attempts=delivery.c.attempts + 1, status=status, error=None)
        .returning(func.extract("epoch", func.clock_timestamp() - delivery.c.queued_at))
    )
    await _let_followers_go(tx, done)
    return None if waited is None else float(waited)


async def defer(tx: Tx, failed: Claim, wait: timedelta, status: int | None, error: str) -> None:
    """Keeps the error and tries again after `wait`; what follows for the same customer need not be looked at before."""
    next_attempt_at = func.clock_timestamp() + wait
    await tx.execute(
        _mine(failed).values(
            attempts=delivery.c.attempts + 1,
            next_attempt_at=next_attempt_at,
            lease=None,
            lease_until=None,
            status=status,
            error=error[:ERROR_LENGTH],
        )
    )
    await _put_off_followers(tx, failed, next_attempt_at)


async def give_up(tx: Tx, failed: Claim, status: int | None, error: str) -> None:
    """Gives the delivery up, visibly: it stays until it is resent or pruned."""
    await tx.execute(
        _mine(failed).values(
            **_settled("given_up"), attempts=delivery.c.attempts + 1, status=status, error=error[:ERROR_LENGTH]
        )
    )
    await _let_followers_go(tx, failed)


async def give_up_all(tx: Tx, endpoint_id: str, error: str) -> int:
    """Gives up all that is pending for an endpoint, whoever has it in hand; returns how many."""
    given_up = await tx.execute(
        update(delivery)
        .where(delivery.c.endpoint_id == endpoint_id, delivery.c.next_attempt_at.is_not(None))
        .values(**_settled("given_up"), error=error[:ERROR_LENGTH])
    )
    return given_up.rowcount


async def resend(tx: Tx, endpoint_id: str, message_id: str) -> bool:
    """Makes one message pending for the endpoint, whatever became of it; False where the project has no such message.

    Not a message about another endpoint.
    """
    had = exists().where(delivery.c.endpoint_id == endpoint_id, delivery.c.message_id == outbox.c.id)
    return await _queue(tx, endpoint_id, and_(outbox.c.id == message_id, or_(_is_change(), had))) > 0


async def resend_since(tx: Tx, endpoint_id: str, since: datetime) -> int:
    """Makes pending what the endpoint has not got of the messages written since an instant; returns how many.

    What was given up, and what was never queued as the endpoint was disabled or not there yet.
    """
    has = exists().where(
        delivery.c.endpoint_id == endpoint_id,
        delivery.c.message_id == outbox.c.id,
        delivery.c.state != "given_up",
    )
    return await _queue(tx, endpoint_id, and_(outbox.c.created_at >= since, _is_change(), ~has))


async def listing(
    tx: Tx, endpoint_id: str, *, state: str | None = None, before: int | None = None, limit: int = 50
) -> Sequence[Row[Any]]:
    """An endpoint's deliveries, newest first; `before` is the `id` at which the page before ended."""
    wanted = [delivery.c.endpoint_id == endpoint_id]
    if state is not None:
        wanted.append(delivery.c.state == state)
    if before is not None:
        wanted.append(delivery.c.id < before)
    page = _with_message().where(*wanted).order_by(delivery.c.id.desc()).limit(limit)
    rows: Sequence[Row[Any]] = (await tx.execute(page)).all()
    return rows


async def get(tx: Tx, endpoint_id: str, message_id: str) -> Row[Any] | None:
    """One delivery with its message's text."""
    wanted = _with_message().where(delivery.c.endpoint_id == endpoint_id, delivery.c.message_id == message_id)
    return (await tx.execute(wanted.add_columns(outbox.c.body))).one_or_none()


async def depth(tx: Tx) -> tuple[dict[str, int], timedelta]:
    """How many are pending for endpoints that are enabled and how many given up; how long the oldest has waited."""
    waited = func.coalesce(func.extract("epoch", func.now() - func.min(delivery.c.queued_at)), 0)
    pending, oldest = (
        await tx.execute(
            select(func.count(), waited)
            .select_from(delivery)
            .join(notification_endpoint, notification_endpoint.c.id == delivery.c.endpoint_id)
            .where(delivery.c.next_attempt_at.is_not(None), notification_endpoint.c.disabled_at.is_(None))
        )
    ).one()
    given_up = await tx.scalar(select(func.count()).select_from(delivery).where(delivery.c.state == "given_up"))
    return dict(zip(KEPT, (pending, given_up or 0), strict=True)), timedelta(seconds=float(oldest))


async def endpoints(tx: Tx) -> dict[str, int]:
    """How many endpoints there are in each state."""
    disabled, failing = notification_endpoint.c.disabled_at.is_not(None), notification_endpoint.c.failing_since
    state = case((disabled, "disabled"), (failing.is_not(None), "failing"), else_="enabled")
    rows = await tx.execute(select(state, func.count()).group_by(state))
    return dict.fromkeys(ENDPOINTS, 0) | {row[0]: row[1] for row in rows}


async def prune(tx: Tx, *, keep_delivered: timedelta, keep_given_up: timedelta) -> None:
    """Forgets what was settled longer ago than that."""
    for state, keep in (("delivered", keep_delivered), ("given_up", keep_given_up)):
        old = delivery.c.settled_at < func.now() - keep
        await tx.execute(delete(delivery).where(delivery.c.state == state, old))


def _with_message() -> Select[Any]:
    shown = [column for column in delivery.c if column.name not in ("lease", "lease_until")]
    return select(*shown, outbox.c.type).join(outbox, outbox.c.id == delivery.c.message_id)


def _is_change() -> ColumnElement[bool]:
    return outbox.c.type == CUSTOMER_CHANGED


async def _queue(tx: Tx, endpoint_id: str, wanted: ColumnElement[bool]) -> int:
    """Makes the wanted messages of the endpoint's project pending for it."""
    names = ["project_id", "endpoint_id", "message_id", "customer_id", "version"]
    found = (
        select(outbox.c.project_id, notification_endpoint.c.id, outbox.c.id, outbox.c.customer_id, outbox.c.version)
        .join(notification_endpoint, notification_endpoint.c.project_id == outbox.c.project_id)
        .where(notification_endpoint.c.id == endpoint_id, wanted)
    )
    again = {"state": "pending", "attempts": 0, "next_attempt_at": func.now(), "settled_at": None}
    queued = await tx.execute(
        insert(delivery)
        .from_select(names, found)
        .on_conflict_do_update(
            index_elements=[delivery.c.endpoint_id, delivery.c.message_id], set_={**again, "queued_at": func.now()}
        ),
        execution_options={"preserve_rowcount": True},
    )
    if queued.rowcount:
        await wake(tx)
    return queued.rowcount


def _settled(state: str) -> dict[str, Any]:
    ended = {"next_attempt_at": None, "lease": None, "lease_until": None}
    return {"state": state, "settled_at": func.clock_timestamp(), **ended}


def _mine(held: Claim) -> Any:
    """The claimed delivery, unless another worker has taken it over since."""
    return update(delivery).where(delivery.c.id == held.id, delivery.c.lease == held.lease)


async def _let_followers_go(tx: Tx, done: Claim) -> None:
    now = func.clock_timestamp()
    await _put_off_followers(tx, done, now, delivery.c.next_attempt_at > now)


async def _put_off_followers(tx: Tx, of: Claim, to: ColumnElement[Any], *which: ColumnElement[bool]) -> None:
    """When to look at the later versions of the same customer: not before they can be sent."""
    if of.version is None:
        return
    await tx.execute(
        update(delivery)
        .where(
            delivery.c.endpoint_id == of.endpoint_id,
            delivery.c.customer_id == of.customer_id,
            delivery.c.version > of.version,
            delivery.c.next_attempt_at.is_not(None),
            *which,
        )
        .values(next_attempt_at=to)
    )
