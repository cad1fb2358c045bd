"""What the service does at Stripe by itself: found with a read, in its transaction; carried out later; kept for ever.

reported                     a person decides; `retry` makes it pending
pending ──► done             carried out, or there was nothing left to do
   └──────► given-up         Stripe refused, or the last try failed; open to `retry`
"""

import random
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from . import audit, snapshot
from .audit import Cause
from .catalogs import current_catalog, project_by_id
from .db.engine import Tx, after_commit
from .db.tables import correction, customer, project, subscription
from .domain.catalog import Catalog, OnDouble, OnTrialAgain
from .domain.doubles import doubles, may_be_cancelled, plans_of, policy_of
from .domain.evidence import Correction, Evidence, SubscriptionStatus
from .domain.facts import CustomerFacts
from .domain.owning import OVER
from .domain.time import day
from .domain.trials import UsedBy, known_by, trial_again
from .logs import redacted
from .projection import Owner
from .telemetry import CORRECTIONS
from .trial_memory import TrialMemory

BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_LONGEST = timedelta(hours=4)
ERROR_LENGTH = 2_000
STATES = ("reported", "pending", "done", "given-up")
SETTLING = timedelta(hours=1)
"""How long after it began a trial may be found to be a second one: Stripe may name its card a moment late."""

_ACTION = {OnTrialAgain.CANCEL: "cancel", OnTrialAgain.END_TRIAL: "end-trial"}
_KNOWN_BY = {
    UsedBy.USER: "the same user",
    UsedBy.EMAIL: "a customer with the same e-mail address",
    UsedBy.CARD: "a customer with the same card",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Something to be corrected. `acts` False: a person decides."""

    kind: Correction
    action: str
    subscription: str
    beside: str
    reason: str
    acts: bool = True


async def find(tx: Tx, memory: TrialMemory, owner: Owner, facts: CustomerFacts, why: Cause, at: datetime) -> None:
    """Remembers the customer's trials and queues what is to be corrected, each once however often it is found.

    In the transaction that wrote what was read, which has locked the customer's row.
    """
    live = [one for one in facts.subscriptions if one.status not in OVER]
    if len(live) < 2 and not any(one.status is SubscriptionStatus.TRIALING for one in live):
        return
    catalog = await current_catalog(tx, await project_by_id(tx, owner.project_id))
    evidence = await snapshot.gather(tx, owner.customer_id, owner.project_id)
    twice = [*_doubles(catalog, evidence, owner.new, at)]
    again = [one async for one in _trials(tx, memory, catalog, evidence, owner, facts, at)]
    ended = {one.subscription for one in twice if one.acts}
    for one in (*twice, *(one for one in again if one.subscription not in ended)):
        await _queue(tx, owner, one, why, at)


def _doubles(catalog: Catalog, evidence: Evidence, new: frozenset[str], at: datetime) -> Iterator[Found]:
    for one in doubles(catalog, evidence, new):
        wanted = policy_of(catalog, one.newer, one.plan).on_double
        acts = wanted is OnDouble.CANCEL_NEWER and may_be_cancelled(catalog, one, new, at)
        newer, older = one.newer, one.older
        reason = (
            f"{newer.id}, begun on {day(newer.started_at)}, is a second subscription of {one.plan} beside {older.id}, "
            f"begun on {day(older.started_at)}."
        )
        yield Found(Correction.DOUBLE, "cancel-and-refund", newer.id, older.id, reason, acts)


async def _trials(
    tx: Tx,
    memory: TrialMemory,
    catalog: Catalog,
    evidence: Evidence,
    owner: Owner,
    facts: CustomerFacts,
    at: datetime,
) -> AsyncIterator[Found]:
    """Second trials among those that a checkout of ours began: one that was made by hand is somebody's decision."""
    cards = dict(facts.cards)
    trials = [one for one in evidence.subscriptions if one.status is SubscriptionStatus.TRIALING]
    for one in sorted(trials, key=lambda one: (one.started_at, one.id)):
        known = known_by(owner.user_id, facts.email, cards.get(one.id))
        fresh = one.id in owner.new or at < one.started_at + SETTLING
        for plan in sorted(filter(None, plans_of(catalog, one))):
            uses = await memory.remember(tx, owner.project_id, plan, known, one.id, one.started_at)
            by = trial_again(one.id, one.started_at, uses)
            action = _ACTION.get(policy_of(catalog, one, plan).on_trial_again)
            if by is not None and action is not None and fresh and one.id in facts.checked_out:
                first = next(use for use in uses if use.by is by)
                reason = (
                    f"{one.id} is a second trial of {plan}: {_KNOWN_BY[by]} began {first.subscription} on "
                    f"{day(first.at)}."
                )
                yield Found(Correction.TRIAL_AGAIN, action, one.id, first.subscription, reason)


async def _queue(tx: Tx, owner: Owner, found: Found, why: Cause, at: datetime) -> None:
    queued = await tx.scalar(
        insert(correction)
        .values(
            id=f"cor_{secrets.token_hex(12)}",
            project_id=owner.project_id,
            customer_id=owner.customer_id,
            kind=found.kind,
            action=found.action,
            subscription_id=found.subscription,
            beside=found.beside,
            reason=found.reason,
            state="pending" if found.acts else "reported",
            next_attempt_at=func.now() if found.acts else None,
            found_at=at,
        )
        .on_conflict_do_nothing(index_elements=[correction.c.subscription_id, correction.c.kind])
        .returning(correction.c.id)
    )
    if queued is not None:
        await _audit(tx, "correction.found", queued, found, owner, why, at)
        _count(tx, found.kind, "found")


@dataclass(frozen=True, slots=True)
class Claim:
    """One correction, under a lease."""

    id: str
    lease: uuid.UUID
    project_id: uuid.UUID
    customer_id: uuid.UUID
    kind: Correction
    action: str
    subscription: str
    beside: str
    reason: str
    attempts: int
    """Before this one."""
    retries: int
    """How often an operator had it tried again."""


async def claim(tx: Tx, *, lease: timedelta) -> Claim | None:
    """The one that has waited longest, for `lease`; None where none is due. Until then it is due to nobody else."""
    due = (
        select(correction.c.id)
        .where(correction.c.next_attempt_at <= func.clock_timestamp())
        .order_by(correction.c.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    held = {"lease": uuid.uuid4(), "next_attempt_at": func.clock_timestamp() + lease}
    taken = await tx.execute(update(correction).where(correction.c.id == due).values(held).returning(correction))
    row = taken.one_or_none()
    if row is None:
        return None
    return Claim(
        id=row.id,
        lease=row.lease,
        project_id=row.project_id,
        customer_id=row.customer_id,
        kind=Correction(row.kind),
        action=row.action,
        subscription=row.subscription_id,
        beside=row.beside,
        reason=row.reason,
        attempts=row.attempts,
        retries=row.retries,
    )


async def settle(tx: Tx, done: Claim, outcome: dict[str, Any], at: datetime) -> None:
    """Marks it as done, with what was done at Stripe; nothing where another worker has taken it over."""
    if await _end(tx, done, state="done", outcome=outcome, settled_at=at, next_attempt_at=None, error=None):
        await _audit(tx, "correction.done", done.id, done, done, _by_itself(done), at, outcome=outcome)
        _count(tx, done.kind, "done")


async def give_up(tx: Tx, failed: Claim, error: BaseException, at: datetime) -> None:
    """Gives it up, visibly: it stays until an operator retries it."""
    ended = await _end(tx, failed, state="given-up", settled_at=at, next_attempt_at=None, error=_text(error))
    if ended:
        await _audit(tx, "correction.given_up", failed.id, failed, failed, _by_itself(failed), at)
        _count(tx, failed.kind, "given-up")


async def defer(tx: Tx, failed: Claim, error: BaseException) -> None:
    """Keeps the error and tries again later: at about 2 s, 4 s, 8 s … 4 h, spread by half."""
    wait = min(BACKOFF_FIRST * 2 ** min(failed.attempts, 20), BACKOFF_LONGEST) * random.uniform(0.5, 1)  # noqa: S311
    if await _end(tx, failed, next_attempt_at=func.now() + wait, error=_text(error)):
        _count(tx, failed.kind, "deferred")


async def retry(tx: Tx, correction_id: str, why: Cause, at: datetime) -> bool:
    """Makes one that was given up, or only reported, pending; False where there is none such."""
    row = (
        await tx.execute(
            select(correction)
            .where(correction.c.id == correction_id, correction.c.state.in_(("reported", "given-up")))
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        return False
    pending = {"state": "pending", "attempts": 0, "retries": row.retries + 1, "settled_at": None}
    await tx.execute(
        update(correction).where(correction.c.id == correction_id).values(**pending, next_attempt_at=func.now())
    )
    whose = {"project_id": row.project_id, "customer_id": row.customer_id}
    before, after = ({"id": row.id, "state": state} for state in (row.state, "pending"))
    await audit.record(tx, "correction.retried", why, at=at, before=before, after=after, **whose)
    return True


async def listing(
    tx: Tx,
    *,
    state: str | None = None,
    slug: str | None = None,
    correction_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Row[Any]]:
    """Corrections, the newest first, each with `project`, `user_id` and the subscription's `status` as last read.

    `before` is the id at which the page before ended.
    """
    wanted = ((correction.c.state, state), (project.c.slug, slug), (correction.c.id, correction_id))
    conditions = [column == value for column, value in wanted if value is not None]
    if before is not None:
        ended = select(correction.c.found_at, correction.c.id).where(correction.c.id == before)
        conditions.append(tuple_(correction.c.found_at, correction.c.id) < ended.scalar_subquery())
    query = (
        select(correction, project.c.slug.label("project"), customer.c.user_id, subscription.c.status)
        .join(project, project.c.id == correction.c.project_id)
        .join(customer, customer.c.id == correction.c.customer_id)
        .join(subscription, subscription.c.id == correction.c.subscription_id)
        .where(and_(True, *conditions))
        .order_by(correction.c.found_at.desc(), correction.c.id.desc())
        .limit(limit)
    )
    return (await tx.execute(query)).all()


async def kept(tx: Tx) -> dict[str, int]:
    """How many are in each state that is not done."""
    rows = await tx.execute(
        select(correction.c.state, func.count()).where(correction.c.state != "done").group_by(correction.c.state)
    )
    counted = {state: count for state, count in rows}  # noqa: C416 - a Row is no tuple
    return {state: counted.get(state, 0) for state in STATES if state != "done"}


async def _end(tx: Tx, held: Claim, **values: Any) -> bool:
    """Ends the claim with these values; False where no longer ours: another worker's lease, or an operator's retry."""
    ended = await tx.execute(
        update(correction)
        .where(correction.c.id == held.id, correction.c.lease == held.lease)
        .values(lease=None, attempts=correction.c.attempts + 1, **values)
    )
    return bool(ended.rowcount)


async def _audit(
    tx: Tx,
    action: str,
    correction_id: str,
    one: Found | Claim,
    whose: Owner | Claim,
    why: Cause,
    at: datetime,
    **more: Any,
) -> None:
    said = {
        "id": correction_id,
        "kind": one.kind,
        "action": one.action,
        "subscription": one.subscription,
        "beside": one.beside,
        **more,
    }
    ours = {"project_id": whose.project_id, "customer_id": whose.customer_id}
    await audit.record(tx, action, Cause(why.actor, why.cause, one.reason), at=at, after=said, **ours)


def _by_itself(one: Claim) -> Cause:
    return Cause("timetable", f"correction {one.id}")


def _count(tx: Tx, kind: Correction, outcome: str) -> None:
    async def tell() -> None:
        CORRECTIONS.labels(kind, outcome).inc()

    after_commit(tx, tell)


def _text(error: BaseException) -> str:
    return redacted(f"{type(error).__name__}: {error}".replace("\x00", ""))[:ERROR_LENGTH]
