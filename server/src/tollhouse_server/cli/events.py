"""Stripe's events."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .. import inbox
from ..commands.replay_event import replay_event
from .common import Records, acting_operator, fail, out, ready_settings, with_records, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()

_AT_ONCE = 1_000


class State(StrEnum):
    RECEIVED = "received"
    DEFERRED = "deferred"
    BURIED = "buried"
    SETTLED = "settled"


@app.command("events")
def list_events(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only those of this type, as in invoice.paid.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_AT_ONCE, help="How many, the newest first.")] = 50,
) -> None:
    """List stored events, the newest first: what became of each, and the error of what did not succeed."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            found = await inbox.listing(tx, state=state, type_=type_, limit=limit)
        for row in found:
            became = row.state if row.outcome is None else f"{row.state}, {row.outcome}"
            told = (f"{row.received_at:%Y-%m-%dT%H:%M:%SZ}", row.event_id, row.type, row.subject or "-", became)
            out.print("  ".join(told), markup=False)
            if row.error:
                out.print(f"    after {row.attempts} tries: {' '.join(row.error.split())}", markup=False)
        if not found:
            out.print("No such events.")

    with_records(ready_settings(), run)


@app.command()
def replay(
    event_id: Annotated[str | None, typer.Argument(help="Stripe's id, evt_….")] = None,
    buried: Annotated[bool, typer.Option("--buried", help="All that were given up.")] = False,
) -> None:
    """Try a stored event again, or all that are buried; safe at any time and however often."""
    if (event_id is None) is not buried:
        fail("Say which: an event's id, or --buried for all that were given up.")

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            given_up = await inbox.listing(tx, state=State.BURIED, limit=_AT_ONCE) if buried else []
            ids = [row.event_id for row in given_up] if event_id is None else [event_id]
            for one in ids:
                if not await replay_event(tx, one, acting_operator("replay"), at=resources.clock.now()):
                    fail(f"No event {one} was received, or it is of a type that changes nothing.")
        for one in ids:
            out.print(f"{one} is pending again; `tollhouse work` will do it.")
        if not ids:
            out.print("No event is buried.")

    with_resources(ready_settings(), run)
