"""Where Tollhouse is, who we are to it, and how long we are ready to wait."""

import os
import re
from dataclasses import dataclass, replace

import httpx

from .errors import ConfigurationError

POLL_INTERVAL = 30.0
_KEY = re.compile(r"tollhouse_[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take, in seconds, all its retries included."""

    check: float
    """For `check` and `entitlements`, which stand in the way of a user's request."""
    total: float
    """For every other call."""
    connect: float
    """For making one connection."""
    retries: int
    """How often a failed attempt is repeated at most."""
    wait: float = 0.05
    """How long one check may wait for an answer, once the process has begun."""
    poll: float = POLL_INTERVAL
    """How old a copy may become before it is asked for again, where no stream keeps it current."""

    def __post_init__(self) -> None:
        if min(self.check, self.total, self.connect) <= 0 or min(self.wait, self.poll) < 0:
            raise ConfigurationError(
                "check_timeout, timeout and connect_timeout must be more than 0 seconds, the rest not less"
            )
        if self.retries < 0:
            raise ConfigurationError("retries must be 0 or more")

    def within(self, seconds: float) -> "Limits":
        """The same for calls that have these seconds and no more."""
        return replace(self, check=seconds, total=seconds)


def service_url(url: str | None) -> httpx.URL:
    """The service's address, from the argument or TOLLHOUSE_URL. Raises ConfigurationError."""
    text = url if url is not None else os.environ.get("TOLLHOUSE_URL", "")
    if not text:
        raise ConfigurationError("pass url= or set TOLLHOUSE_URL, for example https://billing.example.com")
    try:
        parsed = httpx.URL(text)
    except httpx.InvalidURL:
        raise ConfigurationError("the Tollhouse URL cannot be read") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigurationError("the Tollhouse URL must be http(s)://host[:port][/path] without credentials or query")
    return parsed


def project_key(api_key: str | None) -> str:
    """The project's key, from the argument or TOLLHOUSE_API_KEY. Raises ConfigurationError, which never quotes it."""
    key = api_key if api_key is not None else os.environ.get("TOLLHOUSE_API_KEY", "")
    if not key:
        raise ConfigurationError("pass api_key= or set TOLLHOUSE_API_KEY to a key of this project (tollhouse_…)")
    if not _KEY.fullmatch(key):
        # Another service's secret in this place must not be sent to us, nor show up in a log.
        raise ConfigurationError("the API key is not a Tollhouse project key: those begin with tollhouse_")
    return key


def following(stream: bool | None, poll_interval: float | None) -> tuple[bool, float]:
    """Whether a stream is followed, and how old a copy may become without; else by TOLLHOUSE_POLL_INTERVAL.

    Raises ConfigurationError where that is no number.
    """
    set_so = os.environ.get("TOLLHOUSE_POLL_INTERVAL", "") if stream is None and poll_interval is None else ""
    if not set_so:
        return stream is not False, POLL_INTERVAL if poll_interval is None else poll_interval
    try:
        return False, float(set_so)
    except ValueError:
        raise ConfigurationError(f"TOLLHOUSE_POLL_INTERVAL is not a number of seconds: {set_so!r}") from None
