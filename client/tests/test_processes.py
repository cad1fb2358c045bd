"""What a process may do to a client: fork, end, be killed, run another event loop. With real processes."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollhouse import AsyncTollhouse, Tollhouse, last_known_good
from tollhouse.local_copy import LocalCopy
from tollhouse.outage import by_feature
from tollhouse.snapshot_file import SnapshotFile
from tollhouse.snapshots import Snapshot, SnapshotFeature

from .contract.misbehaviour import silence
from .contract.service import Service, tell_customer
from .contract.stage import KEY


@pytest.fixture
def misbehaving() -> Iterator[Service]:
    service = Service()
    service.start()
    yield service
    service.stop()


def eventually(holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 8
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(held)


def in_child(work: Callable[[], object]) -> int:
    """Fork, do it in the child, and answer with the child's pid; it ends with 0 if `work` was true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return pid


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def live(client: Tollhouse, user_id: str = "ada") -> bool:
    check = client.check(user_id, "premium_export")
    return check.allowed and check.freshness == "live"


def test_parent_and_child_each_follow_the_stream(misbehaving: Service) -> None:
    """A worker that was forked from an app that had begun knows what the app knew, and has its own connections."""
    misbehaving.allow("ada", "premium_export")
    with Tollhouse(misbehaving.url, KEY, check_wait=2) as client:
        assert eventually(lambda: live(client) and misbehaving.followers == 1)

        def work() -> bool:
            known = client.check("ada", "premium_export")
            new = client.check("bob", "premium_export")
            followed = eventually(lambda: live(client))
            client.close()
            return known.allowed and known.freshness == "cached" and not new.allowed and followed

        child = in_child(work)
        assert code_of(child) == 0
        assert eventually(lambda: misbehaving.followers == 1)
        misbehaving.deny("ada", "premium_export")
        assert eventually(lambda: not client.check("ada", "premium_export"))
        assert len(misbehaving.asked("stream")) == 2


def test_a_client_that_was_made_before_the_fork_begins_in_the_child(misbehaving: Service) -> None:
    """As with gunicorn's preload: nothing runs in the parent, each child begins by itself."""
    misbehaving.allow("ada", "premium_export")
    client = Tollhouse(misbehaving.url, KEY, check_wait=2)
    children = [in_child(lambda: eventually(lambda: live(client)) and client.close() is None) for _ in range(3)]
    assert [code_of(child) for child in children] == [0, 0, 0]
    assert len(misbehaving.asked("stream")) == 3
    client.close()


FORKING = """
import os, random, threading
from tollhouse import Tollhouse

client, over = Tollhouse(check_wait=2), threading.Event()

def ask():
    while not over.is_set():
        client.check(f"u{random.randrange(30)}", "premium_export")

threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for _ in range(8):
    if not (pid := os.fork()):
        code = 1
        try:
            client.check("u1", "premium_export")
            code = 0
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
for thread in threads:
    thread.join()
client.close()
print(codes)
"""


def test_a_fork_in_the_middle_of_everything(misbehaving: Service) -> None:
    """Threads ask and the stream tells while the process forks: no child finds a lock that nobody will open.

    In a process that is not traced: coverage has a lock of its own, which a fork may find taken.
    """
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            misbehaving.allow(f"u{random.randrange(30)}", "premium_export")
            time.sleep(0.001)

    changing = threading.Thread(target=change)
    changing.start()
    env = {**os.environ, "TOLLHOUSE_URL": misbehaving.url, "TOLLHOUSE_API_KEY": KEY}
    try:
        done = subprocess.run(
            [sys.executable, "-c", FORKING], env=env, capture_output=True, text=True, timeout=50, check=False
        )
    finally:
        over.set()
        changing.join()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{[0] * 8}\n", "")


def test_an_async_client_begins_anew_in_a_child(misbehaving: Service) -> None:
    """The child has a loop of its own; what was known is known."""
    misbehaving.allow("ada", "premium_export")
    client = AsyncTollhouse(misbehaving.url, KEY, check_wait=2)

    async def check() -> bool:
        return (await client.check("ada", "premium_export")).allowed and bool(await client.entitlements("bob"))

    with asyncio.Runner() as runner:
        assert runner.run(check())
        assert code_of(in_child(lambda: asyncio.run(check()))) == 0
        assert runner.run(check())
        runner.run(client.aclose())


