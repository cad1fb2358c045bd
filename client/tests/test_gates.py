"""What all gates share: plain functions guarded, refusals told apart, and one answer within one request."""

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Any
from uuid import UUID

import pytest

from tollhouse import (
    AsyncTollhouse,
    BillingUnavailable,
    Check,
    ConfigurationError,
    LimitReached,
    Refused,
    SignedOut,
    Tollhouse,
    UpgradeRequired,
    requires,
)
from tollhouse.gates import one_request, require
from tollhouse.refusals import http_answer, prefers_html
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

YES = Check("pages_per_day", True, 10, None, "subscription-active", "sub_1", 3, datetime(2026, 11, 24, tzinfo=UTC))
NO = replace(YES, allowed=False, value=0, reason="no-source", source=None)


@pytest.fixture
def fake() -> FakeTollhouse:
    return FakeTollhouse(["premium_export", "pages_per_day"])


# --- What a check means for a gate ---------------------------------------------------------------------------------


def test_who_may_passes_with_the_check() -> None:
    """The Check comes back, for its value."""
    assert require(YES) is YES
    assert require(YES, used=9) is YES
    assert require(replace(YES, value=inf), used=10**12)


def test_who_may_not_is_to_upgrade() -> None:
    """The refusal carries what a page needs."""
    with pytest.raises(UpgradeRequired) as raised:
        require(NO, used=0, upgrade_url="/pricing")
    refused = raised.value
    assert (refused.feature, refused.reason, refused.upgrade_url) == ("pages_per_day", "no-source", "/pricing")
    assert (refused.status, str(refused)) == (402, "Your plan does not include pages_per_day.")


@pytest.mark.parametrize("used", [10, 10.5, 11])
def test_a_limit_that_is_used_up_is_told_apart(used: float) -> None:
    """It is an upgrade too, with both numbers."""
    with pytest.raises(LimitReached, match=f"includes 10 of pages_per_day; {used:g} are used") as raised:
        require(YES, used=used)
    assert isinstance(raised.value, UpgradeRequired)
    assert raised.value.problem()["limit"] == 10


def test_who_has_used_up_what_everybody_has_may_buy_more() -> None:
    """The free plan's user is known to have no more: 402 with the way to upgrade, and the reason `default`."""
    with pytest.raises(LimitReached) as raised:
        require(replace(YES, reason="default", source="free", version=0), used=10, upgrade_url="/pricing")
    assert (raised.value.problem()["reason"], raised.value.upgrade_url) == ("default", "/pricing")


@pytest.mark.parametrize("reason", ["outage-deny", "unauthenticated"])
def test_who_may_have_paid_is_not_told_to_buy(reason: str) -> None:
    """Where Tollhouse was not asked and the policy denies, the answer is 503, not 402."""
    with pytest.raises(BillingUnavailable) as raised:
        require(replace(NO, reason=reason, freshness="fallback"))
    assert raised.value.status == 503


def test_a_denial_that_is_known_stands_however_old() -> None:
    """While Tollhouse is away it is the best that is known; it could not be bought meanwhile either."""
    with pytest.raises(UpgradeRequired):
        require(replace(NO, freshness="stale"))


def test_an_outage_that_allows_allows_up_to_what_it_says() -> None:
    """Where the policy named a limit, that holds; where nobody knows that it is a limit, there is none."""
    allowed = replace(YES, reason="outage-allow", freshness="fallback")
    assert require(replace(allowed, value=True), used=10**6)
    assert require(replace(allowed, value=20), used=19)
    with pytest.raises(LimitReached):
        require(replace(allowed, value=20), used=20)


def test_mistakes_of_the_app_are_not_refusals() -> None:
    """A feature that is not in the catalog, and a usage of a switch, are for the developer to see."""
    with pytest.raises(ConfigurationError, match="no feature 'pages_per_day'"):
        require(replace(NO, reason="feature-not-found", freshness="fallback"))
    with pytest.raises(ConfigurationError, match="is a switch"):
        require(replace(YES, value=True), used=1)


@pytest.mark.parametrize(
    "refused",
    [
        SignedOut("a"),
        BillingUnavailable("a"),
        UpgradeRequired("a", "no-source", "/pricing"),
        LimitReached("a", "subscription-active", 3, 2),
    ],
)
def test_refusals_travel_between_processes(refused: Refused) -> None:
    """As job queues send them: pickled, or made again from their class and plain arguments."""
    for again in (pickle.loads(pickle.dumps(refused)), type(refused)(*refused.args)):
        assert again.problem() == refused.problem()
    assert all(isinstance(arg, str | int | float | None) for arg in refused.args)


