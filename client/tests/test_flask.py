"""The Flask gate, in real apps behind Flask's own test client."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, render_template_string, request, url_for
from werkzeug.test import TestResponse

from tollhouse import AsyncTollhouse, ConfigurationError
from tollhouse.flask import TollhouseFlask, check, requires
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def named() -> str | None:
    return request.headers.get("User")


def counted(user_id: str) -> int:
    return len(user_id)


async def counted_later(user_id: str) -> int:
    return len(user_id)


pages = Blueprint("pages", __name__)


@pages.route("/export")
@requires("premium_export")
def export() -> dict[str, object]:
    return {"value": check("premium_export").value}


@pages.route("/later")
@requires("premium_export")
async def later() -> str:
    return "exported"


@pages.route("/batch")
@requires("batch", upgrade_url="/pricing?plan=team")
def batch() -> str:
    return "done"


@pages.route("/page")
@requires("pages_per_day", used=counted)
def page() -> str:
    return "one more"


@pages.route("/page-later")
@requires("pages_per_day", used=counted_later)
async def page_later() -> str:
    return "one more"


@pages.route("/account")
def account() -> str:
    template = '{% if allowed("premium_export") %}yes{% else %}no{% endif %} {{ allowed("pages_per_day").value }}'
    return render_template_string(template)


@pytest.fixture
def fake() -> FakeTollhouse:
    return FakeTollhouse(["premium_export", "batch", "pages_per_day"])


def app_with(fake: FakeTollhouse, **options: Any) -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.register_blueprint(pages)
    TollhouseFlask(app, fake, **{"user_id": named, "upgrade_url": "/pricing", **options})
    return app


def get(app: Flask, path: str, **headers: str) -> TestResponse:
    return app.test_client().get(path, headers=headers)


@pytest.mark.parametrize("path", ["/export", "/later"])
def test_who_may_passes(fake: FakeTollhouse, path: str) -> None:
    """Views may be plain or async, and of a blueprint."""
    fake.allow("ada", "premium_export")
    assert get(app_with(fake), path, User="ada").status_code == 200


@pytest.mark.parametrize("path", ["/export", "/later"])
def test_who_may_not_is_told_where_to_upgrade(fake: FakeTollhouse, path: str) -> None:
    """402 as problem+json with everything a page needs to show an upgrade button."""
    answer = get(app_with(fake), path, User="ada")
    assert (answer.status_code, answer.content_type) == (402, "application/problem+json")
    assert answer.json == {
        "type": "urn:tollhouse:problem:upgrade-required",
        "title": "This needs an upgrade",
        "status": 402,
        "detail": "Your plan does not include premium_export.",
        "code": "upgrade-required",
        "feature": "premium_export",
        "reason": "no-source",
        "upgrade_url": "/pricing",
    }


def test_a_view_may_have_its_own_upgrade_page(fake: FakeTollhouse) -> None:
    """The gate's own link wins over the app's."""
    assert get(app_with(fake), "/batch", User="ada").json["upgrade_url"] == "/pricing?plan=team"  # type: ignore[index]


def test_the_upgrade_page_may_be_found_by_the_app(fake: FakeTollhouse) -> None:
    """A function can build the URL, which the app knows only in a request."""
    app = app_with(fake, upgrade_url=lambda: url_for("pages.account", _external=True))
    assert get(app, "/export", User="ada").json["upgrade_url"] == "http://localhost/account"  # type: ignore[index]


@pytest.mark.parametrize("path", ["/export", "/later"])
def test_nobody_signed_in_is_401(fake: FakeTollhouse, path: str) -> None:
    """A visitor is asked to sign in, not to pay."""
    answer = get(app_with(fake, redirect_browsers=True), path, Accept=BROWSER)
    assert (answer.status_code, answer.json["code"]) == (401, "signed-out")  # type: ignore[index]


@pytest.mark.parametrize(("accept", "status"), [(BROWSER, 303), ("application/json", 402)])
def test_browsers_are_sent_to_the_upgrade_page_where_asked_for(fake: FakeTollhouse, accept: str, status: int) -> None:
    """Programs are not; caches are told that the answer depends on Accept."""
    answer = get(app_with(fake, redirect_browsers=True), "/export", User="ada", Accept=accept)
    assert (answer.status_code, answer.headers["Vary"]) == (status, "Accept")
    assert answer.headers.get("Location") == ("/pricing" if status == 303 else None)


@pytest.mark.parametrize("path", ["/page", "/page-later"])
def test_a_limit_is_compared_with_what_is_used(fake: FakeTollhouse, path: str) -> None:
    """Ada has used three; with four she has one more, with three none."""
    app = app_with(fake)
    fake.allow("ada", "pages_per_day", 4)
    assert get(app, path, User="ada").status_code == 200
    fake.allow("ada", "pages_per_day", 3)
    refused = get(app, path, User="ada")
    assert refused.status_code == 402
    assert refused.json["code"] == "limit-reached"  # type: ignore[index]
    assert (refused.json["used"], refused.json["limit"]) == (3, 3)  # type: ignore[index]


def test_an_outage_is_503_and_opens_nothing(fake: FakeTollhouse) -> None:
    """Nobody gets in unchecked, and nobody is told to buy what they may have."""
    fake.reachable = False
    answer = get(app_with(fake, redirect_browsers=True), "/export", User="ada", Accept=BROWSER)
    assert (answer.status_code, answer.json["code"]) == (503, "billing-unavailable")  # type: ignore[index]


def test_templates_ask_too(fake: FakeTollhouse) -> None:
    """`allowed` is a Check: a condition, and a value to show. A visitor is allowed nothing."""
    fake.allow("ada", "premium_export")
    fake.allow("ada", "pages_per_day", 20)
    assert get(app_with(fake), "/account", User="ada").text == "yes 20"
    assert get(app_with(fake), "/account").text == "no False"


@pytest.mark.parametrize("context", [False, True])
def test_one_request_has_one_answer_and_the_next_another(fake: FakeTollhouse, context: bool) -> None:
    """What changes while a request runs is seen by the next one, also under an app context that a test keeps open."""
    app = app_with(fake)

    @app.get("/changing")
    @requires("premium_export")
    def changing() -> list[bool]:
        fake.deny("ada", "premium_export")
        return [bool(check("premium_export"))]

    def story() -> None:
        fake.allow("ada", "premium_export")
        assert get(app, "/changing", User="ada").json == [True]
        assert get(app, "/changing", User="ada").status_code == 402

    if context:
        with app.app_context():
            story()
    else:
        story()


def test_requests_at_once_have_their_own_answers(fake: FakeTollhouse) -> None:
    """Threads do not share what they remember."""
    app = app_with(fake)
    fake.allow("ada", "premium_export")
    seen: dict[str, int] = {}

    def ask(user: str) -> None:
        seen[user] = get(app, "/export", User=user).status_code

    threads = [threading.Thread(target=ask, args=(user,)) for user in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"ada": 200, "bob": 402}


def test_one_extension_serves_several_apps(fake: FakeTollhouse) -> None:
    """init_app gives each app its own client, as Flask's factories want it."""
    extension = TollhouseFlask(user_id=named, upgrade_url="/pricing")
    other = FakeTollhouse()
    other.allow("ada", "premium_export")
    answers = []
    for client in (fake, other):
        app = Flask(__name__)
        app.register_blueprint(pages)
        extension.init_app(app, client)
        answers.append(get(app, "/export", User="ada").status_code)
    assert answers == [402, 200]


