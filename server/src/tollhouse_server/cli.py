"""The `tollhouse` command: the processes, and what an operator does from a shell.

What only one command needs it imports itself: the others start the sooner.
"""

import asyncio
import getpass
import json
import signal
import sys
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from prometheus_client import start_http_server
from rich.console import Console
from sqlalchemy.exc import OperationalError

from . import audit, inbox, snapshot
from .audit import Cause
from .catalogs import Project, current_catalog, project_by_slug
from .commands.issue_key import issue_key
from .commands.publish_catalog import publish_catalog
from .db import migrate
from .db.engine import Database, Tx
from .domain.catalog_schema import json_schema
from .domain.entitlements import answer
from .domain.errors import Problem
from .domain.explain import Explanation, explain
from .domain.time import until
from .resources import Resources, open_resources
from .settings import Settings, SettingsInvalid, load_settings
from .telemetry import configure_logs

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="One place for money and access of a fleet of apps."
)
catalog_app = typer.Typer(no_args_is_help=True, help="What a project sells.")
keys_app = typer.Typer(no_args_is_help=True, help="The keys with which apps call.")
app.add_typer(catalog_app, name="catalog")
app.add_typer(keys_app, name="keys")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Answer = TypeVar("Answer")

ProjectArgument = Annotated[str, typer.Argument(help="The project's slug.")]
UserArgument = Annotated[str, typer.Argument(help="The app's id of its user.")]
FeatureArgument = Annotated[str, typer.Argument(help="The feature's code.")]
At = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"], help="At which instant, in UTC; now if absent."),
]


def main() -> None:
    """Runs the command; what a person can mend is said in a sentence and exits with 1."""
    try:
        app()
    except (SettingsInvalid, Problem) as problem:
        for error in getattr(problem, "errors", []):
            err.print(f"{error['pointer']}: {error['detail']}", markup=False)
        _fail(str(problem))
    except OperationalError as away:
        _fail(f"PostgreSQL does not answer: {str(away.orig).strip() or 'no reason given'}\nCheck DATABASE_URL.")


