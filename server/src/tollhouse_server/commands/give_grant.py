"""Gives a customer access that nobody paid for."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from .. import audit
from ..catalogs import Project, current_catalog
from ..db.engine import Tx
from ..db.tables import customer, grant
from ..domain.catalog import UNLIMITED, Catalog, Kind, Value
from ..domain.catalog_file import LARGEST_LIMIT
from ..domain.errors import Problem
from ..domain.merging import fits
from ..refresh import Refresh


class GrantInvalid(Problem):
    """The grant cannot be given like this; each entry of `errors` says what to change."""

    status = 422
    code = "grant-invalid"


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """Exactly one of `feature` (with `value` where it is a limit) and `product`; `ends_at=None` is for good."""

    user_id: str
    reason: str
    feature: str | None = None
    value: Value | None = None
    product: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


async def give_grant(
    tx: Tx, refresh: Refresh, owner: Project, wanted: GrantRequest, why: audit.Cause, *, at: datetime
) -> str:
    """Stores the grant and refreshes the customer, made if need be; returns its id (`gr_…`). Raises GrantInvalid."""
    value = _check(await current_catalog(tx, owner), wanted, at)
    customer_id = await ensure_customer(tx, owner, wanted.user_id)
    stored = {
        "id": f"gr_{secrets.token_hex(12)}",
        "feature": wanted.feature,
        "value": value,
        "product": wanted.product,
        "starts_at": wanted.starts_at or at,
        "ends_at": wanted.ends_at,
        "reason": wanted.reason,
        "operator": why.actor,
    }
    await tx.execute(insert(grant).values(project_id=owner.id, customer_id=customer_id, created_at=at, **stored))
    after = told(stored)
    await audit.record(tx, "grant.given", why, at=at, project_id=owner.id, customer_id=customer_id, after=after)
    await refresh(tx, customer_id, why, at=at)
    return str(stored["id"])


TOLD = ("id", "feature", "value", "product", "starts_at", "ends_at", "reason", "operator")


def told(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit trail is told of a grant."""
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in given.items()}


async def ensure_customer(tx: Tx, owner: Project, user_id: str) -> uuid.UUID:
    """Our customer for the app's user, made once however many ask at the same time."""
    await tx.execute(
        upsert(customer).values(id=uuid.uuid4(), project_id=owner.id, user_id=user_id).on_conflict_do_nothing()
    )
    found: uuid.UUID = (
        await tx.execute(select(customer.c.id).where(customer.c.project_id == owner.id, customer.c.user_id == user_id))
    ).scalar_one()
    return found


def _check(catalog: Catalog, wanted: GrantRequest, at: datetime) -> Value | None:
    """The value to store: a switch's is True without saying."""
    errors = []
    if (wanted.feature is None) == (wanted.product is None):
        errors.append({"pointer": "/feature", "detail": "Say either feature or product, not both."})
    if wanted.product is not None and wanted.product not in catalog.products:
        known = ", ".join(sorted(catalog.products)) or "none"
        errors.append({"pointer": "/product", "detail": f"No such product in the catalog; there are: {known}."})
    if wanted.product is not None and wanted.value is not None:
        errors.append({"pointer": "/value", "detail": "Leave it out: the product says what it opens."})
    if wanted.ends_at is not None and wanted.ends_at <= max(at, wanted.starts_at or at):
        errors.append(
            {"pointer": "/ends_at", "detail": "It must be later than now and than starts_at, or it would open nothing."}
        )
    feature = catalog.features.get(wanted.feature) if wanted.feature is not None else None
    value: Value | None = None
    if wanted.feature is not None and feature is None:
        known = ", ".join(sorted(catalog.features)) or "none"
        errors.append({"pointer": "/feature", "detail": f"No such feature in the catalog; there are: {known}."})
    elif feature is not None:
        value = True if feature.kind is Kind.SWITCH and wanted.value is None else wanted.value
        if not value or not fits(feature, value) or (isinstance(value, int) and value > LARGEST_LIMIT):
            said = "true" if feature.kind is Kind.SWITCH else f'a whole number from 1 to 2^53 - 1, or "{UNLIMITED}"'
            errors.append({"pointer": "/value", "detail": f"{feature.code} is a {feature.kind}: its value is {said}."})
    if errors:
        raise GrantInvalid("The grant cannot be given like this.", errors=errors)
    return value
