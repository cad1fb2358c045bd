"""The heads of the chains, to be kept where whoever could rewrite the database cannot: one JSON line each.

The worker logs them, `tollhouse audit anchors` prints them, and `tollhouse audit verify --anchors` reads either: a line
of another kind between them is passed over, so a log file will do as it is.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..domain.errors import Problem
from .chain import Head

EVENT = "audit anchor"
"""What such a line has as its `event`."""

FLEET = "fleet"
"""The chain of what concerns no project; every other one is named by its project's id."""

Chain = uuid.UUID | None
"""A chain's project; None: the fleet's."""


class AnchorsInvalid(Problem):
    """The file holds no anchor that can be read.

    Give the worker's log, or lines that `tollhouse audit anchors` printed.
    """

    status = 422
    code = "anchors-invalid"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a chain ended at some instant. `project` is the slug, for people."""

    chain: Chain
    project: str | None
    head: Head

    def said(self) -> dict[str, Any]:
        """Its values as they are written, without the `event`."""
        return {
            "chain": name_of(self.chain),
            "project": self.project,
            "position": self.head.position,
            "hash": self.head.hash.hex(),
        }


def name_of(chain: Chain) -> str:
    return FLEET if chain is None else str(chain)


def read_anchors(lines: Iterable[str]) -> dict[Chain, dict[int, bytes]]:
    """Each chain's hashes by position. Raises AnchorsInvalid for a torn one, two that differ, and none."""
    anchors: dict[Chain, dict[int, bytes]] = {}
    for number, line in enumerate(lines, start=1):
        said = _anchor(line)
        if said is None:
            continue
        try:
            chain = None if said["chain"] == FLEET else uuid.UUID(said["chain"])
            position, hash_ = int(said["position"]), bytes.fromhex(said["hash"])
        except (LookupError, TypeError, ValueError, AttributeError):
            raise AnchorsInvalid(f"Line {number} is no whole anchor: take it out, or give it whole.") from None
        if anchors.setdefault(chain, {}).setdefault(position, hash_) != hash_:
            raise AnchorsInvalid(f"Line {number} has another hash for position {position} than a line before it.")
    if not anchors:
        raise AnchorsInvalid(
            "There is no anchor in it: give the worker's log or what `tollhouse audit anchors` printed."
        )
    return anchors


def _anchor(line: str) -> Mapping[str, Any] | None:
    if EVENT not in line:
        return None
    try:
        said = json.loads(line)
    except ValueError:
        raise AnchorsInvalid(f"A line that speaks of an {EVENT} is not JSON: {line[:80]!r}") from None
    return said if isinstance(said, dict) and said.get("event") == EVENT else None
