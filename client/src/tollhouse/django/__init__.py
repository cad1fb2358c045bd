"""Gates for Django views and templates. Django is the app's dependency, not this package's.

```
INSTALLED_APPS = [..., "tollhouse.django"]
TOLLHOUSE = {"UPGRADE_URL": "pricing"}  # what else there is: installed.py

@requires("premium_export")
def export(request): ...
```

In templates: `{% load tollhouse %}{% allowed "premium_export" as export %}{% if export %}`, or, with the context
processor `tollhouse.django.context_processors.allowed`, `{% if allowed.premium_export %}`.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers

from ..answers import Check
from ..gates import Gate, Memo, Used, UserId, either, look, look_async, refuse_what_is_no_plain_call
from ..refusals import Refused, SignedOut, http_answer, prefers_html
from .installed import Installed, installed

__all__ = ["FeatureRequiredMixin", "acheck", "answer_refused", "check", "requires"]

View = TypeVar("View", bound=Callable[..., HttpResponseBase | Coroutine[Any, Any, HttpResponseBase]])
P = ParamSpec("P")
T = TypeVar("T")


def check(request: HttpRequest, feature: str) -> Check:
    """What the signed-in user may do, asked once within a request; nobody may anything.

    Never refuses: for a view that does more for those who may, as `requires` is for one that is only for them.
    """
    here = installed()
    return look(here.client, here.user_of(request), feature, _memo(request))


async def acheck(request: HttpRequest, feature: str) -> Check:
    """`check` for async views."""
    here = installed()
    user_id: UserId = await either(_in_django_thread, here.user_id, request)
    return await look_async(here.client, user_id, feature, _memo(request), _in_django_thread)


def requires(feature: str, *, used: Used | None = None, upgrade_url: str | None = None) -> Callable[[View], View]:
    """Guard a view, plain or async. A Refused that the view raises itself is answered in the same way.

    For a limit, `used` is a function of the user's id that tells how much is gone; `upgrade_url` is a URL, and replaces
    the one of the settings. Class-based views take `FeatureRequiredMixin`.
    """
    gate = Gate(feature, used, upgrade_url)

    def decorate(view: View) -> View:
        refuse_what_is_no_plain_call(view, used)

        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                return await _guarded_async(gate, request, lambda: view(request, *args, **kwargs))

            return cast(View, guarded_async)

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _guarded(gate, request, lambda: view(request, *args, **kwargs))

        return cast(View, guarded)

    return decorate


class FeatureRequiredMixin:
    """For class-based views, plain or async, before View among the bases: only who may use `required_feature` passes.

    `used` takes the view itself and the user's id: define it as a method. `upgrade_url` replaces the settings'.
    """

    required_feature: str
    used: Callable[[str], Any] | None = None
    upgrade_url: str | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Let pass, or answer who may not."""
        if not getattr(self, "required_feature", ""):
            raise ImproperlyConfigured(f"{type(self).__name__} needs required_feature")
        gate = Gate(self.required_feature, self.used, self.upgrade_url)
        proceed: Callable[[], Any] = lambda: super(FeatureRequiredMixin, self).dispatch(  # type: ignore[misc]  # noqa: E731
            request, *args, **kwargs
        )
        is_async: bool = self.view_is_async  # type: ignore[attr-defined]  # View's
        return (_guarded_async if is_async else _guarded)(gate, request, proceed)


def answer_refused(request: HttpRequest, refused: Refused) -> HttpResponseBase:
    """The answer that `requires` gives, for a view that catches a Refused itself.

    With REDIRECT_BROWSERS, a browser is sent to the upgrade page, and a visitor to LOGIN_URL, whence they come back.
    """
    here, accept = installed(), request.headers.get("Accept", "")
    if isinstance(refused, SignedOut) and here.redirect_browsers and prefers_html(accept):
        query = urlencode({"next": request.get_full_path()})
        response = HttpResponse(status=303, headers={"Location": f"{resolve_url(settings.LOGIN_URL)}?{query}"})
        patch_vary_headers(response, ["Accept"])
        return response
    answer = http_answer(
        refused,
        upgrade_url=resolve_url(here.upgrade_url),
        accept=accept,
        redirect_browsers=here.redirect_browsers,
    )
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def _guarded(gate: Gate, request: HttpRequest, proceed: Callable[[], Any]) -> HttpResponseBase:
    here = installed()
    try:
        gate.let_pass(here.client, here.user_of(request), _memo(request))
        return cast(HttpResponseBase, proceed())
    except Refused as refused:
        return answer_refused(request, refused)


async def _guarded_async(gate: Gate, request: HttpRequest, proceed: Callable[[], Any]) -> HttpResponseBase:
    here: Installed = installed()
    try:
        user_id: UserId = await either(_in_django_thread, here.user_id, request)
        await gate.let_pass_async(here.client, user_id, _memo(request), _in_django_thread)
        return cast(HttpResponseBase, await proceed())
    except Refused as refused:
        return answer_refused(request, refused)


def _in_django_thread(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
    """Where Django lets the database be used: who finds the user, or counts, may do so."""
    return sync_to_async(function)(*args)


def _memo(request: HttpRequest) -> Memo:
    # In META, which a wrapper of the request, such as the REST framework's, shares with it.
    found: Memo = request.META.setdefault("tollhouse.checks", {})
    return found
