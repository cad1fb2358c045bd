"""Several runs at once, each in a process of its own: no other's threads and settings are left in it."""

import importlib
import multiprocessing
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from reliability.figures import Figures, Run, Scale, silence


def figures_of(names: Sequence[str], scale: Scale, seed: int, at_once: int) -> Iterator[Figures]:
    """The figures of each run, as it ends; `at_once` of them go on at a time and begin in the order of their names."""
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, spawning, initializer=silence, max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(run, name, scale, seed) for name in names]):
            yield done.result()


def run(name: str, scale: Scale, seed: int) -> Figures:
    """One run's figures; one that breaks down is broken too, and the others still run."""
    begin: Run = importlib.import_module(f"reliability.{name}").run
    try:
        return begin(scale, seed)
    except Exception as error:
        traceback.print_exc()
        return Figures("?", name, seed, wrong=[f"the run broke down: {type(error).__name__}: {error}"])
