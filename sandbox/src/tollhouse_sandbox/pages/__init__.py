"""The sandbox's pages: hosted checkout, customer portal, invoices, control desk. They work without JavaScript."""

from pathlib import Path

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from tollhouse_sandbox.pages.checkout import checkout_routes
from tollhouse_sandbox.pages.control import control_routes
from tollhouse_sandbox.pages.invoice import invoice_routes
from tollhouse_sandbox.pages.objects import object_routes
from tollhouse_sandbox.pages.portal import portal_routes
from tollhouse_sandbox.sandbox import Sandbox


def routes(sandbox: Sandbox) -> list[BaseRoute]:
    """All pages and their style sheet, for the sandbox's app."""
    return [
        *control_routes(sandbox),
        *object_routes(sandbox),
        *checkout_routes(sandbox),
        *portal_routes(sandbox),
        *invoice_routes(sandbox),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
