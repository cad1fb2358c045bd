"""A Valkey that can be killed, and a wire to it that can be cut, hung and slowed."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tollhouse_server.embedded.binaries import valkey_binary


class KillableValkey:
    """Empty after each start, as a cache is."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "socket"
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        where = ("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._directory))
        command = (str(valkey_binary()), *where, "--save", "", "--maxmemory", "64mb")
        self.socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_unix_connection(self.socket)
                    writer.close()
                    return
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def killable_valkey() -> AsyncIterator[KillableValkey]:
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-reliability-"))
    valkey = KillableValkey(directory)
    try:
        await valkey.start()
        yield valkey
    finally:
        await valkey.kill()
        shutil.rmtree(directory, ignore_errors=True)


class Wire:
    """A TCP port that leads to a Valkey, unless something is wrong with it."""

    def __init__(self, valkey: KillableValkey) -> None:
        self._valkey = valkey
        self._open: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_cut = False
        self.delay = 0.0
        """Seconds by which what is sent is held up."""
        self.url = ""

    def cut(self) -> None:
        """Connections are lost, and none is made."""
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def hang(self) -> None:
        """Connections stay, and are made; nothing is passed on."""
        self._passes.clear()

    def heal(self) -> None:
        self._is_cut, self.delay = False, 0.0
        self._passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._is_cut:
                return
            far_reader, far_writer = await asyncio.open_unix_connection(self._valkey.socket)
            self._open.add(far_writer)
            try:
                there = asyncio.create_task(self._pass(reader, far_writer))
                back = asyncio.create_task(self._pass(far_reader, writer))
                _, left = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                for task in left:
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
            finally:
                self._open.discard(far_writer)
                far_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while sent := await reader.read(65_536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._passes.wait()
                writer.write(sent)
                await writer.drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.heal()
            self.cut()
