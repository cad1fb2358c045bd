"""Who changed what: the trail, and whether it is still what was recorded."""

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..audit import anchors as kept
from ..audit import entries, trail
from ..audit.anchors import FLEET
from ..audit.entries import Entry, Wanted
from ..audit.trail import Verified
from ..db.engine import Tx
from ..domain.time import written
from ..settings import Settings
from .common import INSTANTS, Records, fail, find_project, out, ready_settings, with_records

app = typer.Typer(no_args_is_help=True, help="Who changed what, and whether the trail is still what was recorded.")

OneProject = Annotated[str | None, typer.Option("--project", help="Only this project's, by its slug.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


ForUser = Annotated[str | None, typer.Option("--user", help="Only about this user, by the app's id.")]
OneAction = Annotated[str | None, typer.Option("--action", help="Only this action, as in grant.given.")]
OneActor = Annotated[str | None, typer.Option("--actor", help="Only what this actor did.")]
From = Annotated[datetime | None, typer.Option("--from", formats=INSTANTS, help="From this instant on, in UTC.")]
To = Annotated[datetime | None, typer.Option("--to", formats=INSTANTS, help="Before this instant, in UTC.")]


@app.command("list")
def list_entries(
    project: OneProject = None,
    user: ForUser = None,
    action: OneAction = None,
    actor: OneActor = None,
    since: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the newest entries: when, about whom, what, by whom, and why."""

    async def run(records: Records) -> list[Entry]:
        async with records.database.transaction() as tx:
            wanted = await _wanted(tx, project, user, action, actor, since, to)
            return await entries.page(tx, wanted, limit=limit)

    for entry in with_records(ready_settings(), run):
        if as_json:
            sys.stdout.write(entry.line())
            continue
        about = "/".join(filter(None, (entry.project, entry.user_id))) or FLEET
        said = f"{written(entry.at)}  {entry.id}  {about}  {entry.action} by {entry.actor} ({entry.cause})"
        out.print(said + (f": {entry.reason}" if entry.reason else ""), markup=False)


@app.command("export")
def export(
    project: OneProject = None,
    user: ForUser = None,
    action: OneAction = None,
    actor: OneActor = None,
    since: From = None,
    to: To = None,
) -> None:
    """Print all of the trail as JSON lines, chain after chain, each oldest first, with place and hash."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            wanted = await _wanted(tx, project, user, action, actor, since, to)
        async for piece in entries.export(records.database, wanted):
            sys.stdout.write(piece)

    with_records(ready_settings(), run)


@app.command("verify")
def verify(
    project: OneProject = None,
    anchors: Annotated[
        Path | None,
        typer.Option(help="What `audit anchors` printed or the worker logged, kept elsewhere.", dir_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the hash chains over the audit trail and name the first entry that is not what was recorded.

    Exits with 0 if all is as it was, else with 1.
    """
    settings = ready_settings()
    known = _read(anchors) if anchors else {}
    _check_project(settings, project)
    url = settings.database_url.get_secret_value()
    walked = []
    for one in trail.verify(url, slug=project, anchors=known):
        walked.append(one)
        if not as_json and (one.entries or one.fault):
            out.print(_said(one), markup=False)
    if as_json:
        sys.stdout.write(json.dumps({"chains": [_as_json(one) for one in walked]}, indent=2) + "\n")
    else:
        out.print(_summary(walked, known))
    raise typer.Exit(1 if any(one.fault for one in walked) else 0)


@app.command("anchors")
def print_anchors() -> None:
    """Print where each chain ends now, one JSON line each, to be kept where nobody can rewrite it."""
    for anchor in trail.heads(ready_settings().database_url.get_secret_value()):
        sys.stdout.write(json.dumps({"event": kept.EVENT, **anchor.said()}) + "\n")


async def _wanted(
    tx: Tx,
    project: str | None,
    user: str | None,
    action: str | None,
    actor: str | None,
    since: datetime | None,
    to: datetime | None,
) -> Wanted:
    return Wanted(
        project_id=(await find_project(tx, project)).id if project else None,
        user_id=user,
        action=action,
        actor=actor,
        since=since and since.replace(tzinfo=UTC),
        until=to and to.replace(tzinfo=UTC),
    )


def _read(file: Path) -> dict[kept.Chain, dict[int, bytes]]:
    try:
        with file.open() as lines:
            return kept.read_anchors(lines)
    except (OSError, UnicodeDecodeError) as unreadable:
        fail(f"{file} cannot be read: {unreadable}")


def _check_project(settings: Settings, slug: str | None) -> None:
    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            await find_project(tx, slug or "")

    if slug is not None:
        with_records(settings, run)


def _name(one: Verified) -> str:
    return "the fleet's chain" if one.chain is None else f"the chain of {one.project or one.chain}"


def _said(one: Verified) -> str:
    if one.fault is None:
        return f"{_name(one)}: {one.entries:,} entries, as they were recorded"
    fault = one.fault
    where = "in no place" if fault.position is None else f"position {fault.position}"
    entry = "" if fault.audit_id is None else f", entry {fault.audit_id}"
    agreed = f" (up to position {fault.agreed} an anchor confirms it)" if fault.agreed else ""
    return f"{_name(one)}: {where}{entry}: {fault.wrong}: {fault.wrong.sentence}{agreed}"


def _summary(walked: Iterable[Verified], known: dict[kept.Chain, dict[int, bytes]]) -> str:
    walked = list(walked)
    entries, seconds = sum(one.entries for one in walked), sum(one.seconds for one in walked)
    broken = sum(one.fault is not None for one in walked)
    # Without an anchor a tail that was cut, or a chain made anew, looks whole.
    well = "nothing was altered" if known else "every chain holds together"
    verdict = f"{broken} of {len(walked)} chains broken" if broken else well
    against = f"against {sum(map(len, known.values()))} anchors" if known else "without anchors"
    return (
        f"{verdict}: {entries:,} entries {against} in {seconds:.1f} s ({entries / max(seconds, 1e-9):,.0f} a second)."
    )


def _as_json(one: Verified) -> dict[str, Any]:
    fault = one.fault
    return {
        "chain": kept.name_of(one.chain),
        "project": one.project,
        "entries": one.entries,
        "seconds": round(one.seconds, 3),
        "fault": None
        if fault is None
        else {
            "position": fault.position,
            "id": fault.audit_id,
            "wrong": fault.wrong,
            "sentence": fault.wrong.sentence,
            "confirmed_up_to": fault.agreed,
        },
    }
