"""The processes: serve, work, dev; and the schema they need."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import load_settings
from .common import out, ready_settings, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()


@app.command()
def serve() -> None:
    """Serve the API on APP_HOST:APP_HOST_PORT, in SERVER_PROCESSES processes."""
    from . import serving

    settings = ready_settings("server")
    (serving.serve_alone if settings.server_processes == 1 else serving.serve_in_several)(settings)


@app.command()
def work() -> None:
    """Work on Stripe's events until told to stop; what is in hand is finished first."""
    from prometheus_client import start_http_server

    from ..worker import Worker

    settings = ready_settings("worker")

    if settings.worker_metrics_port is not None:
        start_http_server(settings.worker_metrics_port, settings.app_host)

    async def run(resources: "Resources") -> None:
        worker = Worker(resources)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        await worker.run()

    with_resources(settings, run, loop=_fast_loop())


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that uvicorn takes too, a third faster with this many small requests; Windows has none."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


@app.command("dev")
def run_dev(
    data: Annotated[Path | None, typer.Option(help="Where its data lie; .tollhouse in the checkout if absent.")] = None,
    with_valkey: Annotated[bool, typer.Option(help="Start a Valkey too.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="Write addresses and keys there once all is up.")] = None,
) -> None:
    """Run everything on this machine: stores, Stripe sandbox, service, worker, demo app."""
    from .. import dev

    raise typer.Exit(dev.run(data, with_valkey=with_valkey, ready_file=ready_file))


@app.command("migrate")
def run_migrations() -> None:
    """Bring the database to the schema that this version needs."""
    from ..db import migrate

    out.print(f"The schema is at revision {migrate.upgrade(load_settings().database_url.get_secret_value())}.")
