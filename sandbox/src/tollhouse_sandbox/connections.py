"""What befalls a connection: it is reset, or nothing comes over it for a while."""

import asyncio
import socket
import struct
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Unanswered(Response):
    """The answer to a call that gets none, because its connection is gone."""

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Sends nothing. Raises `ConnectionResetError` where the server could not be made to reset the connection."""
        if scope["tollhouse_sandbox.transport"] is None:
            raise ConnectionResetError("a fault on order: the connection is reset")


async def reset(request: Request) -> None:
    """Ends the connection with a TCP reset, unless the caller has ended it."""
    transport = request.scope["tollhouse_sandbox.transport"]
    if transport is None or transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await hang(request, 1)  # until the server knows: else it misses an answer


async def hang(request: Request, seconds: float) -> None:
    """Returns when the caller hangs up, or after real `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
