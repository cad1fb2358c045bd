"""I9: no project sees or changes another's; every call of the API's own description is asked."""

from reliability.figures import Figures, Scale
from reliability.suites import tested


def run(_: Scale, seed: int) -> Figures:
    return tested("I9", "another project's things", seed, ["server/tests/api/test_tenancy.py"])
