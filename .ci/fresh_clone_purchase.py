"""Does what a newcomer does: clones the repository, runs `make run`, buys something, stops it, and comes back.

Exits with an error at the first thing that is not as promised. Run with the repository's own Python: `make ci` does.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
SET_UP_SECONDS = 240.0
STOP_SECONDS = 30.0
WEBHOOK_SECONDS = 15.0
OURS = ("APP_", "DATABASE_", "DEMO_", "REDIS_", "SANDBOX_", "STRIPE_", "ADMIN_", "FOLLOW_", "TOLLHOUSE_")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tollhouse-fresh-") as directory:
        Path(directory).chmod(0o755)  # as a home or a workspace is, so that PostgreSQL's account may pass
        clone = Path(directory) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        with running(clone, stop_with=signal.SIGINT) as place:
            say(f"{place['demo']} answers {httpx.get(place['demo']).raise_for_status().status_code}")
            buy(place, "ada", sync=True)
            buy(place, "grace", sync=False)
        with running(clone, stop_with=signal.SIGKILL) as again:
            require(again["project_keys"] == place["project_keys"], "the second run has other keys")
            require(may_export(again, "ada"), "yesterday's purchase is gone")
            say("a second `make run` finds yesterday's purchase")


@contextlib.contextmanager
def running(clone: Path, *, stop_with: signal.Signals) -> Iterator[dict[str, Any]]:
    """`make run` until the block ends; then its supervisor gets `stop_with`, and nothing of it may be left."""
    ready_file = clone.parent / "ready.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    command = ["make", "run", f"ARGS=--ready-file {ready_file}"]
    started = time.monotonic()
    make = subprocess.Popen(command, cwd=clone, env=environment, start_new_session=True)
    try:
        wait_until(lambda: ready_file.exists() or make.poll() is not None, SET_UP_SECONDS, "`make run` is not ready")
        require(make.poll() is None, f"`make run` ended with {make.returncode}")
        say(f"`make run` is ready after {time.monotonic() - started:.1f} s")
        place = json.loads(ready_file.read_text())
        yield place
        os.kill(place["pid"], stop_with)
        code = make.wait(STOP_SECONDS)
        require(stop_with is not signal.SIGINT or code == 0, f"after Ctrl-C, `make run` ended with {code}")
        wait_until(lambda: not processes_of(clone), STOP_SECONDS, "some of its processes are still there")
        ready_file.unlink(missing_ok=True)
        say(f"after {stop_with.name} every process is gone")
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
            make.wait(STOP_SECONDS)


def buy(place: dict[str, Any], user: str, *, sync: bool) -> None:
    """Open a checkout, pay it with a test card, and see the access: after asking for a sync, or by webhook alone."""
    require(not may_export(place, user), f"{user} may export without having paid")
    with project(place) as api:
        order = {
            "user_id": user,
            "price": "pdf-tool.lifetime.once",
            "success_url": f"{place['demo']}/pdf/welcome",
            "cancel_url": f"{place['demo']}/pdf",
        }
        opened = api.post("/v1/checkouts", json=order, headers={"Idempotency-Key": f"{user}-1"})
        checkout = opened.raise_for_status().json()
        session = httpx.URL(checkout["url"]).path.rsplit("/", 1)[-1]
        card = {"card": "pm_card_visa"}
        paid = httpx.post(f"{place['sandbox']}/_sandbox/pay/{session}", json=card, timeout=30).raise_for_status()
        require(checkout["id"] in paid.json()["redirect"], "the customer does not come back with the checkout's id")
        if sync:
            synced = api.post(f"/v1/checkouts/{checkout['id']}/sync").raise_for_status().json()
            require(synced["checkout"]["payment_status"] == "paid", f"the sync does not see the payment: {synced}")
            require(may_export(place, user), "the sync opened nothing")
        else:
            wait_until(lambda: may_export(place, user), WEBHOOK_SECONDS, "no webhook opened the access")
    say(f"{user} has paid and may export ({'synced' if sync else 'by webhook'})")


def may_export(place: dict[str, Any], user: str) -> bool:
    with project(place) as api:
        answer = api.get(f"/v1/customers/{user}/entitlements/premium_export").raise_for_status()
    return bool(answer.json()["allowed"])


def project(place: dict[str, Any]) -> httpx.Client:
    """The API with the PDF tool's key."""
    headers = {"Authorization": f"Bearer {place['project_keys']['pdf-tool']}"}
    return httpx.Client(base_url=place["service"], headers=headers, timeout=30)


def processes_of(clone: Path) -> list[str]:
    """The command lines of the processes, zombies aside, that run something of the clone."""
    listed = subprocess.run(["ps", "axww", "-o", "stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [row[1] for row in rows if len(row) == 2 and row[0][0] != "Z" and str(clone) in row[1]]


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        require(time.monotonic() < deadline, otherwise)
        time.sleep(0.1)


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        sys.exit(f"fresh clone: {otherwise}")


def say(line: str) -> None:
    sys.stdout.write(f"fresh clone: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
