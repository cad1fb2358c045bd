"""The only way an entitlement changes: lock the customer, gather, compute, store, tell what changed."""

import uuid
from datetime import datetime

from sqlalchemy import select, update

from . import audit, bundles, logs, outbox, recurring, snapshot
from .catalogs import as_told, current_catalog, project_by_id
from .db.engine import Change, Tx, after_commit, announce
from .db.tables import customer
from .domain.bundles import brought, projects_brought
from .domain.changes import diff
from .domain.entitlements import compute, dump
from .snapshot import Snapshot
from .state import customer_state
from .telemetry import REFRESHES

_BY_ITSELF = ("stripe", "timetable", "app", "reconcile")
"""Who else than an operator makes entitlements change; of operators the metric tells no names."""


class Refresh:
    """Computes a customer's entitlements anew, in the caller's transaction."""

    async def __call__(self, tx: Tx, customer_id: uuid.UUID, why: audit.Cause, *, at: datetime) -> Snapshot:
        """What the customer may do now. A change gets the next version, an audit entry and a message to the app.

        So does what it brings, through bundles, the user of the same id in other projects. All in this transaction.
        """
        logs.bind(customer_id=str(customer_id))
        after, waiting = await self._one(tx, customer_id, why, at)
        while waiting:
            there = await bundles.next_of(tx, {one.project for one in waiting})
            here = [one for one in waiting if one.project == there]
            by = ", ".join(sorted({one.by for one in here}))
            [brought_to] = {await bundles.write(tx, one) for one in here}
            cause = audit.Cause(why.actor, f"{why.cause}: bundled by {by}")
            _, further = await self._one(tx, brought_to, cause, at)
            waiting = [one for one in waiting if one.project != there] + further
        return after

    async def _one(
        self, tx: Tx, customer_id: uuid.UUID, why: audit.Cause, at: datetime
    ) -> tuple[Snapshot, list[bundles.Brought]]:
        owner = (
            await tx.execute(select(customer).where(customer.c.id == customer_id).with_for_update(key_share=True))
        ).one()
        project = await project_by_id(tx, owner.project_id)
        catalog = await current_catalog(tx, project)
        before = await snapshot.read(tx, owner.project_id, owner.user_id)
        evidence = await snapshot.gather(tx, customer_id, owner.project_id)
        entitlements = compute(catalog, evidence, catalog.policy, at)
        # Against what was told when it was told: then what time alone opened or closed since is a change too.
        told = as_told(catalog, before.version, before.entitlements)
        changes = diff(told, entitlements, at, since=before.computed_at)
        after = Snapshot(owner.version + bool(changes), catalog.version, entitlements, at)
        await snapshot.write(tx, owner, after, at)
        await recurring.write(tx, owner, evidence.subscriptions, catalog, at)
        if changes:
            await tx.execute(update(customer).where(customer.c.id == customer_id).values(version=after.version))
            announce(tx, Change(owner.project_id, owner.user_id, after.version))
            await audit.record(
                tx,
                "entitlements.changed",
                why,
                at=at,
                project_id=owner.project_id,
                customer_id=customer_id,
                before=dump(told),
                after=dump(entitlements),
            )
            state = customer_state(owner.user_id, after.version, catalog, entitlements, evidence, at)
            await outbox.record(tx, owner, project, changes, state, at)

        async def tell() -> None:
            actor = why.actor if why.actor in _BY_ITSELF else "operator"
            REFRESHES.labels(actor, "changed" if changes else "unchanged").inc()

        after_commit(tx, tell)
        # Only a catalog that bundles brings anything, and only a publish can have taken that away.
        if before.catalog_version == catalog.version and not projects_brought(catalog):
            return after, []
        return after, await bundles.changes(tx, owner, project.slug, brought(catalog, evidence))
