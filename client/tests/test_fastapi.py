"""The FastAPI gate, in real apps driven over ASGI, before the in-memory service of tollhouse.testing."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request

from tollhouse import Check, ConfigurationError
from tollhouse.fastapi import Requires, install
from tollhouse.gates import require
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

Fake = FakeTollhouse | AsyncFakeTollhouse
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def named(request: Request) -> str | None:
    return request.headers.get("user")


async def named_later(request: Request) -> str | None:
    return request.headers.get("user")


def current_user_id(user: Annotated[str | None, Header()] = None) -> str:
    """A FastAPI dependency as apps have them: with its own inputs, and its own refusal."""
    if user is None:
        raise HTTPException(403, "who are you?")
    return user


router = APIRouter()


@router.get("/export")
def export(check: Annotated[Check, Depends(Requires("premium_export"))]) -> dict[str, Any]:
    return {"feature": check.feature, "value": check.value}


@router.get("/batch", dependencies=[Depends(Requires("batch", upgrade_url="/pricing?plan=team"))])
def batch() -> str:
    return "done"


@pytest.fixture(params=[FakeTollhouse, AsyncFakeTollhouse])
def fake(request: pytest.FixtureRequest) -> Any:
    return request.param(["premium_export", "batch"])


def app_with(fake: Fake, **options: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    install(app, fake, **{"user_id": named, "upgrade_url": "/pricing", **options})
    return app


def get(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("user_id", [named, named_later])
def test_who_may_passes_and_the_endpoint_gets_the_check(fake: Fake, user_id: Callable[..., Any]) -> None:
    """The Check is there for the endpoint's own use of the value; finding the user may be plain or async."""
    fake.allow("ada", "premium_export")
    answer = get(app_with(fake, user_id=user_id), "/export", user="ada")
    assert (answer.status_code, answer.json()) == (200, {"feature": "premium_export", "value": True})


def test_who_may_not_is_told_where_to_upgrade(fake: Fake) -> None:
    """402 as problem+json with everything a page needs to show an upgrade button."""
    answer = get(app_with(fake), "/export", user="ada")
    assert answer.status_code == 402
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:tollhouse:problem:upgrade-required",
        "title": "This needs an upgrade",
        "status": 402,
        "detail": "Your plan does not include premium_export.",
        "code": "upgrade-required",
        "feature": "premium_export",
        "reason": "no-source",
        "upgrade_url": "/pricing",
    }


def test_an_endpoint_may_have_its_own_upgrade_page(fake: Fake) -> None:
    """The guard's own link wins over the installed one."""
    assert get(app_with(fake), "/batch", user="ada").json()["upgrade_url"] == "/pricing?plan=team"


@pytest.mark.parametrize("nobody", [None, ""])
def test_nobody_signed_in_is_401(fake: Fake, nobody: str | None) -> None:
    """A visitor is asked to sign in, not to pay."""
    answer = get(app_with(fake, user_id=lambda request: nobody), "/export")
    assert (answer.status_code, answer.json()["code"]) == (401, "signed-out")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (BROWSER, 303),
        ("text/html", 303),
        ("application/json", 402),
        ("*/*", 402),
        ("", 402),
        ("text/html;q=0.5, application/json", 402),
        ("text/html;q=often", 402),
    ],
)
def test_browsers_are_sent_to_the_upgrade_page_where_asked_for(fake: Fake, accept: str, status: int) -> None:
    """Only a request that prefers HTML is redirected; caches are told that the answer depends on it."""
    answer = get(app_with(fake, redirect_browsers=True), "/export", user="ada", accept=accept)
    assert answer.status_code == status
    assert answer.headers["vary"] == "Accept"
    assert answer.headers.get("location") == ("/pricing" if status == 303 else None)


def test_browsers_get_402_by_default(fake: Fake) -> None:
    """Redirecting is the app's choice."""
    assert get(app_with(fake), "/export", user="ada", accept=BROWSER).status_code == 402


def test_a_visitor_is_not_redirected_to_pay(fake: Fake) -> None:
    """401 stays 401 in a browser."""
    assert get(app_with(fake, redirect_browsers=True), "/export", accept=BROWSER).status_code == 401


