"""What the verbs share: their arguments, where they print, and how they come to the settings and the database.

Most verbs only look, and need nothing but the database: whatever else the service is made of they do not import.
"""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from sqlalchemy.exc import OperationalError

from ..audit import Cause
from ..catalogs import Project, project_by_slug
from ..clock import Clock, open_clock
from ..db import readiness
from ..db.engine import Database, Tx
from ..db.isolation import CannotIsolate
from ..domain.errors import Problem
from ..logs import concerning, configure_logs, new_run_id
from ..settings import Settings, SettingsInvalid, load_settings

if TYPE_CHECKING:
    from ..resources import Resources

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
            return await readiness.has_schema(database), await readiness.missing_isolation(database)
        finally:
            await database.close()

    at_head, missing = asyncio.run(look())
    if not at_head:
        fail("The database has not the schema that this version needs: run `tollhouse migrate` first.")
    if missing:
        fail(f"The database does not keep projects apart: {'; '.join(missing)}. Run `tollhouse migrate`.")
    return settings


@dataclass(frozen=True, slots=True)
class Records:
    """What a verb that only looks looks into, and what time it is."""

    database: Database
    clock: Clock


def with_records(settings: Settings, look: Callable[[Records], Awaitable[Answer]]) -> Answer:
    """For a verb that changes nothing."""

    async def opened() -> Answer:
        database = Database(settings.database_url.get_secret_value(), pool_size=1)
        try:
            async with open_clock(settings.stripe_api_base if settings.follow_sandbox_clock else None) as clock:
                return await look(Records(database, clock))
        finally:
            await database.close()

    return _concerning(look, opened)


def with_resources(
    settings: Settings,
    run: "Callable[[Resources], Awaitable[Answer]]",
    *,
    loop: "Callable[[], asyncio.AbstractEventLoop] | None" = None,
) -> Answer:
    """For a verb that changes something, or asks Stripe. `loop` makes the event loop, where it is not asyncio's own."""
    from ..resources import open_resources

    async def opened() -> Answer:
        async with open_resources(settings) as resources:
            return await run(resources)

    return _concerning(run, opened, loop=loop)


def _concerning(
    of_verb: Callable[..., object],
    run: Callable[[], Coroutine[object, object, Answer]],
    *,
    loop: "Callable[[], asyncio.AbstractEventLoop] | None" = None,
) -> Answer:
    """Runs, with the verb in each line of the log: the function in which `of_verb` is defined."""
    told = concerning(command=of_verb.__qualname__.partition(".")[0], run_id=new_run_id())
    with told, asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


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


def say(error: Exception) -> None:
    """Fails with a sentence where a person can mend it, else returns."""
    match error:
        case CannotIsolate() | SettingsInvalid() | Problem():
            for one in getattr(error, "errors", []):
                err.print(f"{one['pointer']}: {one['detail']}", markup=False)
            fail(str(error))
        case OperationalError():
            fail(f"PostgreSQL does not answer: {str(error.orig).strip() or 'no reason given'}\nCheck DATABASE_URL.")


def fail(sentence: str) -> NoReturn:
    err.print(sentence, style="red", markup=False)
    raise SystemExit(1)
