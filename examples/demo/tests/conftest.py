"""The whole stack as `tollhouse dev` starts it, and Debian's Chromium in front of it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
SEEN_FROM_OUTSIDE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Stack:
    """Where the running parts are found."""

    demo_url: str
    sandbox_url: str
    server_url: str


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """`tollhouse dev` on free ports with a data directory of its own; ended by Ctrl-C, which must succeed."""
    server, sandbox, demo = (f"{port}" for port in _free_ports(3))
    stack = Stack(*(f"http://127.0.0.1:{port}" for port in (demo, sandbox, server)))
    ports = {"APP_HOST_PORT": server, "SANDBOX_HOST_PORT": sandbox, "DEMO_HOST_PORT": demo}
    with tempfile.TemporaryDirectory(prefix="tollhouse-demo-") as directory:
        log = Path(directory, "dev.log")
        command = [sys.executable, "-m", "tollhouse_server.cli", "dev", "--data", f"{directory}/data"]
        with log.open("w") as output:
            process = subprocess.Popen(command, env=os.environ | ports, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_up(process, [stack.demo_url, f"{stack.server_url}/readyz", stack.sandbox_url], log)
            yield stack
        finally:
            process.send_signal(signal.SIGINT)
            exit_code = process.wait(timeout=30)
        assert exit_code == 0, log.read_text()[-3000:]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _wait_until_up(process: subprocess.Popen[bytes], urls: list[str], log: Path) -> None:
    deadline = time.monotonic() + 60
    while urls:
        assert process.poll() is None, f"tollhouse dev ended:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{urls[0]} does not answer:\n{log.read_text()[-3000:]}"
        try:
            if httpx.get(urls[0], timeout=5).is_success:
                urls = urls[1:]
                continue
        except httpx.TransportError:
            pass
        time.sleep(0.1)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + SEEN_FROM_OUTSIDE)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh browser that nothing may lead to another host, and whose console stays free of complaints."""
    elsewhere: list[str] = []
    complaints: list[str] = []
    with chromium.new_context(viewport={"width": 1100, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: _note_host(request.url, elsewhere))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield page
    assert elsewhere == []
    # A declined card is answered 402, which Chromium writes to the console as well.
    assert [complaint for complaint in complaints if "402" not in complaint] == []


def _note_host(url: str, elsewhere: list[str]) -> None:
    if urlsplit(url).hostname != "127.0.0.1":
        elsewhere.append(url)
