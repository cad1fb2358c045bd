"""What the service does at Stripe by itself."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .. import corrections
from .common import Records, acting_operator, fail, find_project, out, ready_settings, with_records, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()

_AT_ONCE = 1_000


class State(StrEnum):
    REPORTED = "reported"
    PENDING = "pending"
    DONE = "done"
    GIVEN_UP = "given-up"


@app.command("corrections")
def list_corrections(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    project: Annotated[str | None, typer.Option(help="Only those of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_AT_ONCE, help="How many, the newest first.")] = 50,
) -> None:
    """List what Tollhouse does at Stripe by itself, the newest first: second subscriptions and second trials."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            if project is not None:
                await find_project(tx, project)
            found = await corrections.listing(tx, state=state, slug=project, limit=limit)
        for row in found:
            told = (f"{row.found_at:%Y-%m-%dT%H:%M:%SZ}", row.id, row.project, row.user_id, row.action, row.state)
            out.print("  ".join(told), markup=False)
            out.print(f"    {row.reason}", markup=False)
            if row.error:
                out.print(f"    after {row.attempts} tries: {' '.join(row.error.split())}", markup=False)
        if not found:
            out.print("No such corrections.")

    with_records(ready_settings(), run)


@app.command()
def correct(
    correction_id: Annotated[str | None, typer.Argument(help="Its id, cor_….")] = None,
    given_up: Annotated[bool, typer.Option("--given-up", help="All that were given up.")] = False,
) -> None:
    """Carry out a correction that was reported or given up, or all that were given up; what is done is not done
    twice."""
    if (correction_id is None) is not given_up:
        fail("Say which: a correction's id, or --given-up for all that were given up.")

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            listed = await corrections.listing(tx, state=State.GIVEN_UP, limit=_AT_ONCE) if given_up else []
            ids = [row.id for row in listed] if correction_id is None else [correction_id]
            for one in ids:
                if not await corrections.retry(tx, one, acting_operator("correct"), resources.clock.now()):
                    fail(f"There is no correction {one}, or it is pending or done.")
        for one in ids:
            out.print(f"{one} is pending; `tollhouse work` will do it.")
        if not ids:
            out.print("No correction was given up.")

    with_resources(ready_settings(), run)
