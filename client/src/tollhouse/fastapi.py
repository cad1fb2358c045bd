"""Gates for FastAPI endpoints. FastAPI is the app's dependency, not this package's.

```
install(app, tollhouse, user_id=signed_in_user, upgrade_url="/pricing")

@app.get("/export")
def export(check: Annotated[Check, Depends(Requires("premium_export"))]): ...
```
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from .answers import Check
from .errors import ConfigurationError
from .gates import Client, Gate, Memo, Used, UserId, either
from .refusals import Refused, http_answer

FindUser = Callable[[Request], UserId | Awaitable[UserId]]


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` stores as `app.state.tollhouse`."""

    client: Client
    user_id: FindUser | None
    upgrade_url: str
    redirect_browsers: bool


def install(
    app: FastAPI,
    client: Client,
    *,
    upgrade_url: str,
    user_id: FindUser | None = None,
    redirect_browsers: bool = False,
) -> None:
    """Tell an app's gates, once, which client to ask, who the user is and where to send those who may not.

    `user_id` is a function of the request, plain or async, that returns the signed-in user's id, or None. An app that
    finds its user through FastAPI dependencies gives that dependency to `Requires` instead. With `redirect_browsers` a
    denied request that prefers HTML is answered 303 to `upgrade_url` instead of 402. The app closes the client.
    """
    if user_id is not None:
        _require_function_of_request(user_id)
    app.state.tollhouse = Installed(client, user_id, upgrade_url, redirect_browsers)
    app.add_exception_handler(Refused, _answer_refused)


def _require_function_of_request(user_id: FindUser) -> None:
    try:
        inspect.signature(user_id).bind(object())
    except TypeError:
        raise ConfigurationError(
            "install(user_id=…) takes a function of the request; give a FastAPI dependency to Requires(…, user_id=…)"
        ) from None


async def _installed_user_id(request: Request) -> UserId:
    find_user = _installed(request).user_id
    if find_user is None:
        raise ConfigurationError("the gate knows no user: give user_id to tollhouse.fastapi.install or to Requires")
    return await either(run_in_threadpool, find_user, request)


def _installed(request: Request) -> Installed:
    installed = getattr(request.app.state, "tollhouse", None)
    if not isinstance(installed, Installed):
        raise ConfigurationError("call tollhouse.fastapi.install(app, client, upgrade_url=…) where the app is built")
    return installed


class Requires:
    """A dependency that lets a request pass only when its user may use a feature, and returns the Check.

    Otherwise the answer is problem+json: 402 with `feature`, `reason` and `upgrade_url`; 401 where nobody is signed
    in; 503 where Tollhouse cannot be asked and the outage policy says deny. `user_id` is a FastAPI dependency that
    returns the user's id, for apps that have one; `used` a function of that id, plain or async, that tells how much of
    a limit is gone; `upgrade_url` replaces the installed one. Such an app names its dependency once:
    `Requires = functools.partial(tollhouse.fastapi.Requires, user_id=current_user_id)`.
    """

    def __init__(
        self,
        feature: str,
        *,
        user_id: Callable[..., Any] = _installed_user_id,
        used: Used | None = None,
        upgrade_url: str | None = None,
    ) -> None:
        self._gate = Gate(feature, used, upgrade_url)
        # FastAPI reads a dependency's own dependencies from its signature.
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
                inspect.Parameter("user_id", inspect.Parameter.KEYWORD_ONLY, default=Depends(user_id)),
            ]
        )

    async def __call__(self, *, request: Request, user_id: UserId) -> Check:
        memo: Memo = request.scope.setdefault("tollhouse.checks", {})
        return await self._gate.let_pass_async(_installed(request).client, user_id, memo, run_in_threadpool)

    def __repr__(self) -> str:
        return f"Requires({self._gate.feature!r})"


async def _answer_refused(request: Request, error: Exception) -> Response:
    installed = _installed(request)
    answer = http_answer(
        cast(Refused, error),  # the handler is registered for nothing else
        upgrade_url=installed.upgrade_url,
        accept=request.headers.get("accept", ""),
        redirect_browsers=installed.redirect_browsers,
    )
    return Response(answer.body, answer.status, dict(answer.headers))
