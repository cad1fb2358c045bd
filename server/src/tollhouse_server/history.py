"""One customer's past: what was served at an instant, which events last told of a source, and the whole dated story."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, exists, func, select, text

from .db.engine import Tx
from .db.tables import audit, customer
from .domain.catalog import Feature
from .domain.entitlements import Answer, answer, load
from .domain.explain import Explanation

CHANGES_OF_A_SOURCE = 5


@dataclass(frozen=True, slots=True)
class Served:
    """What was answered at an instant in the past, by the change that was the last one then."""

    answer: Answer
    version: int | None
    """None where a restore since then gave the versions another beginning."""
    changed_at: datetime
    audit_id: int
    actor: str
    cause: str
    """Stripe's event ids, where Stripe was the actor."""


async def served(tx: Tx, project_id: uuid.UUID, user_id: str, feature: Feature, at: datetime) -> Served | None:
    """What the audit trail says was in force at `at`; None where nothing of the user's had changed until then."""
    mine = and_(customer.c.project_id == project_id, customer.c.user_id == user_id)
    whose = audit.join(customer, customer.c.id == audit.c.customer_id)
    changed = audit.c.action == "entitlements.changed"
    last = (
        select(audit, customer.c.version.label("version"))
        .select_from(whose)
        .where(mine, changed, audit.c.at <= at)
        .order_by(audit.c.id.desc())
        .limit(1)
    )
    row = (await tx.execute(last)).one_or_none()
    if row is None:
        return None
    later = await tx.scalar(select(func.count()).select_from(whose).where(mine, changed, audit.c.id > row.id)) or 0
    restored = await tx.scalar(select(exists().where(audit.c.action == "database.restored", audit.c.id > row.id)))
    verdict = answer(load(row.after), feature, at)
    version = None if restored else row.version - later
    return Served(verdict, version, row.at, row.id, row.actor, row.cause)


async def events_about(tx: Tx, project_id: uuid.UUID, user_id: str, explained: Explanation) -> dict[str, list[str]]:
    """By source: Stripe's events (`evt_…`) that last changed what it gives, newest first, as the audit trail has it."""
    mine = and_(customer.c.project_id == project_id, customer.c.user_id == user_id)
    found: dict[str, list[str]] = {}
    for source_id in (source.id for source in explained.sources if source.stripe_ids):
        names = func.strpos(func.concat(audit.c.before, audit.c.after), f'"{source_id}"') > 0
        causes = (
            select(audit.c.cause)
            .select_from(audit.join(customer, customer.c.id == audit.c.customer_id))
            .where(mine, audit.c.action == "entitlements.changed", audit.c.actor == "stripe", names)
            .order_by(audit.c.id.desc())
            .limit(CHANGES_OF_A_SOURCE)
        )
        found[source_id] = [event for cause in await tx.scalars(causes) for event in cause.split(", ")]
    return found


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of a customer's story."""

    at: datetime
    kind: str
    """`change` (of the audit trail), `checkout`, `money`, `event` (Stripe's) or `notification`."""
    id: str
    """Of the audit entry, the checkout, Stripe's charge, refund or dispute, Stripe's event, or the message."""
    what: str
    said: dict[str, Any]

    @property
    def cursor(self) -> str:
        """Where the page after this entry begins."""
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}:{self.kind}:{self.id}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CURSOR = r"^[0-9]{1,17}:[a-z]{1,20}:[!-~]{1,255}$"

_STORY = text(
    """
SELECT at, kind, id, what, said FROM (
  SELECT at, 'change' AS kind, id::text AS id, action AS what, jsonb_build_object('actor', actor, 'cause', cause,
         'reason', reason, 'before', before, 'after', after) AS said
  FROM audit WHERE customer_id = :customer
UNION ALL
  SELECT created_at, 'checkout', id, 'checkout.opened', jsonb_build_object('price', lookup_key, 'state', state,
         'payment_status', payment_status, 'stripe_session', stripe_session_id)
  FROM checkout WHERE customer_id = :customer
UNION ALL
  SELECT at, 'money', id, 'money.' || kind, jsonb_build_object('amount', amount, 'currency', currency)
  FROM money_fact WHERE customer_id = :customer
UNION ALL
  SELECT occurred_at, 'event', event_id, type, jsonb_build_object('state', state, 'outcome', outcome, 'error', error)
  FROM inbox WHERE subject = :stripe_customer AND claimed_at IS NOT NULL
UNION ALL
  SELECT created_at, 'notification', id, type, jsonb_build_object('version', version, 'deliveries', (
           SELECT coalesce(jsonb_agg(jsonb_build_object('endpoint', endpoint_id, 'state', delivery.state,
                  'attempts', attempts, 'settled_at', settled_at)), '[]')
           FROM delivery WHERE message_id = outbox.id))
  FROM outbox WHERE customer_id = :customer
) happened
WHERE CAST(:at AS timestamptz) IS NULL OR (at, kind, id) < (:at, :kind, :id)
ORDER BY at DESC, kind DESC, id DESC LIMIT :limit
"""
)


async def story(
    tx: Tx, project_id: uuid.UUID, user_id: str, *, cursor: str | None = None, limit: int
) -> list[Happening]:
    """What happened to the user, newest first; nothing for one who never became a customer.

    `cursor` is where the page before ended. For a transaction of no project.
    """
    mine = and_(customer.c.project_id == project_id, customer.c.user_id == user_id)
    known = (await tx.execute(select(customer.c.id, customer.c.stripe_customer_id).where(mine))).one_or_none()
    if known is None:
        return []
    at, kind, id_ = None, None, None
    if cursor is not None:
        microseconds, kind, id_ = cursor.split(":", 2)
        at = _EPOCH + timedelta(microseconds=int(microseconds))
    given = {"customer": known.id, "stripe_customer": known.stripe_customer_id, "limit": limit}
    rows = await tx.execute(_STORY, {**given, "at": at, "kind": kind, "id": id_})
    return [
        Happening(row.at, row.kind, row.id, row.what, json.loads(row.said) if isinstance(row.said, str) else row.said)
        for row in rows
    ]
