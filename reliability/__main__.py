"""`python -m reliability [NAME …]`: tries to break the promises; a line of figures each, and figures.jsonl."""

import argparse
import os
import sys
from pathlib import Path

from reliability.figures import Scale, chosen_seed
from reliability.side_by_side import figures_of

# In this order: what waits beside what computes, and last what keeps two cores busy by itself.
RUNS = (
    "crash",
    "cache_model",
    "checkout_model",
    "unknown_outcomes",
    "checkout_rush",
    "notifications",
    "cache_history",
    "tenancy",
    "audit_chain",
    "cache_outage",
    "burst",
    "fuzz",
    "permutations",
)
RESULTS = Path(__file__).with_name("figures.jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; all if absent")
    parser.add_argument("--seed", type=int, default=None, help="the one that failed, to see it again")
    parser.add_argument(
        "--long", action="store_true", default=bool(os.environ.get("TOLLHOUSE_LONG")), help="the figures of a night"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the usual figures, for a first look")
    parser.add_argument("--at-once", type=int, default=2, help="so many runs side by side; most wait half of the time")
    given = parser.parse_args()
    seed = chosen_seed() if given.seed is None else given.seed
    broken = 0
    with RESULTS.open("w") as results:
        for figures in figures_of(given.names or RUNS, Scale(given.long, given.share), seed, given.at_once):
            broken += bool(figures.wrong)
            print(figures.line(), flush=True)
            for sentence in figures.wrong[:20]:
                print(f"         {sentence}", flush=True)
            results.write(f"{figures.as_json()}\n")
            results.flush()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
