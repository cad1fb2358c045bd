"""What every gate decides alike: who passes, what the others are told, and one answer within one request.

`requires` guards plain functions. tollhouse.fastapi, .flask, .django, .discord, .celery and .rq are this module in each
framework's own words; a gate for another one takes `Gate` and `refusals.http_answer`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar, cast
from uuid import UUID

from .answers import Check
from .client import AsyncTollhouse, Tollhouse
from .errors import ConfigurationError
from .refusals import BillingUnavailable, LimitReached, SignedOut, UpgradeRequired

P = ParamSpec("P")
T = TypeVar("T")

UserId: TypeAlias = str | int | UUID | None
"""An app's own id of a user. None and "" are nobody."""
Used: TypeAlias = Callable[[str], float] | Callable[[str], Awaitable[float]]
"""How much of a limit a user has used, told the user's id; async where the guarded function is."""
Client: TypeAlias = Tollhouse | AsyncTollhouse
Memo: TypeAlias = dict[tuple[Client, str, str], Check]
"""The answers that one request has got so far. The first one to a question stands for all of the request."""


def require(check: Check, *, used: float | None = None, upgrade_url: str | None = None) -> Check:
    """Hand back a check that lets its user pass, or raise the Refused that says why not.

    `used` is how much of a limit is gone: it must be less than the limit's value. Raises ConfigurationError for a
    feature that the catalog does not have, and for `used` of a switch: both are mistakes of the app.
    """
    if not check:
        if check.reason == "feature-not-found":
            raise ConfigurationError(f"the catalog has no feature {check.feature!r}")
        if check.freshness == "fallback":
            raise BillingUnavailable(check.feature)
        raise UpgradeRequired(check.feature, check.reason, upgrade_url)
    if used is None:
        return check
    if isinstance(check.value, bool):
        if (
            check.freshness == "fallback"
        ):  # nobody could be asked how much; the outage policy allowed, and named no limit
            return check
        raise ConfigurationError(f"{check.feature!r} is a switch; used= is for limits")
    if used >= check.value:
        raise LimitReached(check.feature, check.reason, used, check.value, upgrade_url)
    return check


class RunsBlocking(Protocol):
    """How an async gate calls what blocks: in a thread, as a framework does it, such as `asyncio.to_thread`."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]: ...


def check_once(client: Tollhouse, user_id: str, feature: str, memo: Memo) -> Check:
    """Ask, unless this request has asked already."""
    key = (client, user_id, feature)
    if key in memo:
        return memo[key]
    return memo.setdefault(key, client.check(user_id, feature))


async def check_once_async(client: Client, user_id: str, feature: str, memo: Memo, run: RunsBlocking) -> Check:
    """Ask with either client, unless this request has asked already. Of two at once, one answer stands."""
    key = (client, user_id, feature)
    if key in memo:
        return memo[key]
    if isinstance(client, AsyncTollhouse):
        check = await client.check(user_id, feature)
    else:
        check = await run(client.check, user_id, feature)
    return memo.setdefault(key, check)


@dataclass(frozen=True, slots=True)
class Gate:
    """One feature that is required; of a limit, that less than its value is `used`."""

    feature: str
    used: Used | None = None
    upgrade_url: str | None = None
    """Where to buy this feature, where that is not the app's one place."""

    def let_pass(self, client: Tollhouse, user_id: UserId, memo: Memo) -> Check:
        """The Check of a user who may pass. Raises Refused for all others."""
        user = self.somebody(user_id)
        check = require(check_once(client, user, self.feature, memo), upgrade_url=self.upgrade_url)
        if self.used is None:
            return check
        return require(check, used=cast(float, self.used(user)), upgrade_url=self.upgrade_url)

    async def let_pass_async(self, client: Client, user_id: UserId, memo: Memo, run: RunsBlocking) -> Check:
        """The same without blocking; `run` is given what blocks."""
        user = self.somebody(user_id)
        check = await check_once_async(client, user, self.feature, memo, run)
        require(check, upgrade_url=self.upgrade_url)
        if self.used is None:
            return check
        return require(check, used=await either(run, self.used, user), upgrade_url=self.upgrade_url)

    def somebody(self, user_id: UserId) -> str:
        """The id as Tollhouse knows it. Raises SignedOut where there is none."""
        if user_id is None or user_id == "":
            raise SignedOut(self.feature)
        return str(user_id)


def look(client: Tollhouse, user_id: UserId, feature: str, memo: Memo) -> Check:
    """What a user may do, for a page that shows it; never a refusal. Nobody may anything."""
    if user_id is None or user_id == "":
        return _nobody(feature)
    return check_once(client, str(user_id), feature, memo)


async def look_async(client: Client, user_id: UserId, feature: str, memo: Memo, run: RunsBlocking) -> Check:
    """`look` without blocking."""
    if user_id is None or user_id == "":
        return _nobody(feature)
    return await check_once_async(client, str(user_id), feature, memo, run)


