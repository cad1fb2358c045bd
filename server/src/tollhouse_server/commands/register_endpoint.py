"""Registers, changes and removes the endpoints at which an app hears of changes."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from .. import audit
from ..catalogs import Project
from ..db.engine import Tx
from ..db.tables import delivery, notification_endpoint
from ..domain.destinations import Destination, NotADestination, destination
from ..domain.errors import Problem, UrlNotAllowed
from ..notifications.post import Post
from ..notifications.signing import Signer

MOST = 10
"""Endpoints of one project."""
_REGISTERING = 7_263_005
"""The class of the advisory locks under which endpoints are counted."""


class TooManyEndpoints(Problem):
    """The project has as many notification endpoints as it may have.

    Delete one, or let one endpoint hand messages on.
    """

    status = 409
    code = "too-many-endpoints"


class EndpointNotFound(Problem):
    """The project has no notification endpoint of this id."""

    status = 404
    code = "endpoint-not-found"


async def check_url(post: Post, url: str) -> None:
    """Raises UrlNotAllowed. It resolves the host's name, so call it with no transaction open."""
    try:
        to = destination(url, allow_private=post.allow_private)
    except NotADestination as error:
        raise _not_allowed(str(error)) from None
    if not await post.reaches(to):
        # One sentence, whatever the name resolved to: the answer is no map of our network.
        raise _not_allowed("The host must have a public address, and no other.")


async def register_endpoint(
    tx: Tx, signer: Signer, owner: Project, url: str, description: str, why: audit.Cause, *, at: datetime
) -> str:
    """Adds an endpoint, whose URL was checked, and answers with its id. Raises SecretKeyMissing, TooManyEndpoints."""
    endpoint_id = f"ne_{secrets.token_hex(12)}"
    signer.secret(endpoint_id, 1)  # raises where none could be made
    # Or two requests would both be the tenth; a project's call may not lock the project itself.
    await tx.execute(select(func.pg_advisory_xact_lock(_REGISTERING, func.hashtext(str(owner.id)))))
    has = await tx.scalar(select(func.count()).where(notification_endpoint.c.project_id == owner.id))
    if (has or 0) >= MOST:
        raise TooManyEndpoints(f"The project has {has} endpoints already: delete one first.")
    values = {"id": endpoint_id, "url": url, "description": description}
    await tx.execute(insert(notification_endpoint).values(project_id=owner.id, **values))
    said = {"id": endpoint_id, "origin": origin(url), "description": description}
    await audit.record(tx, "notification_endpoint.registered", why, at=at, project_id=owner.id, after=said)
    return endpoint_id


async def change_endpoint(
    tx: Tx, owner: Project, endpoint_id: str, values: dict[str, str], why: audit.Cause, *, at: datetime
) -> None:
    """Changes its `url`, which was checked, or `description`. Raises EndpointNotFound."""
    before = await find_endpoint(tx, owner, endpoint_id, lock=True)
    if not values:
        return
    await tx.execute(_the(owner, endpoint_id).values(**values))
    # A URL may hold a token, so that the audit trail keeps where it leads and no more.
    changed = {"id": endpoint_id, "description": before.description, "url": before.url, **values}
    await audit.record(
        tx,
        "notification_endpoint.changed",
        why,
        at=at,
        project_id=owner.id,
        before={"id": endpoint_id, "origin": origin(before.url), "description": before.description},
        after={"id": endpoint_id, "origin": origin(changed["url"]), "description": changed["description"]},
    )


async def remove_endpoint(tx: Tx, owner: Project, endpoint_id: str, why: audit.Cause, *, at: datetime) -> None:
    """Deletes it with its deliveries; what is pending is not sent. Raises EndpointNotFound."""
    before = await find_endpoint(tx, owner, endpoint_id, lock=True)
    await tx.execute(delete(notification_endpoint).where(notification_endpoint.c.id == endpoint_id))
    said = {"id": endpoint_id, "origin": origin(before.url), "description": before.description}
    await audit.record(tx, "notification_endpoint.removed", why, at=at, project_id=owner.id, before=said)


async def rotate_secret(
    tx: Tx, signer: Signer, owner: Project, endpoint_id: str, overlap: timedelta, why: audit.Cause, *, at: datetime
) -> None:
    """Gives it the next secret; for `overlap` messages are signed with the one before, too.

    Raises EndpointNotFound, SecretKeyMissing.
    """
    endpoint = await find_endpoint(tx, owner, endpoint_id, lock=True)
    signer.secret(endpoint_id, endpoint.generation + 1)
    await tx.execute(
        _the(owner, endpoint_id).values(
            generation=endpoint.generation + 1, previous_until=func.clock_timestamp() + overlap
        )
    )
    said = {"id": endpoint_id, "overlap_hours": overlap / timedelta(hours=1)}
    await audit.record(tx, "notification_endpoint.secret_rotated", why, at=at, project_id=owner.id, after=said)


async def enable_endpoint(tx: Tx, owner: Project, endpoint_id: str, why: audit.Cause, *, at: datetime) -> None:
    """Sends to it again, from the next message on. Raises EndpointNotFound."""
    before = await find_endpoint(tx, owner, endpoint_id, lock=True)
    if before.disabled_at is None:
        return
    await tx.execute(
        _the(owner, endpoint_id).values(
            disabled_at=None, disabled_because=None, failures=0, first_failed_at=None, failing_since=None
        )
    )
    said = {"id": endpoint_id, "reason": before.disabled_because}
    await audit.record(tx, "notification_endpoint.enabled", why, at=at, project_id=owner.id, before=said)


async def find_endpoint(tx: Tx, owner: Project, endpoint_id: str, *, lock: bool = False) -> Row[Any]:
    """Raises EndpointNotFound, also for one of another project."""
    query = select(notification_endpoint).where(
        notification_endpoint.c.project_id == owner.id, notification_endpoint.c.id == endpoint_id
    )
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    if row is None:
        raise EndpointNotFound("The project has no notification endpoint of this id.")
    return row


async def endpoints_of(tx: Tx, owner: Project) -> Sequence[Row[Any]]:
    """The project's endpoints, oldest first."""
    query = select(notification_endpoint).where(notification_endpoint.c.project_id == owner.id)
    return (await tx.execute(query.order_by(notification_endpoint.c.created_at, notification_endpoint.c.id))).all()


async def counts(tx: Tx, owner: Project) -> dict[tuple[str, str], int]:
    """How many deliveries of each endpoint are in each state other than delivered."""
    rows = await tx.execute(
        select(delivery.c.endpoint_id, delivery.c.state, func.count())
        .where(delivery.c.project_id == owner.id, delivery.c.state != "delivered")
        .group_by(delivery.c.endpoint_id, delivery.c.state)
    )
    return {(endpoint_id, state): count for endpoint_id, state, count in rows}


def origin(url: str) -> str:
    """Where a URL leads, without its path and query."""
    to: Destination = destination(url, allow_private=True)
    return f"{to.scheme}://{to.host}:{to.port}"


def _the(owner: Project, endpoint_id: str) -> Any:
    return update(notification_endpoint).where(
        notification_endpoint.c.project_id == owner.id, notification_endpoint.c.id == endpoint_id
    )


def _not_allowed(detail: str) -> UrlNotAllowed:
    return UrlNotAllowed(
        f"Notifications cannot be sent there. {detail}", errors=[{"pointer": "/url", "detail": detail}]
    )
