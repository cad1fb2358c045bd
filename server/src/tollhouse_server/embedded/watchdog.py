"""Child processes that cannot outlive us.

Each child gets a watchdog: a small `sh` that reads from a pipe whose other end only this process holds. When this
process ends, in whatever way (SIGKILL too), the kernel closes the pipe and the watchdog ends the child. Both live in
sessions of their own, so that Ctrl-C at a terminal reaches only us and the order of stopping stays ours.

The pipe's end must stay in this one process: after a bare `os.fork()` the copy would keep the child alive, so start
other processes by exec or spawn.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tollhouse_server.embedded.accounts import Account, started_as

# $1 signal, $2 "-" to address the child's whole process group or "" for the child alone. First line: the child's pid.
# A second line means that the child has ended and been reaped (its number may be another's by now); end of file
# without that line means that the supervisor is gone.
_WATCH = """
read -r pid || exit 0
read -r _ && exit 0
kill -s "$1" -- "$2$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 -- "$2$pid" 2>/dev/null || exit 0; sleep 1; done
kill -s KILL -- "-$pid" "$pid" 2>/dev/null
"""
# The child's input leads to the watchdog until the child has named itself and becomes the program: there is no instant
# at which it runs unwatched.
_ANNOUNCE = 'echo $$ >&0 && exec "$@" </dev/null'


class GuardedProcess:
    """A running child and its watchdog.

    `stop_signal` ends the child in an orderly way; `whole_group` sends it to everything the child has started as well.
    `log` receives the child's output; with None it is discarded.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        whole_group: bool = True,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
    ) -> None:
        self.stop_signal = stop_signal
        self.whole_group = whole_group
        watched, self._watching = os.pipe()
        try:
            self._watchdog = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "sh", stop_signal.name[3:], "-" if whole_group else ""],
                stdin=watched,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(watched)
        output = log if log is not None else subprocess.DEVNULL
        self._child = subprocess.Popen(
            ["/bin/sh", "-c", _ANNOUNCE, "sh", *map(str, command)],
            stdin=self._watching,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=env,
            cwd=cwd,
            **started_as(account),
        )
        self.pid = self._child.pid

    def exit_code(self) -> int | None:
        """None while the child runs; negative when a signal ended it."""
        return self._child.poll()

    def signal_stop(self) -> None:
        """Ask the child to stop and return at once; `stop` waits."""
        self._send(self.stop_signal)

    def stop(self, *, within: float, otherwise: signal.Signals = signal.SIGKILL) -> int:
        """Stop the child; after `within` seconds send `otherwise`. Returns the exit code."""
        if self.exit_code() is None:
            self.signal_stop()
            try:
                self._child.wait(within)
            except subprocess.TimeoutExpired:
                self._send(otherwise)
        code = self._child.wait()
        if self.whole_group:
            self._send(signal.SIGKILL)  # what the child itself left running
        self._dismiss_watchdog()
        return code

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            if self.whole_group:
                os.killpg(self.pid, number)
            elif self._child.returncode is None:
                os.kill(self.pid, number)

    def _dismiss_watchdog(self) -> None:
        if self._watching < 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self._watching, b"ended\n")
        os.close(self._watching)
        self._watching = -1
        self._watchdog.wait()
