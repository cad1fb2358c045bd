"""Several runs at once, each in a process of its own: no other's threads and settings are left in it."""

import faulthandler
import importlib
import multiprocessing
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection

from reliability.figures import Figures, Run, Scale, silence

LONGEST = 480.0
"""Seconds for one run of the usual size; none takes two minutes on a quiet machine."""
ENDING = 30.0
"""Seconds in which a process must be gone once its run has said its figures."""


def figures_of(names: Sequence[str], scale: Scale, seed: int, at_once: int) -> Iterator[Figures]:
    """The figures of each run, as it ends; `at_once` of them go on at a time and begin in the order of their names.

    A run that breaks down, dies or hangs is broken, and the others still run.
    """
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(alone, name, scale, seed) for name in names]):
            yield done.result()


def alone(name: str, scale: Scale, seed: int) -> Figures:
    """One run's figures, from a process that is gone afterwards."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=run, args=(theirs, name, scale, seed), name=name)
    process.start()
    theirs.close()
    try:
        figures: Figures = ours.recv()
    except EOFError:
        figures = Figures("?", name, seed, wrong=["the run died or hung; standard error says where"])
    process.join(ENDING)
    if process.is_alive():
        print(f"{name} had said its figures and did not end", flush=True)
        process.kill()
        process.join()
    return figures


def run(answer: Connection, name: str, scale: Scale, seed: int) -> None:
    """In the process: one run, and what it found into the pipe. One that hangs says where each thread is, and exits."""
    if not scale.long:
        faulthandler.dump_traceback_later(LONGEST, exit=True)
    silence()
    begin: Run = importlib.import_module(f"reliability.{name}").run
    try:
        answer.send(begin(scale, seed))
    except Exception as error:
        traceback.print_exc()
        answer.send(Figures("?", name, seed, wrong=[f"the run broke down: {type(error).__name__}: {error}"]))
    answer.close()
    faulthandler.cancel_dump_traceback_later()
    faulthandler.dump_traceback_later(ENDING - 5, exit=True)
