"""What a project sells."""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..catalogs import document_of, project_by_slug
from ..commands.plan_catalog import Plan, Tell, plan_catalog
from ..commands.publish_catalog import publish_catalog
from ..domain.account_catalog import catalog_of
from ..domain.catalog import CODE
from ..domain.catalog_schema import json_schema
from ..domain.catalog_toml import catalog_toml
from ..domain.errors import CatalogInvalid
from ..domain.kept_openings import Existing
from ..domain.money import Money
from ..stripe_gateway.account import read_account
from ..stripe_gateway.catalog import PriceShown, show_prices
from ..unmapped_prices import unmapped
from .catalog_text import show_plan
from .common import acting_operator, err, fail, find_project, out, print_table, ready_settings, with_resources
from .toml_lines import line_of

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="What a project sells.")

CHANGES_PLANNED = 2
"""The exit code of a plan that has something to do."""

File = Annotated[Path, typer.Argument(help="A catalog file (TOML).", exists=True, dir_okay=False)]

ExistingOption = Annotated[
    Existing | None,
    typer.Option(help="What becomes of those who have what this changes: they keep what they have, or move."),
]


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be published, and where it is written. `plan`: the id of the plan that a file of `--out` holds."""

    file: Path
    text: str
    document: Mapping[str, Any]
    plan: str | None = None
    existing: Existing | None = None


@app.command("plan")
def show(
    file: File,
    existing: ExistingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, as the API tells it.")] = False,
    to: Annotated[Path | None, typer.Option("--out", help="Write the plan to this file, for `apply`.")] = None,
) -> None:
    """Show what `apply` would do, at Stripe, in the catalog and to whom; changes nothing.

    Exits with 0 where there is nothing to do, with 2 where there is.
    """
    source = _read(file, existing)

    async def run(resources: "Resources") -> Plan:
        return await _planned(resources, source)

    with _mistakes_with_lines(source):
        plan = with_resources(ready_settings(), run)
    told = plan.as_json()
    if to is not None:
        to.write_text(json.dumps({**told, "document": source.document}, indent=2, ensure_ascii=False) + "\n")
    if as_json:
        sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    else:
        show_plan(out, plan)
    raise typer.Exit(0 if plan.prepared.nothing_to_do else CHANGES_PLANNED)


@app.command("apply")
def apply_catalog(
    file: Annotated[
        Path, typer.Argument(help="A catalog file (TOML), or a plan from `plan --out`.", exists=True, dir_okay=False)
    ],
    plan: Annotated[str | None, typer.Option(help="Do the plan with this id, or nothing.")] = None,
    existing: ExistingOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Publish a catalog: features, products and prices in Stripe, then the next version here. Safe to repeat.

    Shows what it would do and asks first, unless it is told the plan or --yes, or it is the project's first catalog.
    """
    source = _read(file, existing)
    known = plan or source.plan

    async def run(resources: "Resources") -> None:
        agreed = known or await _agreed(resources, source, yes=yes)
        why, now = acting_operator("catalog apply"), resources.clock.now()
        published = await publish_catalog(
            resources.database, resources.stripe, source.document, why, at=now, plan=agreed, existing=source.existing
        )
        for change in published.changes:
            out.print(f"  {change}", markup=False)
        done = "published" if published.changes else "nothing to do: everything is so already"
        out.print(f"{published.project}, catalog version {published.version}: {done}.")

    with _mistakes_with_lines(source):
        with_resources(ready_settings(), run)


async def _agreed(resources: "Resources", source: Source, *, yes: bool) -> str:
    """The id of the plan that whoever typed the command agrees to."""
    planned = await _planned(resources, source)
    if planned.prepared.version == 0 or planned.prepared.nothing_to_do:
        return planned.id
    show_plan(out, planned)
    if not yes:
        if not sys.stdin.isatty():
            fail(f"Nothing was done, as nobody can be asked here: say --yes, or --plan {planned.id}.")
        if not typer.confirm("Do this?"):
            fail("Nothing was done.")
    return planned.id


