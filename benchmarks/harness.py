"""How everything here is measured: subjects in turn with their reference, in one run, several rounds.

A slow or busy machine slows the subject and its reference alike, so the ratio of a round is what counts, and the
rounds tell how sure it is. `compare` writes `results/<name>.json`, of which `report.py` makes the page.
"""

import argparse
import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import structlog
from rich.console import Console
from rich.table import Table

from .load import Load as Load
from .load import Refused as Refused
from .load import load as load
from .machine import commit, load_average, machine
from .processes import LOAD_CORE as LOAD_CORE
from .processes import SERVER_CORE as SERVER_CORE
from .processes import Process as Process
from .processes import Served as Served
from .processes import free_port as free_port
from .processes import pin as pin
from .processes import pinned as pinned
from .processes import running as running
from .processes import serving as serving
from .processes import serving_app as serving_app

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a run measures."""

    quick: bool = False
    """A first look: short rounds, and nothing is written."""
    large: bool = False
    """What takes a night's patience: a million customers."""

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 7

    @property
    def seconds(self) -> float:
        """Of load, for each subject and round."""
        return 1.0 if self.quick else 2.0

    def of(self, usual: int, *, quick: int | None = None, large: int | None = None) -> int:
        """The figure of this run, such as how many customers."""
        wanted = quick if self.quick else large if self.large else usual
        return usual if wanted is None else wanted

    @property
    def name(self) -> str:
        return "quick" if self.quick else "large" if self.large else "usual"

    @classmethod
    def asked(cls, description: str | None = None) -> Self:
        """As the command line says: `--quick`, `--large`."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--quick", action="store_true", help="a first look; writes no results")
        parser.add_argument("--large", action="store_true", help="a million customers; takes long")
        given = parser.parse_args()
        # What the service says while it is measured is not the outcome.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        return cls(given.quick, given.large)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one turn of a subject gave: the figure that is compared, and others that are told beside it."""

    value: float
    also: Mapping[str, float] = field(default_factory=dict)
    """Further figures by name and unit: `{"p99 ms": 2.4}`."""

    @classmethod
    def rate(cls, seen: Load) -> Self:
        """Answers a second, with latencies and CPU for each request beside."""
        return cls(seen.rate, seen.also)


