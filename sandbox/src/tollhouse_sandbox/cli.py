"""`tollhouse-sandbox`: Stripe on a desk."""

import gc
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.sandbox import Sandbox

main = typer.Typer(help="A local, stateful, time-travelling stand-in for the Stripe API.", no_args_is_help=True)


@main.callback()
def _root() -> None:
    """Keeps `serve` a command of its own."""


@main.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8901,
    data: Annotated[Path | None, typer.Option(help="SQLite file to keep the state in; absent: memory only.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Makes ids the same again for the same calls; absent: by chance.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="How browsers reach it; for checkout and portal links.")
    ] = None,
) -> None:
    """Serve the API, the hosted pages and the control page."""
    url = public_url or f"http://{host}:{port}"
    # What is stored stays: looking through all of it for garbage again and again costs a tenth of everything.
    gc.set_threshold(50_000, 20, 50)
    typer.echo(f"Stripe sandbox on {url} (any sk_test_ key)")
    uvicorn.run(build_app(Sandbox(url, data, seed=seed)), host=host, port=port, log_level="warning", ws="none")