def _nobody(feature: str) -> Check:
    return Check(feature, False, False, None, SignedOut.code, None, 0, datetime.now(UTC))


async def either(run: RunsBlocking, function: Callable[..., T | Awaitable[T]], *args: Any) -> T:
    """The answer of a function of the app's, plain (then it may block) or async."""
    found = await function(*args) if inspect.iscoroutinefunction(function) else await run(function, *args)
    return cast(T, await found) if inspect.isawaitable(found) else found


def refuse_what_is_no_plain_call(function: Callable[..., object], used: Used | None = None) -> None:
    """Raise ConfigurationError for what a gate cannot guard, at the moment it is decorated."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{function.__qualname__} is a generator: it begins when somebody iterates, too late for a refusal. "
            "Guard the function that makes it"
        )
    if inspect.isclass(function) or isinstance(function, classmethod | staticmethod):
        raise ConfigurationError("a gate guards functions: decorate the method, below @classmethod or @staticmethod")
    if inspect.iscoroutinefunction(used) and not inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{function.__qualname__} is not async, so used= cannot be either")


# --- Plain functions -----------------------------------------------------------------------------------------------

_memo: ContextVar[Memo | None] = ContextVar("tollhouse_memo", default=None)


@contextmanager
def one_request() -> Iterator[None]:
    """While the block runs, `requires` asks each question once: for middleware of frameworks that have no gate here."""
    token = _memo.set({})
    try:
        yield
    finally:
        _memo.reset(token)


@dataclass(frozen=True, slots=True)
class FindUser:
    """Finds the user's id in a call's arguments, by the parameter's name."""

    signature: inspect.Signature
    name: str
    position: int | None = field(init=False)
    """None where it is given by keyword only."""

    def __post_init__(self) -> None:
        parameter = self.signature.parameters.get(self.name)
        if parameter is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"there is no parameter {self.name!r}: say user_id=, its name or a function")
        by_keyword = parameter.kind is parameter.KEYWORD_ONLY
        object.__setattr__(self, "position", None if by_keyword else list(self.signature.parameters).index(self.name))

    def __call__(self, *args: object, **kwargs: object) -> UserId:
        if self.name in kwargs:
            return cast(UserId, kwargs[self.name])
        if self.position is not None and self.position < len(args):
            return cast(UserId, args[self.position])
        bound = self.signature.bind(*args, **kwargs)  # raises the TypeError of the call itself
        bound.apply_defaults()
        return cast(UserId, bound.arguments[self.name])


def user_finder(function: Callable[..., object], user_id: str | Callable[..., UserId]) -> Callable[..., UserId]:
    """A function of a call's arguments that tells its user, from a parameter's name or from the app's own function."""
    return user_id if callable(user_id) else FindUser(inspect.signature(function), user_id)


def requires(
    feature: str,
    *,
    client: Client | Callable[[], Client],
    user_id: str | Callable[..., UserId] = "user_id",
    used: Used | None = None,
    upgrade_url: str | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Guard a function, plain or async: a call passes only when its user may use the feature, else it raises Refused.

    `user_id` is the name of the parameter that says who the user is, or a function of all arguments; `client` may be a
    function that returns it, for an app that makes its client later. For a limit, `used` tells how much is gone.

    ```
    @requires("premium_export", client=tollhouse)
    def export(user_id: str, document: Document) -> bytes: ...
    ```
    """
    gate = Gate(feature, used, upgrade_url)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        refuse_what_is_no_plain_call(function, used)
        find = user_finder(function, user_id)

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                await gate.let_pass_async(opened(client), find(*args, **kwargs), memo(), asyncio.to_thread)
                return await function(*args, **kwargs)

            return cast(Callable[P, T], guarded_async)

        if isinstance(client, AsyncTollhouse):
            blocking(client)

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            gate.let_pass(opened_blocking(client), find(*args, **kwargs), memo())
            return function(*args, **kwargs)

        return guarded

    return decorate


def memo() -> Memo:
    """The answers of this request, or of this call alone outside `one_request`."""
    found = _memo.get()
    return {} if found is None else found


def opened(client: Client | Callable[[], Client]) -> Client:
    """The client itself."""
    return client if isinstance(client, Tollhouse | AsyncTollhouse) else client()


def opened_blocking(client: Client | Callable[[], Client]) -> Tollhouse:
    """The client itself, for code that is not async."""
    return blocking(opened(client))


def blocking(client: Client) -> Tollhouse:
    """The client, for code that is not async. Raises ConfigurationError for one that must be awaited."""
    if isinstance(client, AsyncTollhouse):
        raise ConfigurationError("a function that is not async needs a Tollhouse, not an AsyncTollhouse")
    return client