# --- Over HTTP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/problem+json", False),
        ("text/html;q=often", False),
        ("text/html;level=1;q=0.4, */*;q=0.3", True),
    ],
)
def test_a_browser_is_known_by_what_it_accepts(accept: str, html: bool) -> None:
    """It asks for HTML above all; programs do not."""
    assert prefers_html(accept) is html


def test_only_who_lacks_the_feature_is_redirected() -> None:
    """Not a visitor, nor anybody during an outage; and nobody where there is no upgrade page."""
    answer = partial(http_answer, accept="text/html", redirect_browsers=True)
    assert answer(UpgradeRequired("a", "no-source"), upgrade_url="/pricing").headers["Location"] == "/pricing"
    assert answer(LimitReached("a", "x", 1, 1, "/more"), upgrade_url="/pricing").headers["Location"] == "/more"
    assert answer(UpgradeRequired("a", "no-source"), upgrade_url=None).status == 402
    assert answer(SignedOut("a"), upgrade_url="/pricing").status == 401
    assert answer(BillingUnavailable("a"), upgrade_url="/pricing").status == 503


# --- Plain functions -----------------------------------------------------------------------------------------------


def blocking(fake: FakeTollhouse, **options: Any) -> Callable[..., Any]:
    @requires("premium_export", client=fake, **options)
    def export(document: str, user_id: object = "eve", *, copies: int = 1) -> str:
        """Export it."""
        return document * copies

    return export


def awaited(fake: FakeTollhouse | AsyncFakeTollhouse, **options: Any) -> Callable[..., Any]:
    @requires("premium_export", client=fake, **options)
    async def export(document: str, user_id: object = "eve", *, copies: int = 1) -> str:
        """Export it."""
        return document * copies

    return lambda *args, **kwargs: asyncio.run(export(*args, **kwargs))


@pytest.mark.parametrize("make", [blocking, awaited])
def test_a_function_is_called_only_for_who_may(fake: FakeTollhouse, make: Callable[..., Any]) -> None:
    """However its user is handed over: by position, by keyword, by default."""
    export = make(fake)
    fake.allow("ada", "premium_export")
    assert export("page", "ada") == "page"
    assert export("page", user_id="ada", copies=2) == "pagepage"
    for refused in (("page", "bob"), ("page",)):
        with pytest.raises(UpgradeRequired):
            export(*refused)
    fake.allow("eve", "premium_export")
    assert export("page") == "page"


def test_async_functions_take_either_client(fake: FakeTollhouse) -> None:
    """An AsyncTollhouse is awaited, a Tollhouse asked in a thread."""
    other = AsyncFakeTollhouse()
    other.allow("ada", "premium_export")
    assert awaited(other)("page", "ada") == "page"
    fake.allow("ada", "premium_export")
    assert awaited(fake)("page", "ada") == "page"


def test_a_call_that_does_not_fit_is_the_calls_own_error(fake: FakeTollhouse) -> None:
    """Python's TypeError, not a refusal; and the function keeps its name and text."""

    @requires("premium_export", client=fake)
    def export(user_id: str) -> str:
        """Export it."""
        return user_id

    with pytest.raises(TypeError, match="user_id"):
        export()  # type: ignore[call-arg]
    assert (export.__name__, export.__doc__) == ("export", "Export it.")


@pytest.mark.parametrize("user_id", [7, UUID(int=7), "7"])
def test_ids_of_other_types_are_told_as_text(fake: FakeTollhouse, user_id: object) -> None:
    """Whatever an app's ids are, Tollhouse knows them as text."""
    fake.allow(str(user_id), "premium_export")
    assert blocking(fake)("page", user_id) == "page"


@pytest.mark.parametrize("make", [blocking, awaited])
@pytest.mark.parametrize("nobody", [None, ""])
def test_nobody_is_signed_out(fake: FakeTollhouse, make: Callable[..., Any], nobody: str | None) -> None:
    """An id that is missing is not asked about."""
    with pytest.raises(SignedOut):
        make(fake)("page", nobody)


def test_the_user_may_be_found_by_a_function_of_the_arguments(fake: FakeTollhouse) -> None:
    """For a method, the object comes first."""

    class Exporter:
        def __init__(self, owner: str) -> None:
            self.owner = owner

        @requires("premium_export", client=fake, user_id=lambda exporter, pages: exporter.owner)
        def run(self, pages: int) -> int:
            return pages

    fake.allow("ada", "premium_export")
    assert Exporter("ada").run(3) == 3
    with pytest.raises(UpgradeRequired):
        Exporter("bob").run(3)


