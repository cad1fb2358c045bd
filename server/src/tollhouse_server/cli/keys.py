"""The keys with which apps and machines call."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Row, select

from ..audit import Cause
from ..catalogs import Project
from ..commands.issue_key import issue_key, of_owner, state_of
from ..commands.revoke_key import revoke_key
from ..commands.rotate_key import LONGEST_OVERLAP_HOURS, OVERLAP, rotate_key
from ..db.engine import Tx
from ..db.tables import api_key
from ..domain.scopes import USUAL, Scope
from .common import (
    Records,
    acting_operator,
    fail,
    find_project,
    out,
    print_table,
    ready_settings,
    with_records,
    with_resources,
)

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="The keys with which apps and operators' machines call.")

Whose = Annotated[str | None, typer.Argument(metavar="[PROJECT]", help="The project's slug; none with --operator.")]
OfOperators = Annotated[bool, typer.Option("--operator", help="A machine's key for /v1/admin, of no project.")]
KeyId = Annotated[str, typer.Argument(help="The key's public id, as `tollhouse keys list` shows it.")]
Days = Annotated[
    int | None, typer.Option(min=1, max=3650, help="Days after which it ends by itself; for good if absent.")
]


@app.command("issue")
def issue(
    project: Whose = None,
    operator: OfOperators = False,
    name: Annotated[str, typer.Option(help="Where it is used; of an operator key: who it acts as.")] = "cli",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help=f"What it may do; give it once for each. Absent: {' and '.join(USUAL)}."),
    ] = None,
    expires_in_days: Days = None,
) -> None:
    """Issue a key and print it: it is shown this once."""
    if operator and scope:
        fail("An operator key has the one scope operator: leave --scope out.")

    async def run(resources: "Resources") -> None:
        at = resources.clock.now()
        ends = at + timedelta(days=expires_in_days) if expires_in_days else None
        async with resources.database.transaction() as tx:
            owner = await _owner(tx, project, operator)
            why = acting_operator("keys issue")
            issued = await issue_key(tx, owner, name, why, at=at, scopes=scope, expires_at=ends)
        out.print(issued.key, markup=False)

    with_resources(ready_settings(), run)


@app.command("list")
def list_keys(project: Whose = None, operator: OfOperators = False) -> None:
    """List keys, newest first: what each may do, when it was last used and whether it still works."""

    async def run(records: Records) -> None:
        at = records.clock.now()
        async with records.database.transaction() as tx:
            owner = await _owner(tx, project, operator)
            query = select(api_key).where(of_owner(owner.id if owner else None))
            rows = (await tx.execute(query.order_by(api_key.c.created_at.desc(), api_key.c.id))).all()
        print_table(("id", "name", "scopes", "state", "ends", "last used"), [_line(row, at) for row in rows])

    with_records(ready_settings(), run)


def _line(key: Row[Any], at: datetime) -> tuple[str, ...]:
    ends = key.revoked_at or key.expires_at
    when = (f"{instant:%Y-%m-%d %H:%M}" if instant else "never" for instant in (ends, key.last_used_at))
    return key.id, key.name, ",".join(key.scopes), state_of(key, at).replace("_", " "), *when


@app.command("rotate")
def rotate(
    key: KeyId,
    overlap_hours: Annotated[
        int,
        typer.Option(min=0, max=LONGEST_OVERLAP_HOURS, help="How long the old key goes on working; 0: it ends now."),
    ] = OVERLAP // timedelta(hours=1),
    expires_in_days: Days = None,
) -> None:
    """Issue a successor with the same name and scopes and print it; the old key ends after the overlap."""

    async def run(resources: "Resources") -> None:
        at = resources.clock.now()
        ends = at + timedelta(days=expires_in_days) if expires_in_days else None
        async with resources.database.transaction() as tx:
            owner_id = await tx.scalar(select(api_key.c.project_id).where(api_key.c.id == key))
            why = acting_operator("keys rotate")
            overlap = timedelta(hours=overlap_hours)
            issued = await rotate_key(tx, owner_id, key, why, at=at, overlap=overlap, expires_at=ends)
        out.print((issued or fail(f"No key {key} is in use.")).key, markup=False)

    with_resources(ready_settings(), run)


@app.command("revoke")
def revoke(key: KeyId) -> None:
    """End a key at once."""

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            owner_id = await tx.scalar(select(api_key.c.project_id).where(api_key.c.id == key))
            why: Cause = acting_operator("keys revoke")
            if not await revoke_key(tx, owner_id, key, why, at=resources.clock.now()):
                fail(f"There is no key {key}, or it is revoked already.")
        out.print(f"{key} is revoked.", markup=False)

    with_resources(ready_settings(), run)


@app.command("scan")
def scan(
    paths: Annotated[list[str], typer.Argument(help="Files, directories, or - for standard input.")],
    state: Annotated[
        bool, typer.Option("--state", help="Ask the database whose each is, and whether it still works.")
    ] = False,
) -> None:
    """Find keys that lie in files, by their checksum; exits with 1 where there are any. The keys are not printed."""
    from .scan import scan_paths

    scan_paths(paths, state=state)


async def _owner(tx: Tx, project: str | None, operator: bool) -> Project | None:
    if operator == (project is not None):
        fail("Say whose key: either a project's slug, or --operator.")
    return None if project is None else await find_project(tx, project)