@app.command()
def serve() -> None:
    """Serve the API on APP_HOST:APP_HOST_PORT."""
    import uvicorn

    from .app import build_app

    settings = _ready_settings()
    uvicorn.run(
        build_app(settings),
        host=settings.app_host,
        port=settings.app_host_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


@app.command()
def work() -> None:
    """Work on Stripe's events until told to stop; what is in hand is finished first."""
    from .worker import Worker

    settings = _ready_settings()

    if settings.worker_metrics_port is not None:
        start_http_server(settings.worker_metrics_port, settings.app_host)

    async def run(resources: Resources) -> None:
        worker = Worker(resources)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        await worker.run()

    _with_resources(settings, run)


@app.command("dev")
def run_dev(
    data: Annotated[Path | None, typer.Option(help="Where its data lie; .tollhouse in the checkout if absent.")] = None,
    with_valkey: Annotated[bool, typer.Option(help="Start a Valkey too.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="Write addresses and keys there once all is up.")] = None,
) -> None:
    """Run everything on this machine: stores, Stripe sandbox, service, worker, demo app."""
    from . import dev

    raise typer.Exit(dev.run(data, with_valkey=with_valkey, ready_file=ready_file))


@app.command("migrate")
def run_migrations() -> None:
    """Bring the database to the schema that this version needs."""
    out.print(f"The schema is at revision {migrate.upgrade(load_settings().database_url.get_secret_value())}.")


@catalog_app.command("apply")
def apply_catalog(
    file: Annotated[Path, typer.Argument(help="A catalog file (TOML).", exists=True, dir_okay=False)],
) -> None:
    """Publish a catalog: features, products and prices in Stripe, then the next version here. Safe to repeat."""
    try:
        document = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        _fail(f"{file} is not TOML: {wrong}")

    async def run(resources: Resources) -> None:
        published = await publish_catalog(
            resources.database, resources.stripe, document, _operator("catalog apply"), at=resources.clock.now()
        )
        for change in published.changes:
            out.print(f"  {change}", markup=False)
        done = "published" if published.changes else "nothing to do: everything is so already"
        out.print(f"{published.project}, catalog version {published.version}: {done}.")

    _with_resources(_ready_settings(), run)


@catalog_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of a catalog file, for an editor."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


@keys_app.command("issue")
def issue(project: ProjectArgument, name: Annotated[str, typer.Option(help="Where it is used.")] = "cli") -> None:
    """Issue a key and print it: it is shown this once."""

    async def run(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            owner = await _project(tx, project)
            issued = await issue_key(tx, owner, name, _operator("keys issue"), at=resources.clock.now())
        out.print(issued.key, markup=False)

    _with_resources(_ready_settings(), run)


@app.command()
def replay(event_id: Annotated[str, typer.Argument(help="Stripe's id, evt_….")]) -> None:
    """Try a stored event again; safe at any time and however often."""

    async def run(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            if not await inbox.replay(tx, event_id):
                _fail(f"No event {event_id} was received, or it is of a type that changes nothing.")
            why = _operator("replay")
            await audit.record(tx, "event.replayed", why, at=resources.clock.now(), after={"id": event_id})
        out.print(f"{event_id} is pending again; `tollhouse work` will do it.")

    _with_resources(_ready_settings(), run)


@app.command()
def check(project: ProjectArgument, user: UserArgument, feature: FeatureArgument) -> None:
    """Say whether a user may use a feature; exits with 0 if so, else with 1."""

    async def run(resources: Resources) -> bool:
        async with resources.database.transaction() as tx:
            owner = await _project(tx, project)
            known = (await current_catalog(tx, owner)).features.get(feature) or _fail(f"No feature {feature}.")
            stored = await snapshot.read(tx, owner.id, user)
        verdict = answer(stored.entitlements, known, resources.clock.now())
        said = f"allowed ({verdict.value}), {until(verdict.valid_until)}" if verdict.allowed else "not allowed"
        out.print(f"{said}: {verdict.reason}", markup=False)
        return verdict.allowed

    raise typer.Exit(0 if _with_resources(_ready_settings(), run) else 1)


@app.command()
def why(project: ProjectArgument, user: UserArgument, feature: FeatureArgument, at: At = None) -> None:
    """Explain why a feature is open or closed: every source considered, and the rule by which it counts or not."""

    async def run(resources: Resources) -> Explanation:
        async with resources.database.transaction() as tx:
            owner = await _project(tx, project)
            catalog = await current_catalog(tx, owner)
            known = catalog.features.get(feature) or _fail(f"No feature {feature} in the catalog of {project}.")
            evidence = await snapshot.evidence_of(tx, owner.id, user)
        return explain(catalog, evidence, known, at.replace(tzinfo=UTC) if at else resources.clock.now())

    explained = _with_resources(_ready_settings(), run)
    out.print(explained.sentence, markup=False)
    for source in explained.sources:
        mark = "+" if source.counts else "-"
        out.print(f"  {mark} {source.kind} {source.id} [{source.rule}] {source.sentence}", markup=False)
    if explained.next_change_at:
        out.print(f"  next change: {explained.next_change_at.isoformat()}")


def _ready_settings() -> Settings:
    """The settings, with the logs configured and the database at the schema this version needs."""
    settings = load_settings()
    configure_logs(level=settings.log_level, fmt=settings.log_format)

    async def is_at_head() -> bool:
        database = Database(settings.database_url.get_secret_value(), pool_size=1)
        try:
            return await migrate.is_at_head(database)
        finally:
            await database.close()

    if not asyncio.run(is_at_head()):
        _fail("The database has not the schema that this version needs: run `tollhouse migrate` first.")
    return settings


def _with_resources(settings: Settings, run: Callable[[Resources], Awaitable[Answer]]) -> Answer:
    async def opened() -> Answer:
        async with open_resources(settings) as resources:
            return await run(resources)

    return asyncio.run(opened())


async def _project(tx: Tx, slug: str) -> Project:
    return await project_by_slug(tx, slug) or _fail(f"No project {slug} is registered: apply its catalog first.")


def _operator(command: str) -> Cause:
    return Cause(actor=getpass.getuser(), cause=f"tollhouse {command}")


def _fail(sentence: str) -> NoReturn:
    err.print(sentence, style="red", markup=False)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
