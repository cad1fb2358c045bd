"""JSON as it is taken here: what two readers could read differently is refused before anybody acts on it."""

import json
import math
from typing import Any, NoReturn

from .problems import MalformedJson

MAX_DEPTH = 32
"""Objects and arrays within each other; nothing that is asked of this service needs five."""


def check_json(body: bytes, charset: str | None) -> None:
    """Raises MalformedJson, which never repeats what was sent.

    Beside what is no JSON at all: another charset than UTF-8, a name twice in one object (of which every reader keeps
    another), NaN and the infinities (which JSON does not have), and nesting deeper than MAX_DEPTH.
    """
    if charset is not None and charset.strip('"').lower() not in ("utf-8", "utf8"):
        raise MalformedJson("JSON is sent in UTF-8: send it so, and no other charset in Content-Type.")
    try:
        # Decoded here, as json.loads would try UTF-16 and UTF-32 too.
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_not_a_number, parse_float=_float
        )
    except _Ambiguous as found:
        raise MalformedJson(str(found)) from None
    except (ValueError, RecursionError):
        raise MalformedJson("The body is not JSON: send UTF-8 encoded JSON.") from None
    if _is_deeper_than(MAX_DEPTH, value):
        raise MalformedJson(f"The body is nested more than {MAX_DEPTH} levels deep: send it flatter.")


class _Ambiguous(Exception):
    """Python reads it, but it is not, or not unmistakably, JSON."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Ambiguous("An object has the same name twice: send each name once.")
    return made


def _not_a_number(_: str) -> NoReturn:
    raise _Ambiguous("JSON has neither NaN nor Infinity: send a number.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Ambiguous("A number is too large to be one: send a smaller one.")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    """Level by level, as a recursion could be sent too deep for this very check."""
    within = [value]
    for _ in range(levels):
        containers = [one for one in within if isinstance(one, (dict, list))]
        within = [inner for one in containers for inner in (one.values() if isinstance(one, dict) else one)]
        if not within:
            return False
    return any(isinstance(one, (dict, list)) for one in within)
