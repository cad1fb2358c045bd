"""Several programs as one: they stop together, and what goes wrong in one of them is said."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import NoReturn

from ..embedded.watchdog import GuardedProcess

_STOP_SECONDS = 15.0
_CHECK_SECONDS = 0.2
_LAST_LINES = 15
_WORTH_SHOWING = re.compile(
    r'"level": ?"(warning|error|critical)"|\[(warning|error|critical) *\]|^(WARNING|ERROR|CRITICAL)\b'
)


class PartDied(RuntimeError):
    """A part ended by itself, or was never ready; the message ends with the last lines of its log."""


@dataclass
class _Part:
    name: str
    process: GuardedProcess
    log: Path
    shown: int = 0
    """How many bytes of the log have been looked through for warnings."""

    def died(self, how: str) -> PartDied:
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return PartDied("\n".join([f"{self.name} {how}. The end of {self.log}:", *lines]))

    def new_lines(self) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(self.shown)
            whole_lines, newline, _ = log.read().rpartition(b"\n")
        self.shown += len(whole_lines) + len(newline)
        return whole_lines.decode(errors="replace").splitlines()


class Supervisor:
    """Starts parts, watches them and stops them, the last started first.

    The log of each goes to a file in `log_dir`; its warnings and errors go to `warn(part, line)` as well.
    """

    def __init__(self, log_dir: Path, warn: Callable[[str, str], None], interrupted: Event | None = None) -> None:
        self._log_dir = log_dir
        self._warn = warn
        self._interrupted = interrupted or Event()
        self._parts: list[_Part] = []

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        """Start a part. Its log of the last run is kept as `NAME.log.1`."""
        log = self._log_dir / f"{name}.log"
        if log.exists():
            log.replace(log.with_name(f"{name}.log.1"))
        with log.open("wb") as output:
            self._parts.append(_Part(name, GuardedProcess(command, log=output, env=env), log))

    def wait_until(self, ready: Callable[[], bool], *, within: float) -> None:
        """Return once the part that was started last is ready. Raises PartDied after `within` seconds."""
        deadline = time.monotonic() + within
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._parts[-1].died(f"was not ready after {within:.0f} seconds")
            time.sleep(0.05)

    def watch(self) -> NoReturn:
        """Raises PartDied when a part ends."""
        while True:
            self.check()
            time.sleep(_CHECK_SECONDS)

    def check(self) -> None:
        """Show new warnings. Raises PartDied when a part has ended, KeyboardInterrupt once `interrupted` is set."""
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        for part in self._parts:
            for line in filter(_WORTH_SHOWING.search, part.new_lines()):
                self._warn(part.name, line)
        for part in self._parts:
            if (code := part.process.exit_code()) is not None:
                raise part.died(f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}")

    def stop(self) -> None:
        """Stop every part, the last started first."""
        while self._parts:
            self._parts.pop().process.stop(within=_STOP_SECONDS)
