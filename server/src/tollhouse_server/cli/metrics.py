"""What projects earn."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from ..domain.intervals import Every
from ..domain.money import Money
from ..domain.rounding import told
from ..domain.time import day
from ..metrics import Line, Report, as_csv, report
from .common import Records, fail, find_project, out, ready_settings, with_records

app = typer.Typer()

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
From = Annotated[datetime | None, typer.Option("--from", formats=_FORMATS, help="In UTC; 30 days ago if absent.")]
To = Annotated[
    datetime | None, typer.Option("--to", formats=_FORMATS, help="Not included; the end of today if absent.")
]


@app.command()
def metrics(
    project: Annotated[str | None, typer.Argument(help="The project's slug.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="All projects, and their sums.")] = False,
    start: From = None,
    end: To = None,
    interval: Annotated[Every, typer.Option(help="How the time is divided.")] = "total",
    csv: Annotated[bool, typer.Option("--csv", help="Everything, as CSV.")] = False,
) -> None:
    """Show what a project earns, or the fleet: MRR and its movements, customers, revenue."""
    if (project is None) != fleet:
        fail("Name a project, or say --fleet.")

    async def run(records: Records) -> Report:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project) if project is not None else None
            starts_at, ends_at = (one.replace(tzinfo=UTC) if one else None for one in (start, end))
            at = records.clock.now()
            return await report(tx, owner.id if owner else None, starts_at, ends_at, interval, at=at)

    found = with_records(ready_settings(), run)
    if csv:
        sys.stdout.write(as_csv(found.projects))
        return
    for line in [*found.projects, *([] if found.whole == found.projects else found.whole)]:
        for said in _sentences(line):
            out.print(said, markup=False)
    if not found.projects:
        out.print("Nothing was earned in this time.")
    out.print(f"Computed at {found.computed_at:%Y-%m-%d %H:%M:%S} UTC; --csv has every figure.")


def _sentences(line: Line) -> Iterator[str]:
    """A line as people read it in a narrow window; movements that were none are left out."""
    figures = told(line.figures)

    def money(name: str) -> str:
        return str(Money(int(figures[name] or 0), line.currency))

    until = "" if line.complete else ", so far"
    yield f"{line.project or 'the fleet'}, {day(line.starts_at)} to {day(line.ends_at)}{until}"
    moved = [f"{word} {money(name)}" for word, name in _MOVEMENTS.items() if figures[name]]
    yield f"  MRR {money('mrr_end')}: {', '.join(moved) or 'unchanged'}"
    states = ", ".join(f"{figures[name]} {name.replace('_', ' ')}" for name in _STATES)
    yield f"  customers {figures['customers_end']}; subscriptions {states}"
    gone = int(figures["refunded"] or 0) + int(figures["lost_to_disputes"] or 0)
    yield f"  revenue {money('net_revenue')}, after {Money(gone, line.currency)} refunded or lost"


_MOVEMENTS = {
    "new": "new_mrr",
    "reactivated": "reactivation_mrr",
    "expanded": "expansion_mrr",
    "contracted": "contraction_mrr",
    "churned": "churned_mrr",
}
_STATES = ("active", "trialing", "past_due", "paused")
