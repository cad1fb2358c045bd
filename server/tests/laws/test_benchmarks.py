"""The benchmarks' own harness: what it says of things whose cost is known."""

import itertools
import sys
import time
from pathlib import Path

import pytest
from benchmarks import harness, report
from benchmarks.harness import Figure, Measured, Refused, Scale, Target, compare, load, serving_app


def sleeping(milliseconds: float) -> Measured:
    """A subject that takes as long as that; what it says is what it took."""
    began = time.perf_counter()
    time.sleep(milliseconds / 1e3)
    return Measured((time.perf_counter() - began) * 1e3, {"asked ms": milliseconds})


def test_a_comparison_tells_ratio_spread_and_targets(tmp_path: Path) -> None:
    """Of two sleeps the ratio is known; the file is the outcome again."""
    told = compare(
        "sleeps",
        "ms",
        {"short": lambda: sleeping(10), "long": lambda: sleeping(60)},
        "short",
        about="Two sleeps.",
        targets=[Target("long", at_least=2), Target("long", at_most=2), Target("short", "asked ms", at_most=10)],
        rounds=5,
        into=tmp_path,
    )
    ratio = told.subject("long").ratio
    assert ratio is not None and told.subject("short").ratio is None
    assert ratio.low <= ratio.median <= ratio.high
    assert 2 < ratio.median < 6.5  # a busy machine sleeps longer, and the short one more so
    assert [one["met"] for one in told.targets] == [True, False, True]
    assert told.targets[0]["seen"] == ratio.median
    read = harness.read(tmp_path / "sleeps.json")
    assert read.subject("long").seen("ratio") == pytest.approx(ratio.median, rel=1e-4)
    assert read.targets[0]["seen"] == pytest.approx(ratio.median, rel=1e-4)
    assert (read.at, read.commit, read.rounds, read.machine) == (told.at, told.commit, 5, told.machine)


def test_subjects_take_turns_and_a_quick_run_writes_nothing(tmp_path: Path) -> None:
    """Each round begins with another one, and a ratio is that of one round."""
    order: list[str] = []

    def turn(name: str, value: float) -> float:
        order.append(name)
        return value * ((len(order) + 1) // 2)  # the machine grows slower from round to round: the ratio stays

    told = compare(
        "turns",
        "s",
        {"a": lambda: turn("a", 1), "b": lambda: turn("b", 3)},
        "a",
        about="",
        scale=Scale(quick=True),
        rounds=4,
        into=tmp_path,
    )
    assert "".join(order) == "abbaabba"
    assert told.subject("a").value == Figure(2.5, 1.75, 3.25)
    assert told.subject("b").ratio == Figure(3, 3, 3)
    assert list(tmp_path.iterdir()) == []


def test_figures_are_medians_and_quartiles() -> None:
    """One outlier changes neither."""
    assert Figure.of([3.0]) == Figure(3, 3, 3)
    assert Figure.of([1, 2, 3, 4, 1000]) == Figure(3, 2, 4)


def test_load_counts_whole_answers_and_refuses_others(tmp_path: Path) -> None:
    """Against the bare server: answers a second, latencies, and the processor's time, of the server alone."""
    ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving_app("benchmarks.bare:app") as bare:
        seen = load(bare, itertools.cycle([ask]), seconds=0.3, warm_up=0.1, connections=4)
        assert seen.requests > 100 and 0 < seen.p50 <= seen.p95 <= seen.p99 < 0.3
        assert 0 < seen.cpu_seconds <= 0.5
        assert load(bare, itertools.repeat(ask, 50), seconds=5, warm_up=0, connections=4).requests == 50
        assert 10e6 < bare.resident_bytes() < 500e6
        with pytest.raises(Refused, match="premium_export"):
            load(bare, itertools.cycle([ask]), seconds=5, status=404)


def test_a_server_that_does_not_start_is_told_at_once() -> None:
    """Not after the minute that a slow one has."""
    with (
        pytest.raises(RuntimeError, match="did not start"),
        harness.serving([sys.executable, "-c", "raise SystemExit"]),
    ):
        pass


def test_the_page_is_what_the_results_make_of_it() -> None:
    """Run `python -m benchmarks.report` where this fails: figures and chart are written by nobody's hand."""
    outdated = [path.name for path, text in report.pages(harness.RESULTS) if path.read_text() != text]
    assert outdated == []


def test_a_missed_target_is_told(tmp_path: Path) -> None:
    """In the table and in the chart, in words and not by a colour alone."""
    targets = [Target("slow", at_most=2), Target("slow", "value", at_least=3), Target("slow", "value", at_most=0)]
    compare("misses", "s", {"fast": lambda: 1.0, "slow": lambda: 3.0}, "fast", about="", targets=targets, into=tmp_path)
    (_, page), (_, chart) = report.pages(tmp_path)
    assert "1 of 3 targets are met" in page
    assert "| misses: slow | s, beside fast | 3 | ≤ 2 | **not met** |" in page
    assert "| misses: slow | s | 3 | ≥ 3 | met |" in page
    assert "3, missed" in chart
