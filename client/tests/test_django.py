"""The Django gate, behind Django's own test clients; the user is found as the ORM would be used, in Django's thread."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.asyncio import async_unsafe
from django.utils.functional import SimpleLazyObject
from django.views import View

from tollhouse import ConfigurationError, Tollhouse
from tollhouse.gates import require
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class Users:
    """Django's own user as its middleware leaves it: found when first looked at, which an event loop may not do."""

    sync_capable = async_capable = True

    def __new__(cls, get_response: Callable[..., Any]) -> Any:
        if asyncio.iscoroutinefunction(get_response):

            async def middleware(request: HttpRequest) -> Any:
                request.user = SimpleLazyObject(lambda: _user(request))
                return await get_response(request)

            from asgiref.sync import markcoroutinefunction

            return markcoroutinefunction(middleware)

        def plain(request: HttpRequest) -> Any:
            request.user = SimpleLazyObject(lambda: _user(request))
            return get_response(request)

        return plain


@async_unsafe
def _user(request: HttpRequest) -> Any:
    name = request.headers.get("User")
    return SimpleNamespace(pk=name, is_authenticated=name is not None)


if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=["tollhouse.django"],
        LOGIN_URL="/login",
        MIDDLEWARE=[f"{__name__}.Users"],
        SECRET_KEY="test",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "tollhouse.django.context_processors.allowed",
                    ]
                },
            }
        ],
        TOLLHOUSE={"UPGRADE_URL": "pricing"},
        USE_TZ=True,
    )
    django.setup()

# Their module is imported once Django has its settings.
from tollhouse.django import FeatureRequiredMixin, acheck, check, requires  # noqa: E402
from tollhouse.django.installed import installed  # noqa: E402


@async_unsafe
def counted(user_id: str) -> int:
    return len(user_id)


async def counted_later(user_id: str) -> int:
    return len(user_id)


@requires("premium_export")
def export(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(check(request, "premium_export").value))


@requires("premium_export")
async def export_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str((await acheck(request, "premium_export")).value))


