"""The stream: what changes of a project's users, as server-sent events. docs/reference/stream.md is its protocol."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import Receive, Scope, Send

from ..catalogs import Project
from ..key_format import parse_key
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Ctx
from .fan_out import Ending, FanOut, Reader
from .problems import StoreUnavailable, ValidationFailed, documented
from .snapshots import EXAMPLE_SNAPSHOT

router = APIRouter(tags=["Entitlements"], responses=documented(InsufficientScope))

MEDIA_TYPE = "text/event-stream"
STALL_SECONDS = 30.0
"""How long a reader may take nothing of what is sent."""
LET_GO_SECONDS = 0.2
"""How long a stream that has ended may take to end in form; who takes nothing is cut off."""
RETRY_MILLISECONDS = (1_000, 5_000)
"""When a reader comes back after its stream broke off: each is told another time, as they all break off together."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""So that no proxy keeps events, or keeps them back."""

EXAMPLE = f"""retry: 2731
event: hello
id: 5f0c2a9be1d47a60-7431
data: {{"project": "pdf-tool", "catalog_version": 3, "resumed": false, "heartbeat_seconds": 15}}

event: customer
id: 5f0c2a9be1d47a60-7440
data: {json.dumps(EXAMPLE_SNAPSHOT)}

event: heartbeat
id: 5f0c2a9be1d47a60-7452
data: {{}}

"""


class EventStream(Response):
    """The answer: it begins once the stream is open, and goes on until either side ends it."""

    media_type = MEDIA_TYPE

    def __init__(self, fan_out: FanOut, project: Project, key_id: str, last_event_id: str | None) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["Content-Length"]
        self._fan_out, self._asked = fan_out, (project, key_id, last_event_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._fan_out.reading(*self._asked) as reader:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending = asyncio.create_task(_send_all(reader, send))
            leaving = asyncio.create_task(_left(receive))
            ending = asyncio.create_task(reader.ended.wait())
            try:
                await asyncio.wait((sending, leaving, ending), return_when=asyncio.FIRST_COMPLETED)
                if reader.why is not None:
                    await asyncio.wait((sending,), timeout=LET_GO_SECONDS)
                    if not sending.done():
                        _cut(scope)
                        await asyncio.wait((leaving,), timeout=LET_GO_SECONDS)
            finally:
                for task in (sending, leaving, ending):
                    task.cancel()
                await asyncio.gather(sending, leaving, ending, return_exceptions=True)


async def _send_all(reader: Reader, send: Send) -> None:
    chunk: bytes | None = b"retry: %d\n" % random.randint(*RETRY_MILLISECONDS)  # noqa: S311 - to spread them
    while chunk is not None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            reader.end(Ending.SLOW)
            raise
        chunk = await reader.next()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope) -> None:
    """Ends the connection though what was sent has not been taken; to wait until it is would be for ever."""
    abort: Callable[[], None] | None = scope["state"].get("abort")
    if abort is not None:
        abort()


@router.get(
    "/stream",
    summary="What changes of this project's users, as it changes",
    response_class=Response,
    responses={
        200: {
            "description": "Events, until either side ends it.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}},
        },
        **documented(Unauthenticated, ValidationFailed, StoreUnavailable),
    },
)
async def open_stream(
    request: Request,
    project: MayCheck,
    ctx: Ctx,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The `id` of the last event of an earlier stream: go on from there."),
    ] = None,
) -> Response:
    """The snapshot of each user that changes, within a second. docs/reference/stream.md tells all of it."""
    if request.scope["state"]["head"]:
        return Response(media_type=MEDIA_TYPE, headers=HEADERS)
    _, sent = get_authorization_scheme_param(request.headers["Authorization"])
    key = parse_key(sent)
    assert key is not None  # or it would have been refused
    return EventStream(ctx.fan_out, project, key.id, last_event_id)
