"""Whether all is well, and what to do where it is not."""

import json
import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from .. import doctor
from ..doctor import Look, Result, Severity
from ..logs import configure_logs
from ..reconcile.runs import Kind
from ..settings import Settings, SettingsInvalid, load_settings
from .common import err, out, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()

RUNBOOKS = "docs/runbooks"
LATE_AFTER = 3
"""How many times its interval the last reconciliation may be ago."""


@app.command("doctor")
def examine(
    full: Annotated[
        bool, typer.Option("--full", help="Look at every customer and every audit entry, not at the newest only.")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Ask Stripe too: does it answer, does it send all?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Look whether all is well: the invariants, the work that waits, the processes, the audit trail. Changes nothing.

    Exits with 0 if all is well or only warned of, with 1 if something is wrong, with 2 if it could not look.
    """
    try:
        found = _look(load_settings(), full, online)
    except (SettingsInvalid, SQLAlchemyError, OSError) as away:
        err.print(f"It could not look: {away.args[0] if away.args else away}", style="red", markup=False)
        raise typer.Exit(2) from None
    if as_json:
        sys.stdout.write(json.dumps({"checks": [_as_json(one) for one in found]}, indent=2) + "\n")
    else:
        _print(found)
    raise typer.Exit(_code(found))


def _look(settings: Settings, full: bool, online: bool) -> list[Result]:
    configure_logs(level=settings.log_level, fmt=settings.log_format, role="cli")

    async def run(resources: "Resources") -> list[Result]:
        look_at = partial(
            Look,
            url=settings.database_url.get_secret_value(),
            now=resources.clock.now(),
            full=full,
            stripe=resources.stripe if online else None,
            reconciled_within=_longest(settings),
        )
        return await doctor.examine(resources.database, look_at)

    return with_resources(settings, run)


def _longest(settings: Settings) -> dict[Kind, timedelta]:
    every = {Kind.CATCH_UP: settings.reconcile_catch_up_seconds, Kind.SWEEP: settings.reconcile_sweep_seconds}
    return {kind: timedelta(seconds=LATE_AFTER * seconds) for kind, seconds in every.items() if seconds}


def _code(found: list[Result]) -> int:
    if any(one.error for one in found):
        return 2
    return 1 if any(not one.well and one.check.severity is Severity.WRONG for one in found) else 0


def _print(found: list[Result]) -> None:
    for one in found:
        check = one.check
        if one.well:
            out.print(f"[green]well[/green]     {check.name}")
        elif one.error:
            out.print(f"[red]unknown[/red]  {check.name}")
            out.print(f"         It could not look: {one.error}", markup=False)
        else:
            colour = "red" if check.severity is Severity.WRONG else "yellow"
            out.print(f"[{colour}]{check.severity:8}[/{colour}] {check.name} ({_count(one)})")
            out.print(f"         {check.sentence}", markup=False)
            for example in one.found.examples:
                out.print(f"         - {example}", markup=False)
            runbook = f" See {RUNBOOKS}/{check.runbook}.md." if check.runbook else ""
            out.print(f"         {check.remedy}{runbook}", markup=False)
    ill = sum(not one.well for one in found)
    out.print(f"{len(found)} checks: {f'{ill} not well' if ill else 'all is well'}.")


def _count(one: Result) -> str:
    return f"{one.found.count:,}{' or more' if one.found.at_least else ''}"


def _as_json(one: Result) -> dict[str, Any]:
    check, runbook = one.check, one.check.runbook
    return {
        "name": check.name,
        "severity": check.severity,
        "well": one.well,
        "sentence": check.sentence,
        "count": one.found.count,
        "at_least": one.found.at_least,
        "examples": list(one.found.examples),
        "remedy": check.remedy,
        "runbook": f"{RUNBOOKS}/{runbook}.md" if runbook else None,
        "error": one.error,
    }
