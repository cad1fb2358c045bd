"""Gates for Flask views and templates. Flask is the app's dependency, not this package's.

```
TollhouseFlask(app, tollhouse, user_id=lambda: session.get("user_id"), upgrade_url="/pricing")

@app.post("/export")
@requires("premium_export")
def export(): ...
```

In templates: `{% if allowed("premium_export") %}`.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask, Response, current_app, request

from .answers import Check
from .client import Tollhouse
from .errors import ConfigurationError
from .gates import Gate, Memo, Used, UserId, blocking, look, refuse_what_is_no_plain_call
from .refusals import Refused, http_answer

P = ParamSpec("P")
T = TypeVar("T")

_EXTENSION = "tollhouse"


class TollhouseFlask:
    """Tells an app's gates, once, which client to ask, who the user is and where to send those who may not.

    `user_id` is called inside a request and returns the signed-in user's id, or None. `upgrade_url` is a URL or a
    function that returns one, such as `lambda: url_for("pricing")`. With `redirect_browsers` a denied request that
    prefers HTML is answered 303 to it instead of 402. Where no client is given, `init_app` makes one from the
    environment. The client is a Tollhouse for async views too: Flask runs each in an event loop of its own.
    """

    def __init__(
        self,
        app: Flask | None = None,
        client: Tollhouse | None = None,
        *,
        user_id: Callable[[], UserId],
        upgrade_url: str | Callable[[], str],
        redirect_browsers: bool = False,
    ) -> None:
        self._user_id = user_id
        self._upgrade_url = upgrade_url
        self._redirect_browsers = redirect_browsers
        if app is not None:
            self.init_app(app, client)

    def init_app(self, app: Flask, client: Tollhouse | None = None) -> None:
        """Install it in one app, with that app's client."""
        app.extensions[_EXTENSION] = _Installed(self, blocking(client) if client is not None else Tollhouse())
        app.register_error_handler(Refused, self._answer)
        app.context_processor(lambda: {"allowed": check})

    def user_id(self) -> UserId:
        """Who is signed in."""
        return self._user_id()

    def _answer(self, refused: Refused) -> Response:
        url = self._upgrade_url
        answer = http_answer(
            refused,
            upgrade_url=url if isinstance(url, str) else url(),
            accept=request.headers.get("Accept", ""),
            redirect_browsers=self._redirect_browsers,
        )
        return Response(answer.body, answer.status, dict(answer.headers))


class _Installed:
    """What an app keeps among its extensions: one extension may serve several apps."""

    def __init__(self, extension: TollhouseFlask, client: Tollhouse) -> None:
        self.user_id, self.client = extension.user_id, client


def check(feature: str) -> Check:
    """What the signed-in user may do, asked once within a request; nobody may anything. In templates it is `allowed`.

    Never refuses: for a view that does more for those who may, as `requires` is for one that is only for them.
    """
    installed = _installed()
    return look(installed.client, installed.user_id(), feature, _memo())


def requires(
    feature: str, *, used: Used | None = None, upgrade_url: str | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Guard a view, plain or async, of an app or a blueprint: below `@app.route`.

    For a limit, `used` is a function of the user's id that tells how much is gone; `upgrade_url` replaces the app's.
    """
    gate = Gate(feature, used, upgrade_url)

    def decorate(view: Callable[P, T]) -> Callable[P, T]:
        refuse_what_is_no_plain_call(view, used)

        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                installed = _installed()
                await gate.let_pass_async(installed.client, installed.user_id(), _memo(), _here)
                return await view(*args, **kwargs)

            return cast(Callable[P, T], guarded_async)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            installed = _installed()
            gate.let_pass(installed.client, installed.user_id(), _memo())
            return view(*args, **kwargs)

        return guarded

    return decorate


async def _here(function: Callable[..., T], /, *args: Any) -> T:
    """An async view has a thread and a loop of its own: who blocks it blocks nobody else."""
    return function(*args)


def _installed() -> _Installed:
    installed = current_app.extensions.get(_EXTENSION)
    if not isinstance(installed, _Installed):
        raise ConfigurationError("call TollhouseFlask(app, …), or its init_app, where the app is built")
    return installed


def _memo() -> Memo:
    # Not on `g`: where a test keeps an app context open, that is shared by all its requests.
    found: Memo = request.environ.setdefault("tollhouse.checks", {})
    return found
