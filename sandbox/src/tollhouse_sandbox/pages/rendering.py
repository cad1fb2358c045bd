"""From a posted form to an answer: every page carries the same headers and needs nothing from another host."""

from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tollhouse_sandbox.errors import StripeError

# No script at all. `form-action` is open because paying ends in a redirect to the merchant's own site, wherever it is.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action *; base-uri 'none'; frame-ancestors 'none'"
)

templates = Environment(
    loader=PackageLoader("tollhouse_sandbox.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The template filled in, never cached: a page behind "back" must not show a state that has passed."""
    return HTMLResponse(
        templates.get_template(template).render(**context),
        status_code=status,
        headers={
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )


def missing(sentence: str) -> HTMLResponse:
    """The page for an address that leads to nothing."""
    return page("missing.html", status=404, title="Nothing here", sentence=sentence)


async def posted(request: Request) -> dict[str, str]:
    """The fields a page's form sent; of those that have one name, the last."""
    return dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))


def whole_number(written: str) -> int:
    """A quantity as somebody typed it. Raises 400 for what is none."""
    if not (written.isascii() and written.isdigit() and len(written) < 7):
        raise StripeError("Write the quantity as a whole number.", param="quantity")
    return int(written)
