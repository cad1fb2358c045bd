"""The webhook endpoint in Stripe."""

import typer

from ..projection import types_concerning
from ..stripe_gateway.client import API_VERSION
from ..stripe_gateway.webhook_endpoint import known_event_types
from .common import err, out

app = typer.Typer(no_args_is_help=True, help="The webhook endpoint in Stripe.")


@app.command("events")
def list_types() -> None:
    """Print the event types to choose for the endpoint, one a line; on standard error the API version."""
    err.print(f"API version {API_VERSION}, these events:")
    for type_ in types_concerning(known_event_types()):
        out.print(type_)
