"""The least that an ASGI server can do: an answer as long as a check's, made beforehand. Everything is beside it."""

from typing import Any

ANSWER = (
    b'{"feature":"premium_export","allowed":true,"value":true,"valid_until":null,"reason":"granted",'
    b'"source":"grant_0123456789abcdefghijkl","version":1,"checked_at":"2026-11-24T09:00:00.000000Z"}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 - what ASGI calls
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": ANSWER})
