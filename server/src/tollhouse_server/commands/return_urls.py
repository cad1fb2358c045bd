"""Where people may be sent back to."""

from urllib.parse import urlsplit, urlunsplit

from ..catalogs import Project
from ..domain.errors import UrlNotAllowed
from ..domain.origins import origin_of


def check_url(owner: Project, url: str, pointer: str) -> None:
    """Raises UrlNotAllowed unless the URL is at one of the project's redirect origins: no open redirects."""
    if origin_of(url) not in owner.redirect_origins:
        raise UrlNotAllowed(
            f"{pointer[1:]} is at none of the project's redirect origins: add its origin to redirect_origins in the "
            "catalog and publish it.",
            errors=[{"pointer": pointer, "detail": "Its origin is not allowed."}],
        )


def returning_to(success_url: str, checkout_id: str) -> str:
    """The app's page with `checkout_id=` added, so that it can sync; `{CHECKOUT_SESSION_ID}` stays for Stripe."""
    parts = urlsplit(success_url)
    query = "&".join(filter(None, (parts.query, f"checkout_id={checkout_id}")))
    return urlunsplit(parts._replace(query=query))
