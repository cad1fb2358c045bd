"""Compare with Stripe, and repair."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from .. import audit, drift
from ..reconcile import Asked, Kind, Trigger, Work, runs
from ..reconcile.sweep import STAGES
from .common import acting_operator, err, find_project, out, ready_settings, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()

DIFFERENCES_LEFT = 3
"""The exit code where something differs that was not repaired."""
SHOWN = 50


@app.command()
def reconcile(
    project: Annotated[str | None, typer.Option(help="Of this project alone; of all if absent.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find, tell, and change nothing.")] = False,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Only look for events that never came.")] = False,
) -> None:
    """Compare all we hold with Stripe's lists and repair what differs.

    Exits with 0 where nothing differs any more, with 3 where something does.
    """
    kind = Kind.CATCH_UP if catch_up else Kind.SWEEP

    async def run(resources: "Resources") -> bool:
        why = acting_operator("reconcile")
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project) if project else None
        asked = Asked(kind, Trigger.CLI, why.actor, dry_run, owner.id if owner else None)
        with _progress() as tell:
            run_id = await resources.reconciler.run_now(asked, tell)
            if catch_up and not dry_run:
                await _apply(resources, run_id)
        async with resources.database.transaction() as tx:
            await audit.record(tx, "reconciliation.asked", why, at=resources.clock.now(), after={"id": run_id})
            row = await runs.get(tx, run_id)
            found = await drift.summary(tx, run_id)
            rows = await drift.listing(tx, run_id, limit=SHOWN)
        assert row is not None
        _summarise(row, found, rows)
        return row.state == "finished" and not found["open"]

    raise typer.Exit(0 if with_resources(ready_settings(), run) else DIFFERENCES_LEFT)


async def _apply(resources: "Resources", run_id: str) -> None:
    """Does what a worker would do with the events that were missing, as none may be running."""
    pipeline = resources.pipeline
    while True:
        worked = await pipeline.process_next()
        async with resources.database.transaction() as tx:
            if not (await drift.summary(tx, run_id))["open"]:
                return
        if not worked:
            left = await pipeline.until_next()
            if left is None or left > pipeline.pause:  # beyond the pause it is a back-off, or in somebody's hands
                return
            await asyncio.sleep(left.total_seconds())


@contextmanager
def _progress() -> Iterator[Callable[[Work], None]]:
    """A bar on a terminal; elsewhere a line for each stage."""
    if not err.is_terminal:
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description:14}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    """Stripe does not say how long a list is, so only the re-reads fill a bar."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, work: Work) -> None:
        counts, stage = work.counts, work.stage
        for done in self._tasks.keys() - {stage}:
            self._bars.update(self._tasks[done], total=1, completed=1)
        if stage == "done":
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, said="")
        if stage == "repair":
            read, wanted = counts["customers.read"], counts["customers.to_read"]
            said = f"{read:,} of {wanted:,} read again"
            self._bars.update(self._tasks[stage], total=wanted, completed=read, said=said)
        elif listed := counts[f"{stage}.listed"]:
            self._bars.update(self._tasks[stage], said=f"{listed:,} listed, {counts[f'{stage}.differ']:,} differ")


class _Lines:
    def __init__(self) -> None:
        self._stage: str | None = None

    def __call__(self, work: Work) -> None:
        if work.stage != self._stage:
            self._stage = work.stage
            err.print(f"{work.stage}: {work.run.requests + work.pace.requests:,} requests so far", markup=False)


def _summarise(row: Any, found: dict[str, int], rows: Any) -> None:
    kind = row.kind.capitalize()
    took = f" in {(row.finished_at - row.started_at).total_seconds():.0f} s" if row.finished_at else ""
    waited = f"{row.stripe_seconds:.1f} s waiting for Stripe and {row.paced_seconds:.1f} s for their turn"
    out.print(f"{kind} {row.id} {row.state}{took}: {row.requests:,} requests, {waited}.", markup=False)
    if row.error:
        out.print(row.error, markup=False)
    if not row.finished_at:
        out.print("It was interrupted: a worker, or the same command, goes on where it stopped.")
    for name in ("events", *STAGES):
        if f"{name}.listed" not in row.counts:
            continue
        numbers = {what: row.counts.get(f"{name}.{what}", 0) for what in ("listed", "ours", "differ", "missing")}
        told = ", ".join(f"{number:,} {what}" for what, number in numbers.items() if f"{name}.{what}" in row.counts)
        out.print(f"  {name:14} {told}", markup=False)
    if not found["differences"]:
        out.print("Nothing differs.")
        return
    out.print(
        f"{_number(found['customers'], 'customer')} differed in {_number(found['differences'], 'thing')}; "
        f"{_number(found['paid_but_locked_out'], 'user')} locked out of what they paid for, "
        f"{_number(found['unpaid_but_allowed'], 'user')} let in without having paid; "
        f"{found['repaired']:,} repaired, {found['open']:,} left.",
        markup=False,
    )
    for one in rows:
        out.print(f"  {_line(one)}", markup=False)
    if found["differences"] > len(rows):
        out.print(f"  … the rest is at GET /v1/admin/reconciliations/{row.id}/drift", markup=False)


def _line(row: Any) -> str:
    who = f"{row.project} {row.user_id}" if row.user_id else row.stripe_customer_id or "nobody known"
    state = "repaired" if row.repaired else "right again" if row.closed_at else "NOT repaired"
    because = row.error or f"ours {row.ours!r}, Stripe's {row.stripes!r}"
    event = f", event {row.event_id} was missing" if row.event_id and row.field != "event" else ""
    return f"{who}: {row.object_id} {row.field}: {because}{event} [{row.verdict or 'no harm'}] {state}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