async def _planned(resources: "Resources", source: Source) -> Plan:
    with _progress() as tell:
        return await plan_catalog(
            resources.database,
            resources.stripe,
            source.document,
            at=resources.clock.now(),
            existing=source.existing,
            tell=tell,
        )


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on a terminal, while each customer is computed; elsewhere nothing."""
    if not err.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("customers"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("customers", total=None)
        yield lambda done, whole: bars.update(task, completed=done, total=whole)


def _read(file: Path, existing: Existing | None) -> Source:
    try:
        text = file.read_text(encoding="utf-8")
        if not text.lstrip().startswith("{"):  # no TOML does
            return Source(file, text, tomllib.loads(text), existing=existing)
        planned = json.loads(text)
        said = planned["existing"]
        return Source(file, text, planned["document"], planned["id"], Existing(said) if said else None)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        fail(f"{file} is not TOML: {wrong}")
    except (KeyError, ValueError):
        fail(f"{file} is not a plan: write one with `tollhouse catalog plan FILE --out PLAN`.")


@contextmanager
def _mistakes_with_lines(source: Source) -> Iterator[None]:
    """Tells each mistake as compilers do, `file:line: key: what is wrong`, so that an editor can jump there."""
    try:
        yield
    except CatalogInvalid as invalid:
        for one in invalid.errors:
            where = f"{source.file}:{line_of(source.text, one['pointer'])}" if source.plan is None else source.file
            code = f" [{one['code']}]" if "code" in one else ""
            err.print(f"{where}: {_dotted(one['pointer'])}: {one['detail']}{code}", markup=False)
        fail(f"{source.file}: {invalid}")


def _dotted(pointer: str) -> str:
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]) or "the catalog"


@app.command("pull")
def pull(
    project: Annotated[str, typer.Option(help="The project's slug.")] = "app",
    to: Annotated[Path | None, typer.Option("--out", help="Write it to this file, which must not exist yet.")] = None,
) -> None:
    """Write a catalog file: the project's published catalog, or else what the Stripe account sells.

    Of an account, comments say what had to be guessed.
    """
    if to is not None and to.exists():
        fail(f"{to} is there already: name another file.")
    if not CODE.fullmatch(project):
        fail("A slug has 1 to 63 lower-case letters, digits, - and _, and begins with a letter or digit.")

    async def run(resources: "Resources") -> str:
        async with resources.database.transaction() as tx:
            owner = await project_by_slug(tx, project)
            published = await document_of(tx, owner) if owner else None
        if published is not None:
            return catalog_toml(published)
        pulled = catalog_of(project, await read_account(resources.stripe))
        return catalog_toml(pulled.document, pulled.comments)

    written = with_resources(ready_settings(), run)
    if to is None:
        sys.stdout.write(written)
    else:
        to.write_text(written, encoding="utf-8")


@app.command("unmapped")
def list_unmapped(
    project: Annotated[str | None, typer.Option(help="Of this project alone; of all if absent.")] = None,
) -> None:
    """List the Stripe prices that customers hold and no product counts: name them in a product's `stripe_prices`."""

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project) if project else None
            found = await unmapped(tx, owner.id if owner else None)
        if not found:
            out.print("Every price that a customer holds is known.")
            return
        shown = await show_prices(resources.stripe, [one.price for one in found])
        print_table(
            ("PROJECT", "PRICE", "CUSTOMERS", "SINCE", "IS", "USERS"),
            [
                (one.project, one.price, str(one.customers), f"{one.since:%Y-%m-%d}", _shown(shown.get(one.price)),
                 ", ".join(one.users))
                for one in found
            ],
        )  # fmt: skip

    with_resources(ready_settings(), run)


def _shown(one: PriceShown | None) -> str:
    if one is None:
        return "gone at Stripe"
    amount = "by quantity" if one.amount is None else str(Money(one.amount, one.currency))
    count = f"{one.interval_count} {one.interval}s" if one.interval_count > 1 else one.interval
    return f"{one.product}, {amount} {f'every {count}' if one.interval else 'once'}"


@app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of a catalog file, for an editor."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