def test_an_outage_is_503_and_opens_nothing(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody gets in unchecked, and the app's log says why the answer was 503."""
    fake.allow("ada", "premium_export")
    fake.reachable = False
    answer = get(app_with(fake), "/export", user="ada")
    assert (answer.status_code, answer.json()["code"]) == (503, "billing-unavailable")
    assert "Tollhouse was asked in vain" in caplog.text


def test_a_dependency_of_the_app_finds_the_user(fake: Fake) -> None:
    """With its own inputs and refusals, run once for guard and endpoint, and numbers are ids too."""
    calls: list[str] = []

    def current_user(user: Annotated[str, Depends(current_user_id)]) -> int:
        calls.append(user)
        return int(user)

    mine = partial(Requires, user_id=current_user)
    app = FastAPI()
    install(app, fake, upgrade_url="/pricing")

    @app.get("/mine", dependencies=[Depends(mine("premium_export"))])
    def endpoint(user: Annotated[int, Depends(current_user)]) -> int:
        return user

    fake.allow("7", "premium_export")
    assert get(app, "/mine", user="7").json() == 7
    assert calls == ["7"]
    assert get(app, "/mine").status_code == 403
    app.dependency_overrides[current_user] = lambda: 8
    assert get(app, "/mine", user="7").status_code == 402


async def three(user_id: str) -> int:
    return len(user_id)


@pytest.mark.parametrize("used", [len, three])
def test_a_limit_is_compared_with_what_is_used(fake: Fake, used: Callable[[str], Any]) -> None:
    """Ada has used three; with four she has one more, with three none. Counting may be plain or async."""
    app = app_with(fake)

    @app.get("/page", dependencies=[Depends(Requires("batch", used=used))])
    def page() -> str:
        return "one more"

    fake.allow("ada", "batch", 4)
    assert get(app, "/page", user="ada").json() == "one more"
    fake.allow("ada", "batch", 3)
    problem = get(app, "/page", user="ada").json()
    assert (problem["code"], problem["used"], problem["limit"]) == ("limit-reached", 3, 3)


def test_one_request_has_one_answer_and_the_next_another(fake: Fake) -> None:
    """However many gates of a router and an endpoint ask; what changes meanwhile is seen by the next request."""

    def closes() -> None:
        fake.deny("ada", "premium_export")

    guarded = APIRouter(dependencies=[Depends(Requires("premium_export")), Depends(closes)])

    @guarded.get("/closing")
    def closing(check: Annotated[Check, Depends(Requires("premium_export"))]) -> bool:
        return check.allowed

    app = app_with(fake)
    app.include_router(guarded)
    fake.allow("ada", "premium_export")
    assert get(app, "/closing", user="ada").json() is True
    assert get(app, "/closing", user="ada").status_code == 402


def test_an_endpoint_may_refuse_by_itself(fake: Fake) -> None:
    """With a Check in hand, `require` answers as the gate does."""
    app = app_with(fake)

    @app.get("/pages")
    async def pages(check: Annotated[Check, Depends(Requires("batch"))], wanted: int) -> int:
        require(check, used=wanted)
        return wanted

    fake.allow("ada", "batch", 10)
    assert get(app, "/pages?wanted=9", user="ada").json() == 9
    answer = get(app, "/pages?wanted=10", user="ada")
    assert (answer.status_code, answer.json()["code"]) == (402, "limit-reached")
    assert answer.json()["upgrade_url"] == "/pricing"


def test_a_mistyped_feature_is_loud(fake: Fake) -> None:
    """A feature that the catalog does not have is a bug of the app: neither allowed nor denied quietly."""
    app = app_with(fake)

    @app.get("/typo", dependencies=[Depends(Requires("premium_exprot"))])
    def typo() -> None: ...

    with pytest.raises(Exception, match="no feature 'premium_exprot'"):
        get(app, "/typo", user="ada")


def test_forgotten_wiring_says_what_to_do(fake: Fake) -> None:
    """Each missing piece is named with the call that adds it."""
    app = FastAPI()
    app.include_router(router)
    with pytest.raises(ConfigurationError, match="install"):
        get(app, "/export", user="ada")
    install(app, fake, upgrade_url="/pricing")
    with pytest.raises(ConfigurationError, match="user_id"):
        get(app, "/export", user="ada")


def test_a_dependency_given_to_install_is_refused(fake: Fake) -> None:
    """install can only call a function of the request; anything else is told where it belongs, at start-up."""

    def needs_more(request: Request, session: Annotated[str, Header()]) -> str:
        return session

    with pytest.raises(ConfigurationError, match="Requires"):
        install(FastAPI(), fake, user_id=needs_more, upgrade_url="/pricing")  # type: ignore[arg-type]


def test_the_guard_shows_in_openapi_without_parameters(fake: Fake) -> None:
    """The guard adds no inputs of its own to an endpoint's description."""
    assert "parameters" not in app_with(fake).openapi()["paths"]["/export"]["get"]
    assert repr(Requires("premium_export")) == "Requires('premium_export')"
