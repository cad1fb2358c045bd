"""Forms are taken only from the sandbox's own pages: another site that a browser visits cannot press their buttons."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tollhouse_sandbox.pages.rendering import page

_HARMLESS = ("GET", "HEAD", "OPTIONS")


class SameOriginOnly:
    """Refuses what a page of another origin makes a browser send. The API is left out: its key is proof enough.

    A browser says where a request comes from, in `Sec-Fetch-Site` or at least in `Origin`. A program says neither and
    is let through.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/v1/") and _foreign(scope["method"], scope):
            refusal = page(
                "missing.html",
                status=403,
                title="From another site",
                sentence="This was sent by a page of another site. Open the page here and press the button again.",
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _foreign(method: str, scope: Scope) -> bool:
    if method in _HARMLESS:
        return False
    headers = Headers(scope=scope)
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
