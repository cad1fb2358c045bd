"""The least that a server must do to keep what it is sent: one committed INSERT per request, and an answer."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from starlette.types import Receive, Scope, Send

CONNECTIONS = 10
"""As many as one server process of Tollhouse keeps by default."""
TABLE = "CREATE TABLE kept (id uuid PRIMARY KEY, body text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
_free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _run(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    async with _connection() as connection:
        await connection.execute("INSERT INTO kept (id, body) VALUES (%s, %s)", (uuid.uuid4(), body.decode()))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20")]})
    await send({"type": "http.response.body", "body": b'{"outcome":"stored"}'})


async def _run(receive: Receive, send: Send) -> None:
    await receive()
    for _ in range(CONNECTIONS):
        _free.put_nowait(await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    while not _free.empty():
        await _free.get_nowait().close()
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def _connection() -> AsyncIterator[psycopg.AsyncConnection]:
    connection = await _free.get()
    try:
        yield connection
    finally:
        _free.put_nowait(connection)
