"""The ASGI application: Stripe's API under /v1, the sandbox's own calls under /_sandbox, and the hosted pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from tollhouse_sandbox import api, control, pages, resources
from tollhouse_sandbox.pages.same_origin import SameOriginOnly
from tollhouse_sandbox.sandbox import Sandbox


class _App(Starlette):
    """Keeps the connection within reach, which a fault on order may reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's `send` belongs to an object that has the transport; other servers have none to give.
        scope["tollhouse_sandbox.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


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
    return _App(routes=routes, middleware=[Middleware(SameOriginOnly)], lifespan=lifespan)
