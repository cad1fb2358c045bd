"""What real processes tell of themselves: metrics that are of all of them, logs with ids, and never a secret."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import stripe

from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.stripe_gateway.transport import operation

CANARY = "canaryx7f3a9c"
BODY = "bodyx51c0e8d2"
CARD = "4000056655665556"
EMAIL = f"{CANARY}@example.com"
SECRETS = {
    "STRIPE_SECRET_KEY": f"sk_test_{CANARY}_stripe_{CANARY}",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}_webhook_0123456789",
    "STRIPE_WEBHOOK_SECRET_PREVIOUS": f"whsec_{CANARY}_previous_0123456789",
    "ADMIN_API_KEY": f"{CANARY}_operator_0123456789",
    "SECRET_KEY": f"{CANARY}_secret_key_0123456789_0123456789",
    "REDIS_URL": f"redis://:{CANARY}_redis@127.0.0.1:9/0",
}
OPERATOR = {"Authorization": f"Bearer {SECRETS['ADMIN_API_KEY']}", "Tollhouse-Operator": "grace"}
PROJECT = {"slug": "pdf-tool", "name": "PDF Tool", "redirect_origins": ["https://app.test"]}


@dataclass
class Served:
    """What served processes said on their way: every answer and everything they logged."""

    http: httpx.Client
    log: Path
    process: "subprocess.Popen[bytes]"
    env: dict[str, str]
    key: str = ""
    answers: list[str] = field(default_factory=list)

    def asked(self, method: str, path: str, **more: Any) -> int:
        """Asks on a connection of its own, as it is accepted by whichever process comes first."""
        headers = {"Connection": "close", **more.pop("headers", {})}
        answer = self.http.request(method, path, headers=headers, **more)
        self.answers.append(f"{answer.headers}{answer.text}")
        return answer.status_code

    def metric(self, sample: str) -> float:
        """A sample as one of the processes tells it, 0 where there is none."""
        text = self.http.get("/metrics", headers={"Connection": "close"}).text
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def served(database_url: str, fmt: str, directory: Path, end: signal.Signals) -> Iterator[Served]:
    """`tollhouse serve` in two processes, with a project whose key is known. Stripe is away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | SECRETS | {
        "DATABASE_URL": database_url.replace("tollhouse@", f"tollhouse:{CANARY}_database@"),
        "STRIPE_API_BASE": "http://127.0.0.1:9", "APP_HOST_PORT": str(port), "SERVER_PROCESSES": "2",
        "LOG_FORMAT": fmt, "LOG_LEVEL": "DEBUG", "LOG_CHECKS_SHARE": "1", "EVENT_MAX_ATTEMPTS": "1",
        "TMPDIR": str(directory),
    }  # fmt: skip
    log = directory / "log"
    command = [sys.executable, "-m", "tollhouse_server.cli"]
    with (
        log.open("ab") as said,
        subprocess.Popen([*command, "serve"], env=env, cwd=directory, stdout=said, stderr=said) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http,
    ):
        service = Served(http, log, process, env)
        try:
            wait_until(lambda: reached(http), log)
            assert service.asked("POST", "/v1/admin/projects", json=PROJECT, headers=OPERATOR) == 201
            issued = http.post("/v1/admin/projects/pdf-tool/keys", json={"name": "test"}, headers=OPERATOR)
            service.key = issued.json()["key"]
            yield service
        finally:
            process.send_signal(end)
            process.wait(20)


@contextlib.contextmanager
def worker_of(service: Served) -> Iterator[None]:
    """`tollhouse work` beside it, with the same log."""
    command = [sys.executable, "-m", "tollhouse_server.cli", "work"]
    with service.log.open("ab") as said, subprocess.Popen(command, env=service.env, stdout=said, stderr=said) as worker:
        try:
            yield
        finally:
            worker.terminate()
            worker.wait(20)


