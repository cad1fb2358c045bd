"""How often one caller may call: exact to the request, and nobody pays for a neighbour."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.api.rate_limits import RateLimit
from tollhouse_server.testing import OPERATOR_KEY, ManualClock, RunningService, World

Refused = Callable[..., dict[str, Any]]


class Seconds:
    """A clock in seconds."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_ten_seconds_worth_may_come_at_once_and_then_the_rate() -> None:
    """30 at once at 3 a second; then one each third of a second, and after ten idle seconds 30 again."""
    clock = Seconds()
    limit = RateLimit("reads", 3, clock=clock)
    assert [limit.take("a").left for _ in range(30)] == list(range(29, -1, -1))
    refused = limit.take("a")
    assert (refused.left, round(refused.wait, 6)) == (0, round(1 / 3, 6))
    for _ in range(5):
        clock.now += 1 / 3
        assert limit.take("a").wait == 0
        assert limit.take("a").wait > 0  # what is refused costs nothing: waiting as long as was said is enough
    clock.now += 10
    assert [limit.take("a").wait for _ in range(31)].count(0) == 30


def test_callers_do_not_share() -> None:
    """One that floods is refused; another one is not."""
    limit = RateLimit("reads", 1, clock=Seconds())
    assert [limit.take("loud").wait > 0 for _ in range(12)] == [False] * 10 + [True] * 2
    assert limit.take("quiet").left == 9


def test_memory_is_bounded_and_the_least_lately_seen_is_forgotten() -> None:
    """Whoever is over its limit now is not forgotten before those who are long gone."""
    limit = RateLimit("reads", 1, clock=Seconds(), most_buckets=100)
    for _ in range(11):
        limit.take("loud")
    for number in range(1_000):
        limit.take(f"passing {number}")
        if number % 50 == 0:
            assert limit.take("loud").wait > 0
    assert len(limit._full_again) <= 101


def test_the_headers_are_those_of_the_draft() -> None:
    """A client reads what is left and when all is restored (draft-ietf-httpapi-ratelimit-headers-10)."""
    limit = RateLimit("writes", 0.5, clock=Seconds())
    assert limit.headers(limit.take("a")) == [
        (b"ratelimit-policy", b'"writes";q=5;w=10'),
        (b"ratelimit", b'"writes";r=4;t=2'),
    ]


@pytest.fixture(scope="module")
def strict(world: World, sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    """Another process of the same service, with small limits: 20 reads, 5 changes and 3 refusals at once."""
    limits = {"rate_limit_reads": 2.0, "rate_limit_writes": 0.5, "rate_limit_refusals": 0.3}
    settings = world.service.settings.model_copy(update=limits)
    with (
        RunningService(settings, ManualClock(sandbox.now())) as service,
        httpx.Client(base_url=service.url, trust_env=False, verify=False) as client,
    ):
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Tollhouse-Operator": "grace"}


def test_a_key_over_its_rate_is_told_when_to_come_again(
    world: World, pdf_tool: object, strict: httpx.Client, refused: Refused
) -> None:
    """429 with Retry-After, reads and changes apart; another key of the same project is not concerned."""
    one, other = world.new_key("pdf-tool"), world.new_key("pdf-tool")
    answers = [strict.get("/v1/catalog", headers=bearer(one)) for _ in range(24)]
    assert [answer.status_code for answer in answers[:20]] == [200] * 20
    assert answers[0].headers["RateLimit-Policy"] == '"reads";q=20;w=10'
    assert answers[0].headers["RateLimit"] == '"reads";r=19;t=1'
    limited = answers[-1]
    assert "1 s" in refused(limited, 429, "rate-limited")["detail"]
    assert limited.headers["Retry-After"] == "1" and limited.headers["RateLimit"].startswith('"reads";r=0;t=')
    synced = strict.post("/v1/customers/ada/sync", headers=bearer(one))
    assert synced.status_code == 200 and synced.headers["RateLimit"] == '"writes";r=4;t=2'
    assert strict.get("/v1/catalog", headers=bearer(other)).status_code == 200


def test_only_who_fails_to_authenticate_is_limited_by_address(
    world: World, pdf_tool: object, strict: httpx.Client, refused: Refused
) -> None:
    """From one address: the guesser is told to wait, and a neighbour with a good key goes on. No body counts, either,
    for what comes without any key: health and events are asked by many."""
    key = world.new_key("pdf-tool")
    guesses = [strict.get("/v1/catalog", headers=bearer("tollhouse_guess")) for _ in range(5)]
    assert [answer.status_code for answer in guesses] == [401] * 3 + [429] * 2
    assert int(guesses[-1].headers["Retry-After"]) >= 1
    refused(strict.get("/v1/admin/projects", headers=bearer("nobody")), 429, "rate-limited")
    assert strict.get("/v1/catalog", headers=bearer(key)).status_code == 200
    assert strict.get("/v1/admin/projects", headers=bearer(OPERATOR_KEY)).status_code == 200
    assert strict.get("/healthz").status_code == 200
    assert {strict.post("/v1/stripe/webhook").status_code for _ in range(6)} == {400}