@requires("batch", upgrade_url="/pricing?plan=team")
def batch(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


@requires("pages_per_day", used=counted)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("one more")


@requires("pages_per_day", used=counted)
async def page_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse("one more")


@requires("pages_per_day", used=counted_later)
async def page_much_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse("one more")


@requires("pages_per_day")
def by_hand(request: HttpRequest) -> HttpResponse:
    require(check(request, "pages_per_day"), used=3)
    return HttpResponse("one more")


class ExportView(FeatureRequiredMixin, View):  # type: ignore[misc]
    required_feature = "premium_export"

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("exported")


class PageView(FeatureRequiredMixin, View):  # type: ignore[misc]
    required_feature = "pages_per_day"
    upgrade_url = "/more"

    def used(self, user_id: str) -> int:
        return len(user_id) + int(self.request.GET.get("pages", 0))

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("one more")


class Forgetful(FeatureRequiredMixin, View):  # type: ignore[misc]
    pass


def account(request: HttpRequest) -> HttpResponse:
    template = """
        {% load tollhouse %}{% allowed "premium_export" as export %}{% if export %}yes{% else %}no{% endif %}
        {% if allowed.premium_export %}yes{% else %}no{% endif %} {{ allowed.pages_per_day.value }}
    """
    return HttpResponse(" ".join(engines["django"].from_string(template).render({}, request).split()))


class Urls:
    urlpatterns = (
        path("export", export),
        path("export-later", export_later),
        path("batch", batch),
        path("page", page),
        path("page-later", page_later),
        path("page-much-later", page_much_later),
        path("by-hand", by_hand),
        path("class", ExportView.as_view()),
        path("class-later", PageView.as_view()),
        path("forgetful", Forgetful.as_view()),
        path("account", account),
        path("plans", account, name="pricing"),
    )


@pytest.fixture
def fake() -> FakeTollhouse:
    return FakeTollhouse(["premium_export", "batch", "pages_per_day"])


def get(fake: FakeTollhouse, where: str, headers: dict[str, str] | None = None, **told: Any) -> Any:
    """The answer to a synchronous server and to an asynchronous one, which must be the same."""
    with override_settings(ROOT_URLCONF=Urls, TOLLHOUSE={"UPGRADE_URL": "pricing", "CLIENT": fake, **told}):
        answer = Client().get(where, headers=headers)
        later = asyncio.run(AsyncClient().get(where, headers=headers))  # type: ignore[arg-type]
    assert (answer.status_code, answer.content) == (later.status_code, later.content)
    assert answer.headers == later.headers
    return answer


@pytest.mark.parametrize("where", ["/export", "/export-later", "/class"])
def test_who_may_passes(fake: FakeTollhouse, where: str) -> None:
    """Views may be plain, async or classes."""
    fake.allow("ada", "premium_export")
    assert get(fake, where, {"User": "ada"}).status_code == 200


@pytest.mark.parametrize("where", ["/export", "/export-later", "/class"])
def test_who_may_not_is_told_where_to_upgrade(fake: FakeTollhouse, where: str) -> None:
    """402 as problem+json; the name of a view became its URL."""
    answer = get(fake, where, {"User": "ada"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (402, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["feature"], problem["reason"]) == (
        "upgrade-required",
        "premium_export",
        "no-source",
    )
    assert problem["upgrade_url"] == "/plans"


def test_a_view_may_have_its_own_upgrade_page(fake: FakeTollhouse) -> None:
    """The gate's own link wins over the settings'."""
    assert get(fake, "/batch", {"User": "ada"}).json()["upgrade_url"] == "/pricing?plan=team"
    assert get(fake, "/class-later", {"User": "ada"}).json()["upgrade_url"] == "/more"


@pytest.mark.parametrize("where", ["/export", "/export-later", "/class"])
def test_a_visitor_signs_in_first(fake: FakeTollhouse, where: str) -> None:
    """401 for a program; a browser is sent to Django's own page, if redirecting is wanted, and comes back."""
    assert (get(fake, where).status_code, get(fake, where).json()["code"]) == (401, "signed-out")
    answer = get(fake, where + "?page=2", {"Accept": BROWSER}, REDIRECT_BROWSERS=True)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/login?next={where.replace('/', '%2F')}%3Fpage%3D2"
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize(("accept", "status"), [(BROWSER, 303), ("application/json", 402)])
def test_browsers_are_sent_to_the_upgrade_page_where_asked_for(fake: FakeTollhouse, accept: str, status: int) -> None:
    """Programs are not; caches are told that the answer depends on Accept."""
    answer = get(fake, "/export", {"User": "ada", "Accept": accept}, REDIRECT_BROWSERS=True)
    assert (answer.status_code, answer.headers["Vary"]) == (status, "Accept")
    assert answer.headers.get("Location") == ("/plans" if status == 303 else None)


@pytest.mark.parametrize("where", ["/page", "/page-later", "/page-much-later", "/class-later", "/by-hand"])
def test_a_limit_is_compared_with_what_is_used(fake: FakeTollhouse, where: str) -> None:
    """Ada has used three; with four she has one more, with three none. Counting may use the database."""
    fake.allow("ada", "pages_per_day", 4)
    assert get(fake, where, {"User": "ada"}).status_code == 200
    fake.allow("ada", "pages_per_day", 3)
    problem = get(fake, where, {"User": "ada"}).json()
    assert (problem["code"], problem["used"], problem["limit"]) == ("limit-reached", 3, 3)


def test_a_class_counts_with_its_request(fake: FakeTollhouse) -> None:
    """`used` is a method: the request and its arguments are there."""
    fake.allow("ada", "pages_per_day", 4)
    assert get(fake, "/class-later?pages=1", {"User": "ada"}).json()["used"] == 4


@pytest.mark.parametrize("where", ["/export", "/export-later"])
def test_an_outage_is_503_and_opens_nothing(fake: FakeTollhouse, where: str) -> None:
    """Nobody gets in unchecked, and nobody is told to buy what they may have."""
    fake.reachable = False
    answer = get(fake, where, {"User": "ada", "Accept": BROWSER}, REDIRECT_BROWSERS=True)
    assert (answer.status_code, answer.json()["code"]) == (503, "billing-unavailable")


def test_templates_ask_too(fake: FakeTollhouse) -> None:
    """By tag and by context processor; each is a Check: a condition, and a value to show. A visitor has nothing."""
    fake.allow("ada", "premium_export")
    fake.allow("ada", "pages_per_day", 20)
    with override_settings(ROOT_URLCONF=Urls, TOLLHOUSE={"UPGRADE_URL": "pricing", "CLIENT": fake}):
        assert Client().get("/account", headers={"User": "ada"}).content == b"yes yes 20"
        assert Client().get("/account").content == b"no no False"
        with pytest.raises(ImproperlyConfigured, match=r"context_processors\.request"):
            engines["django"].from_string('{% load tollhouse %}{% allowed "a" as a %}').render({})
        with pytest.raises(TypeError, match="name a feature"):
            engines["django"].from_string("{% for one in allowed %}{% endfor %}").render({}, RequestFactory().get("/"))


def test_one_request_has_one_answer_and_the_next_another(fake: FakeTollhouse) -> None:
    """What changes while a request runs is seen by the next one."""

    @requires("premium_export")
    def changing(request: HttpRequest) -> HttpResponse:
        fake.deny("ada", "premium_export")
        return HttpResponse(str(bool(check(request, "premium_export"))))

    class Here:
        urlpatterns = (path("", changing),)

    fake.allow("ada", "premium_export")
    with override_settings(ROOT_URLCONF=Here, TOLLHOUSE={"UPGRADE_URL": "/pricing", "CLIENT": fake}):
        assert Client().get("/", headers={"User": "ada"}).content == b"True"
        assert Client().get("/", headers={"User": "ada"}).status_code == 402


async def found_later(request: HttpRequest) -> str | None:
    return request.headers.get("User")


def test_the_app_may_find_its_user_itself(fake: FakeTollhouse) -> None:
    """By a function of the request or the path to one; an async one is for async views."""
    fake.allow("eve", "premium_export")
    assert get(fake, "/export", USER_ID=lambda request: "eve").status_code == 200
    assert get(fake, "/export-later", USER_ID=f"{__name__}.eve").status_code == 200
    fake.allow("ada", "premium_export")
    assert get(fake, "/export-later", {"User": "ada"}, USER_ID=found_later).status_code == 200


def eve(request: HttpRequest) -> str:
    return "eve"


@pytest.mark.parametrize("where", ["/export", "/account"])
def test_an_async_finder_before_a_plain_view_is_told(fake: FakeTollhouse, where: str) -> None:
    """Rather than that every coroutine is somebody."""
    with pytest.raises(ImproperlyConfigured, match="async"):
        get(fake, where, USER_ID=found_later)


def made_here() -> FakeTollhouse:
    fake = FakeTollhouse()
    fake.allow("ada", "premium_export")
    return fake


def test_the_client_may_be_made_by_the_app_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when first needed: by the app's function, of the settings, or of the environment."""
    assert get(f"{__name__}.made_here", "/export", {"User": "ada"}).status_code == 200  # type: ignore[arg-type]
    with override_settings(TOLLHOUSE={"UPGRADE_URL": "/", "URL": "http://t.test", "API_KEY": "tollhouse_x"}):
        client = installed().client
        assert isinstance(client, Tollhouse)
        assert client is installed().client
        client.close()
    monkeypatch.delenv("TOLLHOUSE_URL", raising=False)
    with override_settings(TOLLHOUSE={"UPGRADE_URL": "/"}), pytest.raises(ConfigurationError, match="TOLLHOUSE_URL"):
        _ = installed().client
    with (
        override_settings(TOLLHOUSE={"UPGRADE_URL": "/", "CLIENT": AsyncFakeTollhouse}),
        pytest.raises(ConfigurationError, match="not an AsyncTollhouse"),
    ):
        _ = installed().client


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, "TOLLHOUSE['UPGRADE_URL'] is missing"),
        ({"UPGRADE_URL": "/", "UPGRADE": "/"}, "TOLLHOUSE knows no UPGRADE; it knows UPGRADE_URL, USER_ID"),
        ({"UPGRADE_URL": "/", "USER_ID": "nowhere.at_all"}, "TOLLHOUSE['USER_ID']: No module named 'nowhere'"),
    ],
)
def test_wrong_settings_are_told_when_django_starts(told: dict[str, Any], fault: str) -> None:
    """`manage.py check`, and so every start, names the fault."""
    assert run_checks() == []
    with override_settings(TOLLHOUSE=told):
        (error,) = run_checks()
    assert error.id == "tollhouse.E001"
    assert error.msg.startswith(fault)


