"""I13: whatever is changed in the audit trail afterwards is found, and the first bad entry named."""

from reliability.figures import Figures, Scale
from reliability.suites import tested


def run(_: Scale, seed: int) -> Figures:
    return tested(
        "I13", "the audit chain", seed, ["server/tests/core/test_audit_chain.py", "server/tests/core/test_audited.py"]
    )
