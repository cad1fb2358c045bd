"""What apps hear, and where."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .. import deliveries
from ..commands.register_endpoint import (
    check_url,
    counts,
    enable_endpoint,
    endpoints_of,
    find_endpoint,
    register_endpoint,
)
from ..commands.resend_notifications import resend_message, resend_since
from .common import (
    INSTANTS,
    ProjectArgument,
    Records,
    acting_operator,
    fail,
    find_project,
    out,
    ready_settings,
    with_records,
    with_resources,
)

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="What apps hear, and where.")

EndpointArgument = Annotated[str, typer.Argument(help="The endpoint's id, ne_….")]
State = Annotated[str | None, typer.Option(help="Only those that are pending, delivered or given_up.")]


@app.command("add")
def add(
    project: ProjectArgument,
    url: Annotated[str, typer.Argument(help="Where changes are posted: https, at a public host.")],
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Register an endpoint and print its id and its secret, with which the app verifies what it is sent."""

    async def run(resources: "Resources") -> None:
        courier = resources.courier
        await check_url(courier.post, url)
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
            why, at = acting_operator("notifications add"), resources.clock.now()
            made = await register_endpoint(tx, courier.signer, owner, url, description, why, at=at)
        out.print(f"{made} {courier.signer.secret(made, 1)}", markup=False)

    with_resources(ready_settings(), run)


@app.command("endpoints")
def list_endpoints(project: ProjectArgument) -> None:
    """List a project's endpoints: whether they work, what is pending and what was given up."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            rows, counted = await endpoints_of(tx, owner), await counts(tx, owner)
        for row in rows:
            state = "enabled" if row.failing_since is None else f"failing since {row.failing_since:%Y-%m-%d %H:%M}"
            if row.disabled_at:
                state = f"disabled {row.disabled_at:%Y-%m-%d %H:%M}: {row.disabled_because}"
            pending, given_up = (counted.get((row.id, one), 0) for one in ("pending", "given_up"))
            kept = f"{pending} pending, {given_up} given up"
            out.print(f"{row.id}  {row.url}  {kept}  {state}", markup=False)
        if not rows:
            out.print("No endpoints: nobody hears of this project's changes.")

    with_records(ready_settings(), run)


@app.command("deliveries")
def list_deliveries(project: ProjectArgument, endpoint: EndpointArgument, state: State = None) -> None:
    """List an endpoint's latest deliveries, newest first: what became of each, and why it failed."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            await find_endpoint(tx, await find_project(tx, project), endpoint)
            rows = await deliveries.listing(tx, endpoint, state=state)
        for row in rows:
            version = "" if row.version is None else f" version {row.version}"
            attempts = f"{row.attempts} attempt{'' if row.attempts == 1 else 's'}"
            said = f"{row.message_id}  {row.type}{version}  {row.state}  {attempts}  {row.error or ''}"
            out.print(said.rstrip(), markup=False)
        if not rows:
            out.print("No such deliveries.")

    with_records(ready_settings(), run)


@app.command("resend")
def resend(
    project: ProjectArgument,
    endpoint: EndpointArgument,
    message: Annotated[str | None, typer.Option(help="One message, msg_…, whatever became of it.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=INSTANTS, help="All that it has not got, written since then (UTC).")
    ] = None,
) -> None:
    """Send one message again, or all that an endpoint has missed since an instant."""
    if (message is None) == (since is None):
        fail("Say either --message or --since.")

    async def run(resources: "Resources") -> None:
        why, at = acting_operator("notifications resend"), resources.clock.now()
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
            if since is not None:
                queued = await resend_since(tx, owner, endpoint, since.replace(tzinfo=UTC), why, at=at)
            else:
                await resend_message(tx, owner, endpoint, str(message), why, at=at)
                queued = 1
        out.print(f"{queued} queued; `tollhouse work` sends what is queued.")

    with_resources(ready_settings(), run)


@app.command("enable")
def enable(project: ProjectArgument, endpoint: EndpointArgument) -> None:
    """Send to a disabled endpoint again, from the next change on; `resend --since` is for what it missed."""

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            owner, why = await find_project(tx, project), acting_operator("notifications enable")
            await enable_endpoint(tx, owner, endpoint, why, at=resources.clock.now())
        out.print(f"{endpoint} is enabled.")

    with_resources(ready_settings(), run)
