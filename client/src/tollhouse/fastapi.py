"""Guards for FastAPI endpoints. FastAPI is the app's dependency, not this package's.

```
install(app, tollhouse, user_id=signed_in_user, upgrade_url="/pricing")

@app.get("/export")
def export(check: Annotated[Check, Depends(Requires("premium_export"))]): ...
```
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from .answers import Check
from .client import AsyncTollhouse, Tollhouse
from .errors import ConfigurationError, RateLimited, ServerError, Unreachable

logger = logging.getLogger("tollhouse")

UserId = str | int | None
FindUser = Callable[[Request], UserId | Awaitable[UserId]]


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` stores as `app.state.tollhouse`."""

    client: Tollhouse | AsyncTollhouse
    user_id: FindUser | None
    upgrade_url: str
    redirect_browsers: bool


class Refused(Exception):
    """A guard turned a request away; `install`'s handler makes the answer of it."""

    def __init__(self, status: int, code: str, title: str, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = {
            "type": f"urn:tollhouse:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            **more,
        }


def install(
    app: FastAPI,
    client: Tollhouse | AsyncTollhouse,
    *,
    upgrade_url: str,
    user_id: FindUser | None = None,
    redirect_browsers: bool = False,
) -> None:
    """Tell an app's guards, once, which client to ask, who the user is and where to send those who may not.

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
        raise ConfigurationError("the guard knows no user: give user_id to tollhouse.fastapi.install or to Requires")
    found = await run_in_threadpool(find_user, request)
    return await found if inspect.isawaitable(found) else found


def _installed(request: Request) -> Installed:
    installed = getattr(request.app.state, "tollhouse", None)
    if not isinstance(installed, Installed):
        raise ConfigurationError("call tollhouse.fastapi.install(app, client, upgrade_url=…) where the app is built")
    return installed


class Requires:
    """A dependency that lets a request pass only when its user may use a feature, and returns the Check.

    Otherwise the answer is problem+json: 402 with `feature`, `reason` and `upgrade_url`; 401 where nobody is signed
    in; 503 where Tollhouse gives no answer. `user_id` is a FastAPI dependency that returns the user's id, for apps
    that have one; `upgrade_url` replaces the installed one. Such an app names its dependency once:
    `Requires = functools.partial(tollhouse.fastapi.Requires, user_id=current_user_id)`.
    """

    def __init__(
        self, feature: str, *, user_id: Callable[..., Any] = _installed_user_id, upgrade_url: str | None = None
    ) -> None:
        self.feature = feature
        self.upgrade_url = upgrade_url
        # FastAPI reads a dependency's own dependencies from its signature.
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
                inspect.Parameter("user_id", inspect.Parameter.KEYWORD_ONLY, default=Depends(user_id)),
            ]
        )

    async def __call__(self, *, request: Request, user_id: UserId) -> Check:
        installed = _installed(request)
        if user_id is None or user_id == "":
            raise Refused(401, "signed-out", "Nobody is signed in", "Sign in first.", feature=self.feature)
        check = await _check(installed.client, str(user_id), self.feature)
        if not check:
            raise Refused(
                402,
                "upgrade-required",
                "This needs an upgrade",
                f"Your plan does not include {self.feature}.",
                feature=self.feature,
                reason=check.reason,
                upgrade_url=self.upgrade_url or installed.upgrade_url,
            )
        return check

    def __repr__(self) -> str:
        return f"Requires({self.feature!r})"


async def _check(client: Tollhouse | AsyncTollhouse, user_id: str, feature: str) -> Check:
    try:
        if isinstance(client, AsyncTollhouse):
            return await client.check(user_id, feature)
        return await run_in_threadpool(client.check, user_id, feature)
    except (Unreachable, ServerError, RateLimited) as error:
        logger.warning("could not check %s: %s", feature, error)
        detail = "What your plan includes cannot be looked up right now. Try again shortly."
        raise Refused(503, "billing-unavailable", "Billing is unavailable", detail, feature=feature) from error


async def _answer_refused(request: Request, error: Exception) -> Response:
    refused = cast(Refused, error)  # the handler is registered for nothing else
    headers = {}
    if _installed(request).redirect_browsers and (upgrade_url := refused.problem.get("upgrade_url")):
        headers["Vary"] = "Accept"
        if _prefers_html(request.headers.get("accept", "")):
            return RedirectResponse(str(upgrade_url), status_code=303, headers=headers)
    return JSONResponse(refused.problem, refused.status, headers, media_type="application/problem+json")


def _prefers_html(accept: str) -> bool:
    """A browser asks for text/html above all; programs ask for JSON or for anything."""
    quality = {"text/html": 0.0, "application/json": 0.0, "application/problem+json": 0.0, "*/*": 0.0}
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type in quality:
            quality[media_type] = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    return quality.pop("text/html") > max(quality.values())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
