"""Has Stripe's own command line cause its events in the sandbox, and writes in sandbox-coverage.md which came.

Needs npm and its registry, once: `stripe` is kept under .tools. `make sandbox-coverage` runs it; CI does not.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import stripe

from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.projection import types_concerning
from tollhouse_server.stripe_gateway.webhook_endpoint import known_event_types

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/sandbox-coverage.md"
BEGIN, END = "<!-- written by docs/write_sandbox_coverage.py -->\n\n", "\n<!-- until there -->\n"
PACKAGE = "@stripe/cli@1.52.0"
INSTALLED = ROOT / ".tools/stripe-cli"
VERSIONS = (None, "2026-08-26.dahlia", "2024-06-20")
"""The account's own, then older ones: some scripts send what the newest no longer takes."""

SETTLED = {"days": 10}
"""After which a debit has been settled, and a clock has done its work."""


class Run(NamedTuple):
    """How a trigger went: the version it was called in, why it failed, and the types of the events that there were."""

    version: str | None
    failed: str | None
    seen: list[str]


def command_line() -> Path:
    """The `stripe` program; it is installed if it is not there."""
    program = INSTALLED / "node_modules/.bin/stripe"
    if not program.exists():
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", INSTALLED, PACKAGE], check=True)
    return program


def triggers(program: Path) -> list[str]:
    """Every event that the program can cause, but for those of API v2."""
    told = subprocess.run([program, "trigger", "--help"], check=True, capture_output=True, text=True).stdout
    listed = told.partition("Supported events:\n")[2].partition("\nUsage:")[0]
    return [name for name in listed.split() if not name.startswith("v1.")]


def run(program: Path, desk: RunningSandbox, trigger: str, home: str) -> Run:
    """Runs one trigger on an empty account, in the first version that takes it. Why it failed is told of the first."""
    failed = None
    for version in VERSIONS:
        desk.reset()
        desk.freeze()
        options = ["--api-version", version] if version else []
        told = subprocess.run(
            [program, "trigger", trigger, "--api-key", "sk_test_of_the_sandbox", "--api-base", desk.url, *options],
            env={"HOME": home, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        desk.advance(**SETTLED)
        said = told.stdout + told.stderr
        seen = _seen(desk)
        if trigger in seen or _of_several(trigger, seen):
            return Run(version, None, seen)
        errors = re.findall(r'"message":"([^"]*?)(?: If Stripe knows it[^"]*)?"', said) or ["No such event came."]
        failed = failed or re.sub(r"/[a-z]+_[A-Za-z0-9]{14,}", "/{id}", errors[0])
    return Run(None, failed, [])


def _of_several(trigger: str, seen: Iterable[str]) -> bool:
    """Two triggers are named by what befalls, not by an event."""
    return trigger.replace("subscription.payment", "invoice.payment") in seen


def _seen(desk: RunningSandbox) -> list[str]:
    client = stripe.StripeClient(desk.secret_key, base_addresses={"api": desk.url}, max_network_retries=2)
    events = client.v1.events.list({"limit": 100}).auto_paging_iter()
    return sorted({event.type for event in events})


def written(runs: dict[str, Run]) -> Iterator[str]:
    """The page's tables."""
    causes = defaultdict(list)
    for trigger, ran in runs.items():
        for type_ in ran.seen if ran.failed is None else ():
            causes[type_].append(trigger)
    passed = [trigger for trigger, ran in runs.items() if ran.failed is None]
    yield f"## Triggers\n\n{len(passed)} of {len(runs)} triggers of `{PACKAGE}` cause their event in the sandbox.\n\n"
    yield "| Trigger | | |\n|---|---|---|\n"
    for trigger, ran in runs.items():
        version = f"with `--api-version {ran.version}`" if ran.version else ""
        yield f"| `{trigger}` | {'no' if ran.failed else 'yes'} | {ran.failed or version} |\n"
    yield "\n## Events that Tollhouse acts on\n\n| Event | Caused by |\n|---|---|\n"
    for type_ in types_concerning(known_event_types()):
        by = ", ".join(f"`{trigger}`" for trigger in causes[type_][:3])
        yield f"| `{type_}` | {by or 'no trigger; see the tests'} |\n"


def main() -> None:
    program = command_line()
    with tempfile.TemporaryDirectory() as home, running_sandbox(frozen=True) as desk:
        runs = {}
        for trigger in sys.argv[1:] or triggers(program):
            runs[trigger] = ran = run(program, desk, trigger, home)
            sys.stdout.write(f"{'no ' if ran.failed else 'yes'} {trigger} {ran.failed or ran.version or ''}\n")
            sys.stdout.flush()
    if not sys.argv[1:]:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + "".join(written(runs)) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
