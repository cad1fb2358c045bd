"""Building a client: where the settings come from, what is refused, and that the key stays secret."""

import asyncio
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse import ApiError, AsyncTollhouse, ConfigurationError, Invalid, Tollhouse, Unauthenticated, Unreachable

Kind = type[Tollhouse] | type[AsyncTollhouse]
both = pytest.mark.parametrize("kind", [Tollhouse, AsyncTollhouse])


@both
def test_the_environment_configures(kind: Kind, service: Any, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both variables set, `Tollhouse()` is all an app writes."""
    monkeypatch.setenv("TOLLHOUSE_URL", service.url)
    monkeypatch.setenv("TOLLHOUSE_API_KEY", key)
    assert repr(kind()) == f"{kind.__name__}('{service.url}')"


@both
@pytest.mark.parametrize("missing", ["TOLLHOUSE_URL", "TOLLHOUSE_API_KEY"])
def test_a_missing_setting_is_named(
    kind: Kind, service: Any, key: str, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """The error says which variable to set."""
    monkeypatch.setenv("TOLLHOUSE_URL", service.url)
    monkeypatch.setenv("TOLLHOUSE_API_KEY", key)
    monkeypatch.setenv(missing, "")
    with pytest.raises(ConfigurationError, match=missing):
        kind()


@both
@pytest.mark.parametrize(
    "url",
    [
        "billing.example.com",
        "ftp://billing.example.com",
        "http://",
        "http://user:pw@host",
        "http://host?key=1",
        "http://host#x",
        "http://host:nan",
    ],
)
def test_a_url_that_cannot_work_is_refused(kind: Kind, key: str, url: str) -> None:
    """A mistyped address fails when the app starts, not at the first sale."""
    with pytest.raises(ConfigurationError, match="URL"):
        kind(url, key)


@both
@pytest.mark.parametrize(
    "secret", ["sk_live_abc123", "tollhouse_abc def", "tollhouse_abc\n", "tollhouse_é", "tollhouse_"]
)
def test_what_is_no_project_key_is_refused_unquoted(kind: Kind, service: Any, secret: str) -> None:
    """Another service's secret is neither sent to Tollhouse nor written into an error."""
    with pytest.raises(ConfigurationError) as raised:
        kind(service.url, secret)
    assert secret.removeprefix("tollhouse_") not in str(raised.value) or secret == "tollhouse_"


@both
@pytest.mark.parametrize(
    "limits", [{"check_timeout": 0}, {"timeout": -1}, {"connect_timeout": 0}, {"retries": -1}], ids=str
)
def test_impossible_limits_are_refused(kind: Kind, service: Any, key: str, limits: Any) -> None:
    """A limit that no call could meet is a mistake in the settings."""
    with pytest.raises(ConfigurationError):
        kind(service.url, key, **limits)


def test_each_limit_bounds_what_it_says(key: str, examples: Any) -> None:
    """Connecting, a check and any other call have separate bounds; connecting never outlasts the call."""
    bounds: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bounds.append(dict(request.extensions["timeout"]))
        name = "snapshot" if request.url.path.endswith("snapshot") else "customer"
        return httpx.Response(200, json=examples[name])

    limits = {"check_timeout": 0.5, "timeout": 7.0, "connect_timeout": 1.5}
    with Tollhouse(
        "http://tollhouse.test", key, **limits, stream=False, transport=httpx.MockTransport(answer)
    ) as client:
        client.check("ada", "premium_export")
        client.customer("ada")
    check, customer = ({step: round(bound, 1) for step, bound in each.items()} for each in bounds)
    assert check == {"connect": 0.5, "read": 0.5, "write": 0.5, "pool": 0.5}
    assert customer == {"connect": 1.5, "read": 7.0, "write": 7.0, "pool": 7.0}


def test_a_service_below_a_path(service: Any, connect: Callable[..., Any], examples: Any) -> None:
    """Tollhouse may live behind a path of a shared host, and ids stay encoded there too."""
    service.answer(examples["snapshot"])
    connect(url=f"{service.url}/tollhouse/").check("a/b", "premium_export")
    assert service.seen[0].path == "/tollhouse/v1/customers/a%2Fb/snapshot"


def test_the_key_is_never_shown(
    service: Any, connect: Callable[..., Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr nor traceback nor the most talkative log holds the key."""
    caplog.set_level(0)
    service.problem(503, "store-unavailable")
    service.problem(401, "unauthenticated")
    client = connect()
    client.check("ada", "premium_export")
    with pytest.raises(Unauthenticated) as raised:
        client.customer("ada")
    assert raised.value.__traceback__ is not None
    ours = raised.value.__traceback__.tb_next  # without this test's own variables
    report = traceback.TracebackException(type(raised.value), raised.value, ours, capture_locals=True)
    shown = "".join(report.format())
    assert "request_id" in shown
    assert service.seen[0].headers["Authorization"].endswith(key)
    assert key not in shown + repr(client) + caplog.text


@pytest.mark.parametrize(
    "error",
    [
        Invalid(422, "url-not-allowed", "No.", "r1", ({"pointer": "/success_url", "detail": "x"},)),
        Unreachable("No.", "r1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: ApiError | Unreachable) -> None:
    """A worker process can hand an error to its parent, complete."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_clients_are_context_managers(service: Any, key: str, examples: Any) -> None:
    """Leaving the block closes the connections; a closed client calls nobody, and a check says what was known."""
    service.answer(examples["snapshot"])
    with Tollhouse(service.url, key, stream=False) as client:
        assert client.check("ada", "premium_export")
    assert client.check("ada", "premium_export")
    assert not client.check("bob", "premium_export")
    with pytest.raises(RuntimeError, match="closed"):
        client.customer("ada")

    async def use() -> None:
        async with AsyncTollhouse(service.url, key, stream=False) as client:
            assert await client.check("ada", "premium_export")
        assert await client.check("ada", "premium_export")
        assert not await client.check("bob", "premium_export")
        with pytest.raises(RuntimeError, match="closed"):
            await client.customer("ada")

    asyncio.run(use())


@both
def test_the_environment_says_that_each_check_asks(
    kind: Kind, service: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test need not change the app to see at once what it did; what the app says itself counts first."""
    monkeypatch.setenv("TOLLHOUSE_POLL_INTERVAL", "0")
    asking, told = kind(service.url, key), kind(service.url, key, stream=True)
    assert (asking._stream, asking._limits.poll) == (False, 0)
    assert (told._stream, told._limits.poll) == (True, 30)
    monkeypatch.setenv("TOLLHOUSE_POLL_INTERVAL", "often")
    with pytest.raises(ConfigurationError, match="TOLLHOUSE_POLL_INTERVAL"):
        kind(service.url, key)
