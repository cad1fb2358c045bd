"""Where webhooks go that are only counted: every POST is answered 200, a GET tells how many there were."""

from typing import Any

_received = 0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global _received  # noqa: PLW0603 - the one thing this process knows
    if scope["type"] != "http":
        return
    body = b""
    if scope["method"] == "GET":
        body = str(_received).encode()
    else:
        while (await receive())["more_body"]:
            pass
        _received += 1
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
