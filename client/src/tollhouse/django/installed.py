"""What the setting TOLLHOUSE says, read when first needed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, cached_property
from inspect import iscoroutinefunction
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..client import Tollhouse
from ..gates import UserId, blocking

FindUser = Callable[[HttpRequest], UserId | Awaitable[UserId]]


def signed_in_user(request: HttpRequest) -> UserId:
    """The primary key of Django's own user; nobody where there is none."""
    user = getattr(request, "user", None)
    return user.pk if user is not None and user.is_authenticated else None


@dataclass(frozen=True)
class Installed:
    """The settings, with their defaults.

    `UPGRADE_URL`, the one that must be there, is a URL or the name of a view. `USER_ID` is a function of the request,
    plain or async, or the path to one; without it, the user is Django's. `REDIRECT_BROWSERS` sends browsers to log in
    or to upgrade, where programs get 401 or 402. `CLIENT` is a Tollhouse, a function that makes one, or the path to
    either; without it, one is made of `URL` and `API_KEY`, or of the environment.
    """

    upgrade_url: str
    user_id: FindUser = signed_in_user
    redirect_browsers: bool = False
    given_client: Tollhouse | Callable[[], Tollhouse] | None = None
    url: str | None = None
    api_key: str | None = None

    @cached_property
    def client(self) -> Tollhouse:
        """One for the process, made at the first question: after a server has forked its workers."""
        if self.given_client is None:
            return Tollhouse(self.url, self.api_key)
        return blocking(self.given_client if isinstance(self.given_client, Tollhouse) else self.given_client())

    def user_of(self, request: HttpRequest) -> UserId:
        """Who is signed in, for code that is not async."""
        if iscoroutinefunction(self.user_id):
            raise ImproperlyConfigured("TOLLHOUSE['USER_ID'] is async: guard async views, and use acheck")
        return cast(UserId, self.user_id(request))


_KEYS = {
    "UPGRADE_URL": "upgrade_url",
    "USER_ID": "user_id",
    "REDIRECT_BROWSERS": "redirect_browsers",
    "CLIENT": "given_client",
    "URL": "url",
    "API_KEY": "api_key",
}


@cache
def installed() -> Installed:
    """What TOLLHOUSE says. Raises ImproperlyConfigured."""
    told: dict[str, Any] = getattr(settings, "TOLLHOUSE", {})
    if unknown := sorted(set(told) - set(_KEYS)):
        raise ImproperlyConfigured(f"TOLLHOUSE knows no {', '.join(unknown)}; it knows {', '.join(_KEYS)}")
    if not told.get("UPGRADE_URL"):
        raise ImproperlyConfigured("TOLLHOUSE['UPGRADE_URL'] is missing: where users buy, a URL or the name of a view")
    values = {_KEYS[key]: _loaded(key, value) for key, value in told.items()}
    return Installed(**values)


def _loaded(key: str, value: Any) -> Any:
    if key in ("USER_ID", "CLIENT") and isinstance(value, str):
        try:
            return import_string(value)
        except ImportError as error:
            raise ImproperlyConfigured(f"TOLLHOUSE[{key!r}]: {error}") from error
    return value


def _forget(*, setting: str, **_: object) -> None:
    """Tests change settings."""
    if setting == "TOLLHOUSE":
        installed.cache_clear()


setting_changed.connect(_forget)
