"""The least that a server can do which asks PostgreSQL: one read by primary key for each request, and a ready answer.

It does not authenticate, counts nothing, and leaves what it read as it is.
"""

import asyncio
import os
from typing import Any

import psycopg

from benchmarks.bare import ANSWER, HEADERS

CONNECTIONS = 8
QUERY = "SELECT version, entitlements FROM snapshot WHERE project_id = %s AND user_id = %s"
_free: "asyncio.LifoQueue[psycopg.AsyncConnection[Any]]" = asyncio.LifoQueue()
_project: list[Any] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        for _ in range(CONNECTIONS):
            _free.put_nowait(await psycopg.AsyncConnection.connect(os.environ["DATABASE"], autocommit=True))
        _project[:] = [os.environ["PROJECT_ID"]]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        while not _free.empty():
            await _free.get_nowait().close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    user_id = scope["path"].split("/")[3]
    connection = await _free.get()
    try:
        found = await connection.execute(QUERY, (_project[0], user_id))
        version, _ = await found.fetchone() or (0, [])
    finally:
        _free.put_nowait(connection)
    assert version > 0
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