@dataclass(frozen=True, slots=True)
class Target:
    """What a subject's median should be. Exactly one of the bounds is given."""

    subject: str
    of: str = "ratio"
    """`ratio` (to the reference), `value`, or the name of one of the further figures."""
    at_least: float | None = None
    at_most: float | None = None

    def met(self, seen: float) -> bool:
        return seen >= self.at_least if self.at_least is not None else seen <= (self.at_most or 0.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A median, and the quartiles of the rounds: half of them lie between."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Subject:
    """What all rounds say of one subject."""

    name: str
    value: Figure
    ratio: Figure | None
    """To the reference, round by round; None where there is none, and of the reference itself."""
    also: dict[str, Figure]

    def seen(self, of: str) -> float:
        """The median that a target is about."""
        figure = {"ratio": self.ratio, "value": self.value}.get(of) or self.also[of]
        return figure.median


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of `compare`: what is in the file."""

    name: str
    about: str
    unit: str
    reference: str | None
    rounds: int
    scale: str
    at: str
    commit: str
    changed: bool
    """Whether the code differed from the commit."""
    machine: dict[str, Any]
    load_before: float
    """The machine's load average before the first round; its own load is not in it."""
    subjects: list[Subject]
    targets: list[dict[str, Any]]

    def subject(self, name: str) -> Subject:
        return next(one for one in self.subjects if one.name == name)


Turn = Callable[[], float | Measured]


def compare(
    name: str,
    unit: str,
    subjects: Mapping[str, Turn],
    reference: str | None,
    *,
    about: str,
    targets: Sequence[Target] = (),
    scale: Scale | None = None,
    rounds: int | None = None,
    into: Path = RESULTS,
) -> Comparison:
    """Gives each subject a turn in each round, prints what came of it and, unless it is quick, writes the file.

    `unit` is that of a turn's figure (`answers/s`, `µs`); `about` a sentence for the page: what is measured against
    what. Each round begins with another subject, so that none always comes after the same one. The page is made anew.
    """
    scale = scale or Scale()
    rounds = rounds or scale.rounds
    before, at = load_average(), datetime.now(UTC)
    turns: dict[str, list[Measured]] = {one: [] for one in subjects}
    order = list(subjects)
    for number in range(rounds):
        first = number % len(order)
        for one in order[first:] + order[:first]:
            given = subjects[one]()
            turns[one].append(given if isinstance(given, Measured) else Measured(given))
    seen = [_subject(one, turns[one], turns[reference] if reference else None, one == reference) for one in order]
    short, changed = commit()
    outcome = Comparison(
        name=name,
        about=about,
        unit=unit,
        reference=reference,
        rounds=rounds,
        scale=scale.name,
        at=at.isoformat(timespec="seconds"),
        commit=short,
        changed=changed,
        machine=machine(),
        load_before=before,
        subjects=seen,
        targets=[_judged(one, seen) for one in targets],
    )
    show(outcome)
    if not scale.quick:
        write(outcome, into)
    if not scale.quick and into == RESULTS:
        from . import report

        report.main()  # so that the page and the results never differ
    return outcome


def write(outcome: Comparison, into: Path = RESULTS) -> None:
    """Into `<name>.json`, of a large run `<name>-large.json`."""
    into.mkdir(exist_ok=True)
    rounded = json.loads(json.dumps(asdict(outcome)), parse_float=lambda digits: float(f"{float(digits):.5g}"))
    name = f"{outcome.name}-large" if outcome.scale == "large" else outcome.name
    (into / f"{name}.json").write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Comparison:
    """A file that `compare` has written."""
    told = json.loads(path.read_text())
    subjects = [
        Subject(
            one["name"],
            Figure(**one["value"]),
            Figure(**one["ratio"]) if one["ratio"] else None,
            {name: Figure(**figure) for name, figure in one["also"].items()},
        )
        for one in told.pop("subjects")
    ]
    return Comparison(**told, subjects=subjects)


def show(outcome: Comparison) -> None:
    """The outcome as a table."""
    console = Console()
    if not console.is_terminal:
        console.width = 260
    changed = " and changes" if outcome.changed else ""
    title = f"{outcome.name}: rounds: {outcome.rounds}, {outcome.commit}{changed}, load {outcome.load_before} before"
    table = Table(title=title, title_justify="left")
    further = list(dict.fromkeys(name for one in outcome.subjects for name in one.also))
    for heading in ("", outcome.unit, "half of the rounds", "ratio", "half of the rounds", *further):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for one in outcome.subjects:
        ratio = [short_number(one.ratio.median), _spread(one.ratio)] if one.ratio else ["", ""]
        also = [short_number(one.also[name].median) if name in one.also else "" for name in further]
        table.add_row(one.name, short_number(one.value.median), _spread(one.value), *ratio, *also)
    console.print(table)
    for told in outcome.targets:
        console.print(target_in_words(told) + (": met" if told["met"] else ": NOT met"), highlight=False)


def target_in_words(told: Mapping[str, Any]) -> str:
    """`check: ratio at least 0.75, seen 0.81`."""
    bound = f"at least {told['at_least']:g}" if told["at_least"] is not None else f"at most {told['at_most']:g}"
    return f"{told['subject']}: {told['of']} {bound}, seen {short_number(told['seen'])}"


def short_number(value: float) -> str:
    """Three digits that matter, and thousands marked."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3}f}"


def _spread(figure: Figure) -> str:
    return f"{short_number(figure.low)} to {short_number(figure.high)}"


def _subject(name: str, turns: list[Measured], reference: list[Measured] | None, itself: bool) -> Subject:
    ratio = None
    if reference and not itself:
        ratio = Figure.of([one.value / other.value for one, other in zip(turns, reference, strict=True)])
    also = {what: Figure.of([one.also[what] for one in turns]) for what in turns[0].also}
    return Subject(name, Figure.of([one.value for one in turns]), ratio, also)


def _judged(target: Target, subjects: list[Subject]) -> dict[str, Any]:
    seen = next(one for one in subjects if one.name == target.subject).seen(target.of)
    return {**asdict(target), "seen": seen, "met": target.met(seen)}
