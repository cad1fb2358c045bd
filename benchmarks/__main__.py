"""`python -m benchmarks [NAME …]`: runs the benchmarks one after the other, each in a process that is ended in time."""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MINUTES, MINUTES_LARGE = 10, 60
"""After which a benchmark is ended; none takes so long by itself."""


def main() -> int:
    names = sorted(path.stem for path in HERE.glob("[!_]*.py") if "Scale.asked(" in path.read_text())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="a first look; writes no results")
    parser.add_argument("--large", action="store_true", help="a million customers; takes long")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    scale = ["--quick"] * given.quick + ["--large"] * given.large
    failed = []
    for name in given.names or names:
        print(f"== {name}", flush=True)
        if not _run([sys.executable, "-m", f"benchmarks.{name}", *scale], MINUTES_LARGE if given.large else MINUTES):
            failed.append(name)
    print(f"broke down: {', '.join(failed)}" if failed else "all ran", flush=True)
    return bool(failed)


def _run(command: list[str], minutes: float) -> bool:
    process = subprocess.Popen(command, cwd=HERE.parent)
    try:
        return process.wait(minutes * 60) == 0
    except subprocess.TimeoutExpired:
        print(f"not over after {minutes} minutes", flush=True)
        return False
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
