"""What a project sells."""

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..commands.publish_catalog import publish_catalog
from ..domain.catalog_schema import json_schema
from .common import acting_operator, fail, out, ready_settings, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="What a project sells.")


@app.command("apply")
def apply_catalog(
    file: Annotated[Path, typer.Argument(help="A catalog file (TOML).", exists=True, dir_okay=False)],
) -> None:
    """Publish a catalog: features, products and prices in Stripe, then the next version here. Safe to repeat."""
    try:
        document = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        fail(f"{file} is not TOML: {wrong}")

    async def run(resources: "Resources") -> None:
        published = await publish_catalog(
            resources.database, resources.stripe, document, acting_operator("catalog apply"), at=resources.clock.now()
        )
        for change in published.changes:
            out.print(f"  {change}", markup=False)
        done = "published" if published.changes else "nothing to do: everything is so already"
        out.print(f"{published.project}, catalog version {published.version}: {done}.")

    with_resources(ready_settings(), run)


@app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of a catalog file, for an editor."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
