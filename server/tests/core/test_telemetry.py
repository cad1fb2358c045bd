"""Logs can be read by machines and tell no secret."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import stripe

from tollhouse_sandbox.testing import RunningSandbox

CANARY = "canaryx7f3a9c"
SECRETS = {
    "STRIPE_SECRET_KEY": f"sk_test_{CANARY}_stripe",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}_webhook_0123456789",
    "ADMIN_API_KEY": f"{CANARY}_operator_0123456789",
}
OPERATOR = {"Authorization": f"Bearer {SECRETS['ADMIN_API_KEY']}", "Tollhouse-Operator": "grace"}


@dataclass
class Served:
    """What a served process said on its way: every answer and everything it logged."""

    http: httpx.Client
    key: str
    answers: str = ""

    def asked(self, method: str, path: str, **more: object) -> int:
        answer = self.http.request(method, path, **more)  # type: ignore[arg-type]
        self.answers += f"{answer.headers}{answer.text}"
        return answer.status_code


@contextlib.contextmanager
def served(database_url: str, sandbox: RunningSandbox, fmt: str, log: Path) -> Iterator[Served]:
    """`tollhouse serve` as a real process, with a project whose key is known; its standard error goes to `log`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | SECRETS | {
        "DATABASE_URL": database_url, "STRIPE_API_BASE": sandbox.url, "APP_HOST_PORT": str(port), "LOG_FORMAT": fmt,
        "LOG_LEVEL": "DEBUG", "REDIS_URL": f"redis://:{CANARY}_redis@127.0.0.1:9/0",
    }  # fmt: skip
    command = [sys.executable, "-m", "tollhouse_server.cli", "serve"]
    with (
        log.open("wb") as said,
        subprocess.Popen(command, env=env, cwd=log.parent, stdout=said, stderr=said) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http,
    ):
        try:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    http.get("/healthz")
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            assert http.post("/v1/admin/projects", json=PROJECT, headers=OPERATOR).status_code == 201
            issued = http.post("/v1/admin/projects/pdf-tool/keys", json={"name": "test"}, headers=OPERATOR)
            yield Served(http, issued.json()["key"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


PROJECT = {"slug": "pdf-tool", "name": "PDF Tool", "redirect_origins": ["https://app.test"]}


def signed(body: str) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body, SECRETS["STRIPE_WEBHOOK_SECRET"])
    return {"Stripe-Signature": header}


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_and_no_body_is_told(
    own_database_url: str, sandbox: RunningSandbox, tmp_path: Path, fmt: str
) -> None:
    """Neither logs nor answers hold a key, a secret or what an event said: in success, refusal and bug alike."""
    log = tmp_path / "log"
    event = json.dumps(
        {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"customer": "cus_1", "name": f"{CANARY}_body"}}}
    )
    with served(own_database_url, sandbox, fmt, log) as service:
        key = {"Authorization": f"Bearer {service.key}"}
        assert service.asked("GET", "/v1/customers/ada/entitlements", headers=key) == 200
        assert service.asked("GET", "/v1/admin/projects", headers=OPERATOR) == 200
        assert service.asked("POST", "/v1/stripe/webhook", content=event, headers=signed(event)) == 200
        assert service.asked("GET", "/v1/customers/ada", headers={"Authorization": f"Bearer {CANARY}_guess"}) == 401
        assert service.asked("GET", "/v1/admin/projects", headers={"Authorization": f"Bearer {CANARY}_no"}) == 401
        assert service.asked("POST", "/v1/stripe/webhook", content=event, headers={"Stripe-Signature": "t=1"}) == 400
        with psycopg.connect(own_database_url, autocommit=True) as connection:
            for table in ("inbox", "snapshot", "audit", "api_key"):
                connection.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        assert service.asked("POST", "/v1/stripe/webhook", content=event, headers=signed(event)) == 500
        assert service.asked("GET", "/v1/customers/ada", headers=key) == 500
        given = {"slug": "other", "name": f"{CANARY}_name", "redirect_origins": []}
        assert service.asked("POST", "/v1/admin/projects", json=given, headers=OPERATOR) == 500
    said = log.read_text()
    secret_part = service.key.rsplit("_", 1)[1]
    assert "a request failed" in said and "UndefinedTable" in said
    for told in (said, service.answers):
        assert CANARY not in told
        assert service.key not in told and secret_part not in told
    assert "UndefinedTable" not in service.answers and "Traceback" not in service.answers
    if fmt == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
        failed = [line for line in lines if line["event"] == "a request failed"]
        assert len(failed) == 3 and all(line["request_id"] in service.answers for line in failed)