def test_the_client_comes_from_the_environment_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """TOLLHOUSE_URL and TOLLHOUSE_API_KEY, read when the app is built."""
    monkeypatch.delenv("TOLLHOUSE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="TOLLHOUSE_URL"):
        TollhouseFlask(Flask(__name__), user_id=named, upgrade_url="/pricing")


def test_forgotten_wiring_says_what_to_do(fake: FakeTollhouse) -> None:
    """No extension, a client of the wrong kind, a view that is no function: each is named."""
    app = Flask(__name__)
    app.testing = True
    app.register_blueprint(pages)
    with pytest.raises(ConfigurationError, match="TollhouseFlask"):
        get(app, "/export", User="ada")
    client: AsyncTollhouse = AsyncFakeTollhouse()
    with pytest.raises(ConfigurationError, match="not an AsyncTollhouse"):
        TollhouseFlask(app, client, user_id=named, upgrade_url="/pricing")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="generator"):

        @requires("premium_export")
        def stream() -> Any:
            yield "line"


def test_a_mistyped_feature_is_loud(fake: FakeTollhouse) -> None:
    """A feature that the catalog does not have is a bug of the app: neither allowed nor denied quietly."""
    app = app_with(fake)
    view: Callable[[], str] = requires("premium_exprot")(lambda: "never")
    app.add_url_rule("/typo", view_func=view, endpoint="typo")
    with pytest.raises(Exception, match="feature"):
        get(app, "/typo", User="ada")
