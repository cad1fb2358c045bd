"""`python -m reliability [NAME …]`: tries to break the promises; a line of figures each, and figures.jsonl."""

import argparse
import importlib
import os
import sys
import traceback
from pathlib import Path

from reliability.figures import Figures, Run, Scale, chosen_seed, silence

RUNS = ("crash", "permutations", "burst", "unknown_outcomes", "tenancy", "audit_chain", "notifications", "fuzz")
RESULTS = Path(__file__).with_name("figures.jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; all if absent")
    parser.add_argument("--seed", type=int, default=None, help="the one that failed, to see it again")
    parser.add_argument(
        "--long", action="store_true", default=bool(os.environ.get("TOLLHOUSE_LONG")), help="the figures of a night"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the usual figures, for a first look")
    given = parser.parse_args()
    seed = chosen_seed() if given.seed is None else given.seed
    broken = 0
    silence()
    with RESULTS.open("w") as results:
        for name in given.names or RUNS:
            figures = run(name, Scale(given.long, given.share), seed)
            broken += bool(figures.wrong)
            print(figures.line(), flush=True)
            for sentence in figures.wrong[:20]:
                print(f"         {sentence}", flush=True)
            results.write(f"{figures.as_json()}\n")
            results.flush()
    return 1 if broken else 0


def run(name: str, scale: Scale, seed: int) -> Figures:
    """One run's figures; one that breaks down is broken too, and the others still run."""
    begin: Run = importlib.import_module(f"reliability.{name}").run
    try:
        return begin(scale, seed)
    except Exception as error:
        traceback.print_exc()
        return Figures("?", name, seed, wrong=[f"the run broke down: {type(error).__name__}: {error}"])


if __name__ == "__main__":
    sys.exit(main())
