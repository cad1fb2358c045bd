"""I17: no input leads to a 5xx, and every error is a problem that says its code.

Schemathesis makes requests from the API's own description, good and bad ones, and sends them to a running service: with
a project's key, with the operators' key, and with none to what is open. Its own checks compare the answers with the
description; `fuzz_checks.py` adds what we promise of every error.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from reliability.figures import Figures, Scale
from reliability.killable import Processes, free_port
from reliability.shop import MONTHLY, SHOP
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.testing import OPERATOR_KEY, running_world

SECRET = "whsec_of_the_fuzz_run_which_is_long_enough"
ROOT = Path(__file__).parents[1]
CONFIG = Path(__file__).with_name("schemathesis.toml")
EXCLUDED = {
    "positive_data_acceptance": "what is of the right form may still be forbidden: 404, 409 and 422 are right answers",
    "ignored_auth": "for operators: after some wrong passwords 429 is right; test_tenancy asks without a key",
}
"""Checks that are not made, and why; the second one only with the operators' key."""


@dataclass(frozen=True)
class Caller:
    """Who asks for which part of the API."""

    name: str
    paths: str
    key: str | None


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I17", "the API fuzzed", seed)
    with figures.timed(), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(temporary_postgres())
        migrate.upgrade(postgres.url())
        sandbox = stack.enter_context(running_sandbox(frozen=True))
        key = sold(sandbox, postgres.url())
        port = free_port()
        processes = Processes(environment(sandbox, postgres.url(), port), directory)
        stack.callback(processes.close)
        processes.start("serve")
        processes.start("work")
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        callers = (
            Caller("project", "^/v1/(?!admin|stripe|stream)", key),  # a stream's answer never ends
            Caller("operator", "^/v1/admin", OPERATOR_KEY),
            Caller("nobody", "^/(v1/stripe|healthz|readyz|metrics|.well-known)", None),
        )
        for caller in callers:
            fuzzed(caller, url, scale.whole(8, 400), seed, figures, directory)
        figures.must(processes.alive("serve"), "the service died")
    figures.must(figures.counted["cases"] >= scale.of(800, 20_000), "too few cases were made")
    return figures


def sold(sandbox: RunningSandbox, database_url: str) -> str:
    """Something of everything is there to be found; answers with a key of the project."""
    with running_world(sandbox, database_url) as world:
        ada = world.customer("ada", world.publish(SHOP))
        ada.buys(MONTHLY)
        ada.buys("shop.lifetime.once")
        given = {"project": "shop", "user_id": "ada", "feature": "export", "reason": "a fuzz run"}
        world.operator.post("/v1/admin/grants", json=given).raise_for_status()
        return world.new_key("shop")


def environment(sandbox: RunningSandbox, database_url: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "STRIPE_SECRET_KEY": sandbox.secret_key,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_BASE": sandbox.url,
        "ADMIN_API_KEY": OPERATOR_KEY,
        "APP_HOST_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        # The limits have tests of their own; here each 429 would be a case not tried.
        "RATE_LIMIT_READS": "0",
        "RATE_LIMIT_WRITES": "0",
        "RATE_LIMIT_REFUSALS": "0",
    }


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.1)


def fuzzed(caller: Caller, url: str, examples: int, seed: int, figures: Figures, directory: Path) -> None:
    """One run of Schemathesis; its failures go to the figures with the request that repeats each."""
    excluded = [one for one in EXCLUDED if one != "ignored_auth" or caller.name == "operator"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
        *("--include-path-regex", caller.paths, "--checks", "all", "--exclude-checks", ",".join(excluded)),
        *("--max-examples", str(examples), "--seed", str(seed), "--suppress-health-check", "all", "--warnings", "off"),
        *("--no-color", "--continue-on-failure", "--request-timeout", "30", "--no-shrink"),
        *(("--header", f"Authorization: Bearer {caller.key}") if caller.key else ()),
    ]
    told = {**os.environ, "SCHEMATHESIS_HOOKS": "reliability.fuzz_checks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=directory, env=told, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) generated", done.stdout)
    figures.count("cases", int(found[1]) if found else 0)
    figures.count(f"cases {caller.name}", int(found[1]) if found else 0)
    if done.returncode != 0:
        report = directory.parent / f"tollhouse-fuzz-{caller.name}.txt"
        report.write_text(done.stdout + done.stderr)
        failures = re.findall(r"^- (.+)$", done.stdout, re.MULTILINE)
        figures.wrong += [f"{caller.name}: {one}" for one in dict.fromkeys(failures)] or [
            f"{caller.name}: see {report}"
        ]
        figures.wrong.append(f"{caller.name}: the whole report is in {report}")