def reached(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/healthz").is_success
    return False


def wait_until(so: Callable[[], object], log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def signed(body: str) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body, SECRETS["STRIPE_WEBHOOK_SECRET"])
    return {"Stripe-Signature": header}


def ask_everything(service: Served, database_url: str) -> None:
    """Success, refusal, garbage, and a bug; Stripe away, the database away."""
    event = json.dumps({"id": "evt_1", "type": "invoice.paid", "data": {"object": {"customer": "cus_1", "name": BODY}}})
    key = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": f"{CANARY}_once"}
    wish = {
        "user_id": "ada", "email": EMAIL, "price": "pdf-tool.pro.monthly", "success_url": "https://app.test/",
        "cancel_url": "https://app.test/",
    }  # fmt: skip
    other = {"slug": "other", "name": f"{CANARY}_name {CARD}", "redirect_origins": []}
    refusal = {"Authorization": f"Bearer {CANARY}_no"}
    assert service.asked("GET", "/v1/customers/ada/entitlements", headers=key) == 200
    assert service.asked("GET", "/v1/admin/projects", headers=OPERATOR) == 200
    assert service.asked("POST", "/v1/stripe/webhook", content=event, headers=signed(event)) == 200
    assert service.asked("GET", "/v1/customers/ada", headers=refusal) == 401
    assert service.asked("GET", "/v1/admin/projects", headers=refusal) == 401
    assert service.asked("POST", "/v1/stripe/webhook", content=event, headers={"Stripe-Signature": "t=1"}) == 400
    assert service.asked("POST", "/v1/checkouts", content=f'{{"email": "{EMAIL}", {CARD}', headers=key) in (400, 415)
    assert service.asked("POST", "/v1/checkouts", json={**wish, "price": CARD, "x": CANARY}, headers=key) == 422
    document = {"project": "pdf-tool", "name": "PDF Tool", "features": {"export": {"name": CANARY}}, "products": {}}
    assert service.asked("PUT", "/v1/admin/projects/pdf-tool/catalog", json=document, headers=OPERATOR) in (
        200,
        422,
        503,
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in ("inbox", "snapshot", "audit", "api_key"):
            connection.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        assert service.asked("POST", "/v1/stripe/webhook", content=event, headers=signed(event)) == 500
        assert service.asked("GET", "/v1/customers/ada", headers=key) == 500
        assert service.asked("POST", "/v1/admin/projects", json=other, headers=OPERATOR) == 500
        for table in ("inbox", "snapshot", "audit", "api_key"):
            connection.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


def without_its_database(service: Served, server: PostgresServer, name: str) -> None:
    key = {"Authorization": f"Bearer {service.key}"}
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[arg-type]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        assert service.asked("GET", "/v1/customers/ada/entitlements", headers=key) == 503
        assert service.asked("GET", "/metrics") == 200
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')  # type: ignore[arg-type]


def assert_nothing_told(service: Served) -> None:
    said, answers = service.log.read_text(), "".join(service.answers)
    assert "a request failed" in said and "UndefinedTable" in said
    for told in (said, answers):
        assert CANARY not in told and BODY not in told
        assert service.key not in told and service.key.rsplit("_", 1)[1] not in told
    assert CARD not in said
    assert "UndefinedTable" not in answers and "Traceback" not in answers


@pytest.mark.timeout(120)
def test_no_secret_is_told_and_two_processes_count_together(
    own_database_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Neither logs, answers, errors nor metrics hold a key, a secret, an address, a card, or what an event said.

    Each line of the log says what it concerns. Both processes answer, and either tells what both did; one that is
    killed is replaced, and what it counted stays. Told to stop, everything ends and nothing is left over.
    """
    with served(own_database_url, "json", tmp_path, signal.SIGTERM) as service, worker_of(service):
        ask_everything(service, own_database_url)
        wait_until(lambda: service.metric('tollhouse_inbox_events{state="buried"}'), service.log)
        assert CANARY not in service.http.get("/v1/admin/events/evt_1", headers=OPERATOR).text
        without_its_database(service, postgres_server, "own")
        sample = 'tollhouse_requests_total{method="GET",route="/v1/catalog",status="401"}'

        def both_asked() -> bool:
            service.asked("GET", "/v1/catalog")
            return len({line["pid"] for line in service.lines() if line.get("route") == "/v1/catalog"}) == 2

        wait_until(both_asked, service.log)

        def asked() -> int:
            return sum(line.get("route") == "/v1/catalog" for line in service.lines())

        # A line is written after its answer has gone out.
        wait_until(lambda: service.metric(sample) == asked(), service.log)
        assert {service.metric(sample) for _ in range(8)} == {asked()}
        killed = next(line["pid"] for line in service.lines() if line.get("route") == "/v1/catalog")
        os.kill(killed, signal.SIGKILL)
        # Killed while its parent waits for an answer, it is found out only when that has waited for 30 s.
        wait_until(
            lambda: sum(line["event"] == "Application startup complete." for line in service.lines()) == 3,
            service.log,
            seconds=60,
        )
        assert service.metric(sample) == asked()
        assert service.metric('tollhouse_dependency_up{dependency="database"}') == 1
        assert list(tmp_path.glob(f"tollhouse-metrics-*/gauge_live*_{killed}.db")) == []
        assert_nothing_told(service)
    assert service.process.returncode == 0
    assert list(tmp_path.glob("tollhouse-metrics-*")) == []
    assert_lines_say_what_they_concern(service)


def assert_lines_say_what_they_concern(service: Served) -> None:
    lines = service.lines()
    assert all({"event", "level", "timestamp", "role", "version", "pid"} <= line.keys() for line in lines)
    answers = "".join(service.answers)
    failed = [line for line in lines if line["event"] == "a request failed"]
    assert len(failed) == 3 and all(line["request_id"] in answers for line in failed)
    [check] = [
        line for line in lines if line.get("route") == "/v1/customers/{user_id}/entitlements" and line["status"] == 200
    ]
    assert check["project"] == "pdf-tool" and check["role"] == "server" and check["milliseconds"] > 0
    [buried] = [line for line in lines if line["event"] == "events buried"]
    assert (buried["role"], buried["subject"], buried["events"]) == ("worker", "cus_1", ["evt_1"])
    arrival = next(line for line in lines if line.get("route") == "/v1/stripe/webhook" and line["status"] == 200)
    assert arrival["events"] == ["evt_1"]


def test_people_are_told_no_secret_either_and_children_end_with_their_parent(
    own_database_url: str, tmp_path: Path
) -> None:
    """The same in the format for people. The parent killed, nobody holds its port for ever."""
    with served(own_database_url, "console", tmp_path, signal.SIGKILL) as service:
        ask_everything(service, own_database_url)
        assert_nothing_told(service)
    port = service.http.base_url.port

    def free() -> bool:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port or 0)):
            return True
        return False

    wait_until(free, service.log)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://api.stripe.com/v1/customers/cus_9?expand=x", "GET /v1/customers/{id}"),
        ("https://api.stripe.com/v1/checkout/sessions/cs_test_1/expire", "GET /v1/checkout/sessions/{id}/expire"),
        ("https://api.stripe.com/v1/products/tollhouse_pdf_pro/features/f", "GET /v1/products/{id}/features/{id}"),
        ("https://api.stripe.com/v1/something_new", "GET /v1/{id}"),
    ],
)
def test_an_id_never_becomes_a_label(url: str, told: str) -> None:
    """Else every customer would be a time series."""
    assert operation("get", url) == told