def test_a_class_that_forgot_its_feature_is_told(fake: FakeTollhouse) -> None:
    """Not open to everybody."""
    with pytest.raises(ImproperlyConfigured, match="Forgetful needs required_feature"):
        get(fake, "/forgetful", {"User": "ada"})


def test_a_generator_is_no_view() -> None:
    """It would begin too late."""
    with pytest.raises(ConfigurationError, match="generator"):

        @requires("premium_export")
        def stream(request: HttpRequest) -> Any:
            yield "line"


def test_the_how_to_page(fake: FakeTollhouse, own_environment: None, listings: Callable[[str], list[str]]) -> None:
    """Its settings and its views, pasted: they refuse who has not paid, and let in who has."""
    told, written = listings("add-to-a-django-app.md")
    page: dict[str, Any] = {"__name__": "page"}
    exec(told, page)
    assert page["INSTALLED_APPS"] == settings.INSTALLED_APPS
    exec(written, page)

    class Here:
        urlpatterns = (
            path("export", page["export"]),
            path("pages", page["Pages"].as_view()),
            path("upgrade", page["upgrade"], name="upgrade"),
        )

    with override_settings(ROOT_URLCONF=Here, TOLLHOUSE={**page["TOLLHOUSE"], "CLIENT": fake}):
        ada = Client(headers={"User": "ada", "Accept": BROWSER})
        assert ada.get("/export").headers["Location"] == "/upgrade"
        fake.allow("ada", "premium_export")
        assert ada.get("/export").content == b"your file"
        assert ada.get("/pages").status_code == 303
    page["tollhouse"].close()
