"""What a run measured: one line for people, one JSON object for machines."""

import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a run does: `long` is for a night, the rest for every change. `share` shortens both, for mutants."""

    long: bool
    share: float = 1.0

    def of(self, usual: float, long: float) -> float:
        """The figure of this run: so many seconds, histories or calls."""
        return (long if self.long else usual) * self.share

    def whole(self, usual: int, long: int) -> int:
        """The same in whole numbers, at least one."""
        return max(1, round(self.of(usual, long)))


@dataclass
class Figures:
    """Counters, and what was found wrong. A run without a `wrong` has kept the invariant."""

    invariant: str
    name: str
    seed: int
    counted: Counter[str] = field(default_factory=Counter)
    measured: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, what: str, many: int = 1) -> None:
        self.counted[what] += many

    def must(self, holds: bool, sentence: str) -> None:
        """Notes what does not hold, and goes on: the others are told too."""
        if not holds:
            self.wrong.append(sentence)

    def must_be_zero(self, what: str, found: int, example: object = "") -> None:
        """A counter of the ledger: it is shown even when it is 0, and anything else is wrong."""
        self.counted[what] = found
        self.must(found == 0, f"{what}: {found} {example}".strip())

    def must_be_reached(self, *whats: str) -> None:
        """A run that never got to the interesting moments proves nothing."""
        for what in whats:
            self.must(self.counted[what] > 0, f"never reached: {what}")

    def line(self) -> str:
        shown = [f"{what} {many:,}" for what, many in self.counted.items()]
        shown += [f"{what} {value:,.4g}" for what, value in self.measured.items()]
        verdict = "ok" if not self.wrong else "BROKEN"
        return f"{self.invariant:<8} {self.name}: {verdict}, seed {self.seed}, {self.seconds:.0f} s: {', '.join(shown)}"

    def as_json(self) -> str:
        return json.dumps(
            {
                "invariant": self.invariant,
                "name": self.name,
                "ok": not self.wrong,
                "seed": self.seed,
                "seconds": round(self.seconds, 1),
                **self.counted,
                **{what: round(value, 4) for what, value in self.measured.items()},
                "wrong": self.wrong[:20],
            }
        )

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds = time.monotonic() - started


Run = Callable[[Scale, int], Figures]


def silence() -> None:
    """The service's log is not what a run is judged by; it says hundreds of lines a second."""
    if "RELIABILITY_LOG" not in os.environ:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def chosen_seed() -> int:
    """A desk tries something new each time; CI judges a change by the same cases as before."""
    return 1 if os.environ.get("CI") else time.time_ns() % 1_000_000
