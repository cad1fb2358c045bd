"""The ASGI application: Stripe's API under /v1, the sandbox's own calls under /_sandbox, and the hosted pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from tollhouse_sandbox import api, control, pages, resources
from tollhouse_sandbox.sandbox import Sandbox


def build_app(sandbox: Sandbox) -> Starlette:
    """Serves a sandbox. Due things happen, and webhooks are sent, while the application runs."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(sandbox.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await sandbox.close()

    routes: list[BaseRoute] = [
        *api.routes(sandbox, resources.OPERATIONS),
        *control.routes(sandbox),
        *pages.routes(sandbox),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
