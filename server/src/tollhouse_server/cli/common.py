"""What the verbs share: their arguments, where they print, and how they come to the settings and the database."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console

from ..audit import Cause
from ..catalogs import Project, project_by_slug
from ..db import migrate
from ..db.engine import Database, Tx
from ..logs import concerning, configure_logs, new_run_id
from ..resources import Resources, open_resources
from ..settings import Settings, load_settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Answer = TypeVar("Answer")

ProjectArgument = Annotated[str, typer.Argument(help="The project's slug.")]
UserArgument = Annotated[str, typer.Argument(help="The app's id of its user.")]
FeatureArgument = Annotated[str, typer.Argument(help="The feature's code.")]
INSTANTS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]
"""How an instant may be written, always in UTC."""
At = Annotated[
    datetime | None,
    typer.Option(formats=INSTANTS, help="At which instant, in UTC; now if absent."),
]


def ready_settings(role: str = "cli") -> Settings:
    """The settings, with the logs configured and the database at the schema this version needs."""
    settings = load_settings()
    configure_logs(level=settings.log_level, fmt=settings.log_format, role=role)

    async def look() -> tuple[bool, list[str]]:
        database = Database(settings.database_url.get_secret_value(), pool_size=1)
        try:
            return await migrate.has_schema(database), await migrate.missing_isolation(database)
        finally:
            await database.close()

    at_head, missing = asyncio.run(look())
    if not at_head:
        fail("The database has not the schema that this version needs: run `tollhouse migrate` first.")
    if missing:
        fail(f"The database does not keep projects apart: {'; '.join(missing)}. Run `tollhouse migrate`.")
    return settings


def with_resources(settings: Settings, run: Callable[[Resources], Awaitable[Answer]]) -> Answer:
    async def opened() -> Answer:
        async with open_resources(settings) as resources:
            return await run(resources)

    command = run.__qualname__.partition(".")[0]  # the function of the verb, in which `run` is defined
    with concerning(command=command, run_id=new_run_id()):
        return asyncio.run(opened())


async def find_project(tx: Tx, slug: str) -> Project:
    return await project_by_slug(tx, slug) or fail(f"No project {slug} is registered: apply its catalog first.")


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """In columns, one line a row however long: for eyes and for `grep` alike."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.print("  ".join(padded).rstrip(), markup=False)


def acting_operator(command: str) -> Cause:
    return Cause(actor=getpass.getuser(), cause=f"tollhouse {command}")


def fail(sentence: str) -> NoReturn:
    err.print(sentence, style="red", markup=False)
    raise SystemExit(1)
