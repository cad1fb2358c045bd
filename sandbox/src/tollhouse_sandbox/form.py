"""Form encoding as Stripe uses it: `a[b][0]=c` in bodies and queries."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from tollhouse_sandbox.errors import StripeError

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")

Nested = dict[str, Any]


def parse(encoded: str) -> Nested:
    """Reads an encoded body or query into nested dicts of strings; lists stay dicts with keys "0", "1", …."""
    return nest(parse_qsl(encoded, keep_blank_values=True))


def nest(pairs: Iterable[tuple[str, str]]) -> Nested:
    """Builds the nested dicts. `a[]=x` appends. A key that cannot be read is refused with 400."""
    root: Nested = {}
    for key, value in pairs:
        match = _KEY.match(key)
        if match is None:
            raise StripeError(f"Invalid parameter name: {key}", param=key)
        _place(root, [match[1], *_PART.findall(match[2])], value, key)
    return root


def _place(root: Nested, parts: list[str], value: str, key: str) -> None:
    here = root
    for part in parts[:-1]:
        here = here.setdefault(part or str(len(here)), {})
        if not isinstance(here, dict):
            raise StripeError(f"Invalid object: {key}", param=key)
    here[parts[-1] or str(len(here))] = value


def flatten(nested: Any, prefix: str = "") -> list[tuple[str, str]]:
    """The pairs again, sorted: equal for equal requests, whatever their order was."""
    if not isinstance(nested, dict):
        return [(prefix, str(nested))]
    pairs: list[tuple[str, str]] = []
    for name in sorted(nested):
        pairs += flatten(nested[name], f"{prefix}[{name}]" if prefix else name)
    return pairs
