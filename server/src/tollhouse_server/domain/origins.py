"""Web origins: where a checkout or portal may send a customer back to is an allow-list of them."""

from typing import Final
from urllib.parse import urlsplit

_USUAL_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> str | None:
    """`scheme://host[:port]` of an http(s) URL as a browser would compare it; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # not a port, or not an IPv6 address
        return None
    if parts.scheme not in _USUAL_PORTS or not parts.hostname or parts.username is not None:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, _USUAL_PORTS[parts.scheme]) else f":{port}")
