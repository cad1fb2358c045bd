"""The keys with which apps call."""

from typing import Annotated

import typer

from ..commands.issue_key import issue_key
from ..resources import Resources
from .common import ProjectArgument, acting_operator, find_project, out, ready_settings, with_resources

app = typer.Typer(no_args_is_help=True, help="The keys with which apps call.")


@app.command("issue")
def issue(project: ProjectArgument, name: Annotated[str, typer.Option(help="Where it is used.")] = "cli") -> None:
    """Issue a key and print it: it is shown this once."""

    async def run(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
            issued = await issue_key(tx, owner, name, acting_operator("keys issue"), at=resources.clock.now())
        out.print(issued.key, markup=False)

    with_resources(ready_settings(), run)
