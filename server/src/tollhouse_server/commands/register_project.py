"""Registers a micro-app."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from .. import audit
from ..catalogs import Project, announce_project, project_by_slug
from ..db.engine import Tx
from ..db.tables import project
from ..domain.catalog import CODE
from ..domain.errors import Problem
from ..domain.origins import origin_of


class ProjectExists(Problem):
    """A project of this slug is registered already.

    Choose another slug, or publish a catalog to the one there is.
    """

    status = 409
    code = "project-exists"


class ProjectInvalid(Problem):
    """The project cannot be registered like this; each entry of `errors` says what to change."""

    status = 422
    code = "project-invalid"


async def register_project(
    tx: Tx, slug: str, name: str, redirect_origins: Sequence[str], why: audit.Cause, *, at: datetime
) -> Project:
    """Adds the project. Raises ProjectExists, ProjectInvalid."""
    _check(slug, redirect_origins)
    values = {"slug": slug, "name": name, "redirect_origins": list(redirect_origins)}
    made = await tx.scalar(
        insert(project).values(id=uuid.uuid4(), **values).on_conflict_do_nothing().returning(project.c.id)
    )
    if made is None:
        raise ProjectExists(f"There is a project {slug!r} already: choose another slug, or publish a catalog to it.")
    await audit.record(tx, "project.registered", why, at=at, project_id=made, after=values)
    registered = await project_by_slug(tx, slug)
    assert registered is not None
    return registered


async def describe_project(
    tx: Tx, owner: Project, name: str, redirect_origins: Sequence[str], why: audit.Cause, *, at: datetime
) -> bool:
    """Changes the project's name and where its pages may send people; False where nothing differs."""
    _check(owner.slug, redirect_origins)
    values = {"name": name, "redirect_origins": list(redirect_origins)}
    found = select(project.c.name, project.c.redirect_origins).where(project.c.id == owner.id)
    before = dict((await tx.execute(found.with_for_update(key_share=True))).one()._mapping)
    if before == values:
        return False
    await tx.execute(update(project).where(project.c.id == owner.id).values(**values))
    await announce_project(tx, owner.id)
    await audit.record(tx, "project.described", why, at=at, project_id=owner.id, before=before, after=values)
    return True


def _check(slug: str, redirect_origins: Sequence[str]) -> None:
    errors = []
    if not CODE.fullmatch(slug):
        errors.append({"pointer": "/slug", "detail": "Use lower-case letters, digits, '-' and '_', at most 63."})
    for n, origin in enumerate(redirect_origins):
        if origin_of(origin) != origin:
            errors.append(
                {
                    "pointer": f"/redirect_origins/{n}",
                    "detail": "Write an origin and nothing more, as in https://app.example.com.",
                }
            )
    if errors:
        raise ProjectInvalid("The project cannot be registered like this.", errors=errors)
