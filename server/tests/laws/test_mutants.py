"""The mutants stay in step with the code: one that changes nothing would be killed by nothing."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_mutant_changes_one_place() -> None:
    """What `make mutants` replaces is in the code exactly once, and what kills it is there; else change it too."""
    mutants = runpy.run_path(str(ROOT / "reliability/mutants.py"))["MUTANTS"]
    source = ROOT / "server/src/tollhouse_server"
    assert [one.name for one in mutants if (source / one.file).read_text().count(one.old) != 1] == []
    assert len({one.name for one in mutants}) == len(mutants) >= 20
    for one in mutants:
        kind, _, rest = one.killer.partition(" ")
        killer = ROOT / f"reliability/{rest.split()[0]}.py" if kind == "run" else ROOT / kind
        assert killer.exists(), one.name
