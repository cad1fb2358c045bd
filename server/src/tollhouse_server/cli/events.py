"""Stripe's events."""

from typing import Annotated

import typer

from ..commands.replay_event import replay_event
from ..resources import Resources
from .common import acting_operator, fail, out, ready_settings, with_resources

app = typer.Typer()


@app.command()
def replay(event_id: Annotated[str, typer.Argument(help="Stripe's id, evt_….")]) -> None:
    """Try a stored event again; safe at any time and however often."""

    async def run(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            if not await replay_event(tx, event_id, acting_operator("replay"), at=resources.clock.now()):
                fail(f"No event {event_id} was received, or it is of a type that changes nothing.")
        out.print(f"{event_id} is pending again; `tollhouse work` will do it.")

    with_resources(ready_settings(), run)
