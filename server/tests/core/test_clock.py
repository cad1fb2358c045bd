"""The service's idea of now."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.clock import SandboxClock, SystemClock
from tollhouse_server.resources import open_resources
from tollhouse_server.settings import Settings

pytestmark = pytest.mark.anyio
A_MOMENT = timedelta(seconds=30)


def test_the_system_clock_is_aware_and_in_utc() -> None:
    """No naive instant can come from it."""
    assert SystemClock().now().tzinfo is UTC


async def test_a_fast_forward_in_the_sandbox_is_felt(sandbox: RunningSandbox) -> None:
    """The service's time follows the sandbox's offset, and keeps it when the sandbox goes away."""
    sandbox.reset()
    sandbox.freeze(False)
    clock = SandboxClock(sandbox.url)
    assert abs(clock.now() - datetime.now(UTC)) < A_MOMENT
    sandbox.advance(days=40)
    async with httpx.AsyncClient() as http:
        following = asyncio.create_task(clock.follow(http, every=0.01))
        while clock.now() - datetime.now(UTC) < timedelta(days=39):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        following.cancel()
    assert abs(clock.now() - sandbox.now()) < A_MOMENT

    offset = clock.now() - datetime.now(UTC)
    sandbox.reset()
    async with httpx.AsyncClient(timeout=1e-9) as hasty:
        await clock.read(hasty)
    assert abs(clock.now() - datetime.now(UTC) - offset) < A_MOMENT


@pytest.mark.parametrize("said", [b"", b"[]", b'{"offset": null}', b"<html>"])
async def test_what_is_not_a_sandbox_changes_nothing(said: bytes) -> None:
    """An answer that makes no sense is as good as none: the clock goes on, and so does following it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        clock = SandboxClock(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with httpx.AsyncClient() as http:
            await clock.read(http)
    assert abs(clock.now() - datetime.now(UTC)) < A_MOMENT


async def test_it_is_right_from_the_first_moment(sandbox: RunningSandbox) -> None:
    """A command that asks once, as `tollhouse why` does, is not told the time before the fast-forward."""
    sandbox.reset()
    sandbox.advance(days=40)
    settings = Settings(
        _env_file=None,
        database_url=SecretStr("postgresql://tollhouse@127.0.0.1:9/tollhouse"),
        stripe_secret_key=SecretStr(sandbox.secret_key),
        stripe_api_base=sandbox.url,
        follow_sandbox_clock=True,
    )
    async with open_resources(settings) as resources:
        assert abs(resources.clock.now() - sandbox.now()) < A_MOMENT
    sandbox.reset()