async def three(user_id: str) -> int:
    return 3


@pytest.mark.parametrize(("make", "used"), [(blocking, len), (awaited, len), (awaited, three)])
def test_a_limit_is_compared_with_what_is_used(fake: FakeTollhouse, make: Callable[..., Any], used: Any) -> None:
    """`used` is told the user's id, is plain or async as the function, and is not asked about who may not at all."""

    @requires("pages_per_day", client=fake, used=used)
    async def render_later(user_id: str) -> str:
        return "page"

    @requires("pages_per_day", client=fake, used=len)
    def render(user_id: str) -> str:
        return "page"

    call = render if make is blocking else lambda user_id: asyncio.run(render_later(user_id))
    with pytest.raises(UpgradeRequired) as raised:
        call("ada")
    assert not isinstance(raised.value, LimitReached)
    fake.allow("ada", "pages_per_day", 3)
    with pytest.raises(LimitReached):
        call("ada")
    fake.allow("ada", "pages_per_day", 4)
    assert call("ada") == "page"


def test_an_outage_is_told_as_one(fake: FakeTollhouse) -> None:
    """Nobody who may have paid is told to buy."""
    fake.reachable = False
    for make in (blocking, awaited):
        with pytest.raises(BillingUnavailable):
            make(fake)("page", "ada")


def test_a_client_may_be_made_later(fake: FakeTollhouse) -> None:
    """A function that returns the client is called at each call, so that a test can put a fake there."""
    clients: list[Tollhouse] = []
    export = requires("premium_export", client=lambda: clients[-1])(lambda user_id: "page")
    clients.append(fake)
    with pytest.raises(UpgradeRequired):
        export("ada")
    clients.append(FakeTollhouse())
    clients[-1].allow("ada", "premium_export")  # type: ignore[attr-defined]
    assert export("ada") == "page"


def test_one_request_has_one_answer(fake: FakeTollhouse) -> None:
    """Inside the block the first answer stands, for both kinds of function; after it, and outside, each call asks."""
    plain, later = blocking(fake), requires("premium_export", client=fake)(_later)

    async def story() -> None:
        fake.allow("ada", "premium_export")
        with one_request():
            assert plain("page", "ada") == "page"
            fake.deny("ada", "premium_export")
            assert plain("page", "ada") == "page"
            assert await asyncio.gather(later("ada"), later("ada")) == ["ada", "ada"]
            with pytest.raises(UpgradeRequired):
                plain("page", "bob")
        with pytest.raises(UpgradeRequired):
            plain("page", "ada")

    asyncio.run(story())


async def _later(user_id: str) -> str:
    return user_id


def generator(user_id: str) -> Any:
    yield user_id


async def async_generator(user_id: str) -> Any:
    yield user_id


class Thing:
    def __init__(self, user_id: str) -> None: ...


@pytest.mark.parametrize(
    ("guarded", "message"),
    [
        (generator, "generator is a generator"),
        (async_generator, "async_generator is a generator"),
        (Thing, "guards functions"),
        (staticmethod(generator), "below @classmethod or @staticmethod"),
        (lambda user: user, "no parameter 'user_id'"),
        (lambda *user_id: user_id, "no parameter 'user_id'"),
    ],
)
def test_what_cannot_be_guarded_is_told_at_once(fake: FakeTollhouse, guarded: Any, message: str) -> None:
    """When it is decorated, not when somebody should have been refused."""
    with pytest.raises(ConfigurationError, match=message):
        requires("premium_export", client=fake)(guarded)


def test_a_plain_function_cannot_wait(fake: FakeTollhouse) -> None:
    """An AsyncTollhouse, or an async `used`, before a function that is not async is told with what to do."""
    client: AsyncTollhouse = AsyncFakeTollhouse()
    with pytest.raises(ConfigurationError, match="needs a Tollhouse"):
        requires("premium_export", client=client)(lambda user_id: user_id)
    with pytest.raises(ConfigurationError, match="needs a Tollhouse"):
        requires("premium_export", client=lambda: client)(lambda user_id: user_id)("ada")
    with pytest.raises(ConfigurationError, match="used="):
        requires("premium_export", client=fake, used=three)(lambda user_id: user_id)