def test_one_loop_after_another(misbehaving: Service) -> None:
    """A client may outlive its loop, as in tests that have one each; two at the same time are refused."""
    misbehaving.allow("ada", "premium_export")
    client = AsyncTollhouse(misbehaving.url, KEY, check_wait=2)

    async def use(user_id: str) -> bool:
        return (await client.check(user_id, "premium_export")).allowed and (await client.customer("ada")).version > 0

    misbehaving.always("ada", _customer)
    assert asyncio.run(use("ada"))
    misbehaving.allow("bob", "premium_export")
    assert asyncio.run(use("bob"))

    async def elsewhere() -> None:
        assert await use("ada")
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, use("carol"))
        await client.aclose()

    asyncio.run(elsewhere())


async def _customer(exchange: Any) -> None:
    exchange.path += "/sync"
    await tell_customer(exchange)


def test_a_client_that_nobody_holds_ends(misbehaving: Service) -> None:
    """Its thread does not keep it, and goes when it goes."""
    client = Tollhouse(misbehaving.url, KEY, check_wait=2)
    client.check("ada", "premium_export")
    assert eventually(lambda: misbehaving.followers == 1)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert eventually(lambda: misbehaving.followers == 0)


SCRIPTS = {
    "blocking": "import tollhouse; t = tollhouse.Tollhouse(); print(bool(t.check('ada', 'premium_export')))",
    "asyncio": (
        "import asyncio, tollhouse\nasync def main():\n    t = tollhouse.AsyncTollhouse()\n"
        "    print(bool(await t.check('ada', 'premium_export')))\nasyncio.run(main())"
    ),
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_program_ends_when_it_is_done(misbehaving: Service, kind: str, tmp_path: Path) -> None:
    """Nobody closed the client, the stream hangs: it ends at once all the same, quietly, and the file is written."""
    misbehaving.allow("ada", "premium_export")
    misbehaving.always("stream", silence)
    env = {**os.environ, "TOLLHOUSE_URL": misbehaving.url, "TOLLHOUSE_API_KEY": KEY}
    env["TOLLHOUSE_SNAPSHOT_FILE"] = str(tmp_path / "file")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPTS[kind]], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert kind == "asyncio" or (tmp_path / "file").exists()


def test_a_transport_that_blocks_serves_the_thread_too(misbehaving: Service) -> None:
    """An app's own transport, for a proxy or a private authority, carries questions and the stream."""
    misbehaving.allow("ada", "premium_export")
    with Tollhouse(misbehaving.url, KEY, check_wait=2, transport=httpx.HTTPTransport()) as client:
        assert client.check("ada", "premium_export")
        assert eventually(lambda: misbehaving.followers == 1)
        misbehaving.deny("ada", "premium_export")
        assert eventually(lambda: not client.check("ada", "premium_export"))


# --- killed while writing ------------------------------------------------------------------------------------------


def full_copy(version: int) -> LocalCopy:
    copy = LocalCopy(by_feature(last_known_good()), poll=30.0)
    features = {f"feature_{number}": SnapshotFeature("switch", ()) for number in range(5)}
    for number in range(40):
        told = Snapshot("pdf-tool", f"user_{number}", version, 1, datetime.now(UTC), features)
        copy.answered(told, None, copy.clock())
    return copy


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """30 kills at random instants: the file is the one before or the one after, and what it says never goes back."""
    dice, seen, path = random.Random(11), 0, tmp_path / "file"
    SnapshotFile(path, KEY).save(full_copy(1))

    read, write = os.pipe()

    def write_on() -> None:
        version = seen
        while SnapshotFile(path, KEY).save(full_copy(version := version + 1)):
            os.write(write, b".")

    for _ in range(30):
        child = in_child(write_on)
        os.read(read, 1)
        time.sleep(dice.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        code_of(child)
        os.set_blocking(read, False)
        with suppress(BlockingIOError):
            os.read(read, 1000)
        os.set_blocking(read, True)
        found = LocalCopy(by_feature(last_known_good()), poll=30.0)
        SnapshotFile(path, KEY).load(found)
        versions = {held.snapshot.version for held in found.held.values()}
        assert (len(found.held), len(versions)) == (40, 1)
        assert versions.pop() >= seen
        seen = max(held.snapshot.version for held in found.held.values())
    assert seen >= 30
    assert caplog.text == ""
    os.close(read), os.close(write)


IMPORTING = """
import sys
from tollhouse import Tollhouse

with Tollhouse(check_wait=2) as client:
    known = set(sys.modules)
    client.check("u1", "premium_export")
    print(sorted(name for name in set(sys.modules) - known if name.startswith(("anyio", "http"))))
"""


def test_the_first_question_imports_nothing(misbehaving: Service) -> None:
    """Whoever forks while a thread imports has half a module in the child: all of it is there before the first one."""
    env = {**os.environ, "TOLLHOUSE_URL": misbehaving.url, "TOLLHOUSE_API_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
