"""Makes the figures of docs/explanation/performance.md, and its chart, from results/. `compare` runs it by itself."""

from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.chart import Bar, chart
from benchmarks.harness import Comparison, short_number

ROOT = Path(__file__).parent.parent
PAGE, CHART = ROOT / "docs/explanation/performance.md", ROOT / "docs/images/performance.svg"
BEGIN, END = "<!-- made by benchmarks/report.py: begin -->", "<!-- made by benchmarks/report.py: end -->"
FIRST = ("check", "check_miss", "check_flat", "client", "access", "intake", "burst", "workers", "memory")
"""The order in which they are told; others follow by name."""


def main() -> None:
    for path, text in pages(harness.RESULTS):
        path.write_text(text)


def pages(results: Path) -> Iterator[tuple[Path, str]]:
    """Both files as they should be."""
    told = sorted((harness.read(path) for path in results.glob("*.json")), key=_place)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    yield PAGE, f"{before}{BEGIN}\n{figures(told)}\n{END}{after}"
    yield CHART, drawn(told)


def figures(told: list[Comparison]) -> str:
    """Chart, targets, and a section for each comparison; the machine is told once, and again where it was another."""
    targets = [(one, target) for one in told for target in one.targets]
    met = sum(target["met"] for _, target in targets)
    lines = [
        "![What was seen, beside the targets](../images/performance.svg)",
        "",
        f"{met} of {len(targets)} targets are met.",
        "",
        "| | what counts | seen | target | |",
        "|---|---|---|---|---|",
    ]
    for one, target in targets:
        what = _what(one, target)
        verdict = "met" if target["met"] else "**not met**"
        seen = short_number(target["seen"])
        lines.append(f"| {_label(one, target)} | {what} | {seen} | {_bound(target)} | {verdict} |")
    machines = list(dict.fromkeys(_machine(one) for one in told))
    lines += ["", *(f"Seen on {machine}." for machine in machines[:1])]
    for one in told:
        lines += ["", *_section(one), f"; {_machine(one)}." if _machine(one) != machines[0] else "."]
        lines[-2:] = [lines[-2] + lines[-1]]
    return "\n".join(lines)


def drawn(told: list[Comparison]) -> str:
    """The chart: a bar for each target."""
    least: list[Bar] = []
    most: list[Bar] = []
    for one in told:
        for target in one.targets:
            (most if target["at_least"] is None else least).append(_bar(one, target))
    return chart(
        "What was seen, beside what was wanted",
        [("At least: a bar that reaches the mark", least), ("At most: one that stays before it", most)],
    )


def _bar(one: Comparison, target: dict[str, Any]) -> Bar:
    subject = one.subject(target["subject"])
    figure = {"ratio": subject.ratio, "value": subject.value}.get(target["of"]) or subject.also[target["of"]]
    bound = target["at_most"] if target["at_least"] is None else target["at_least"]
    low, seen, high = (_share(value, bound) for value in (figure.low, figure.median, figure.high))
    missed = "" if target["met"] else ", missed"
    words = f"{short_number(target['seen'])}{missed}; {_bound(target)}"
    return Bar(_label(one, target), _what(one, target), low, seen, high, target["met"], words)


def _share(value: float, bound: float) -> float:
    """How much of its bound that is; of nothing, nothing is kept to and anything else is far beyond."""
    return value / bound if bound else inf if value else 0.0


def _section(one: Comparison) -> list[str]:
    large = " (large)" if one.scale == "large" else ""
    further = list(dict.fromkeys(name for subject in one.subjects for name in subject.also))
    head = [one.unit, *(["ratio"] if one.reference else []), *further]
    lines = [f"### `{one.name}`{large}", "", one.about, "", f"| | {' | '.join(head)} |", f"|---|{'---|' * len(head)}"]
    for subject in one.subjects:
        cells = [_with_spread(subject.value, one)]
        if one.reference:
            cells.append(_with_spread(subject.ratio, one) if subject.ratio else "1")
        cells += [short_number(subject.also[name].median) if name in subject.also else "" for name in further]
        lines.append(f"| {subject.name} | {' | '.join(cells)} |")
    rounds = "1 round" if one.rounds == 1 else f"{one.rounds} rounds"
    changed = " with changes" if one.changed else ""
    lines += ["", f"{one.at[:10]}, {rounds}, commit `{one.commit}`{changed}, load {one.load_before:g} before"]
    return lines


def _machine(one: Comparison) -> str:
    seen = one.machine
    return (
        f"{seen['cores']} cores ({seen['cpu']}), Linux {seen['kernel']}, Python {seen['python']},"
        f" PostgreSQL {seen['postgresql']}, Valkey {seen['valkey']}"
    )


def _with_spread(figure: harness.Figure, one: Comparison) -> str:
    if one.rounds == 1:
        return short_number(figure.median)
    return f"{short_number(figure.median)} ({short_number(figure.low)} to {short_number(figure.high)})"


def _label(one: Comparison, target: dict[str, Any]) -> str:
    large = " (large)" if one.scale == "large" else ""
    return f"{one.name}: {target['subject']}{large}" if target["subject"] != one.name else f"{one.name}{large}"


def _what(one: Comparison, target: dict[str, Any]) -> str:
    """What of the subject the target is about."""
    if target["of"] == "ratio":
        return f"{one.unit}, beside {one.reference}"
    return one.unit if target["of"] == "value" else str(target["of"])


def _bound(target: dict[str, Any]) -> str:
    return f"≤ {target['at_most']:.3g}" if target["at_least"] is None else f"≥ {target['at_least']:.3g}"


def _place(one: Comparison) -> tuple[int, str, str]:
    return FIRST.index(one.name) if one.name in FIRST else len(FIRST), one.name, one.scale


if __name__ == "__main__":
    main()
