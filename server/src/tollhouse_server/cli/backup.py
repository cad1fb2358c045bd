"""A backup of everything, and a database made of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import backup
from ..commands.begin_epoch import begin_epoch
from ..db import migrate
from ..logs import configure_logs
from ..reconcile import Asked, Kind, Trigger, runs
from ..settings import load_settings
from .common import acting_operator, fail, out, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()


@app.command("backup")
def back_up(file: Annotated[Path, typer.Argument(help="Where to; what is there is replaced.", dir_okay=False)]) -> None:
    """Back up the whole database to a file, while everything runs: PostgreSQL's custom format, read back at once."""
    try:
        size = backup.back_up(load_settings().database_url.get_secret_value(), file)
    except backup.CannotBackUp as cannot:
        fail(str(cannot))
    out.print(f"{file}: {size:,} bytes, whole and readable. It holds everything: keep it as safe as the database.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `tollhouse backup` wrote.", exists=True, dir_okay=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Lose what the database holds now.")] = False,
) -> None:
    """Make an empty database what a backup says, at this version's schema and with versions above all seen before.

    Stop `tollhouse serve` and `tollhouse work` first. Afterwards start the workers before the servers: they begin by
    reading from Stripe what happened since the backup.
    """
    settings = load_settings()
    configure_logs(level=settings.log_level, fmt=settings.log_format, role="cli")
    url = settings.database_url.get_secret_value()
    try:
        with backup.restored(url, file, replace=replace) as highest_before:
            revision = migrate.upgrade(url)

            async def run(resources: "Resources") -> int:
                why, now = acting_operator(f"restore {file.name}"), resources.clock.now()
                async with resources.database.transaction() as tx:
                    epoch = await begin_epoch(tx, why, at=now, highest_before=highest_before)
                    # What was sold since the backup: the first thing that a worker does.
                    await runs.abandon_all(tx, "the database was restored", at=now)
                    for kind in Kind:
                        await resources.reconciler.begin(tx, Asked(kind, Trigger.CLI, why.actor))
                await resources.cache.forget_all()
                return epoch

            epoch = with_resources(settings, run)
    except backup.CannotBackUp as cannot:
        fail(str(cannot))
    out.print(f"Restored: the schema is at revision {revision}, versions go on in epoch {epoch}.")
    out.print("Start `tollhouse work` now: it begins by reading from Stripe what happened since the backup.")
