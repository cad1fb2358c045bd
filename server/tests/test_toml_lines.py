"""The line of a mistake in a catalog file."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tollhouse_server.cli.toml_lines import line_of, lines

ROOT = Path(__file__).parents[2]
ODD = '''# a comment with [brackets] and "quotes
project = "x"  # = [
name = """two
lines ] with \\""" inside"""
path = 'C:\\'
raw = \'\'\'
it's {raw}\'\'\'
when = 1979-05-27T07:32:00Z
origins = [
    "https://a.example", # one
    [1, 2],
    { deep = "}", "quo.ted" = 'k' },
]
nothing = []
[features."odd/na~me"]
kind="limit"
[products . pro]
opens = { export = true, pages = { limit = 5 } }
prices.monthly.amount = 900
[[rows]]
first = 1
[[rows]]
first = 2
[rows.below]
second = 3
'''


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, str(key))
        yield from paths(one, (*path, str(key)))


def catalogs() -> list[str]:
    listings = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/reference/catalog-file.md").read_text(), re.M | re.S)
    return [ODD, *listings, *(file.read_text() for file in ROOT.glob("examples/*/*.toml"))]


@pytest.mark.parametrize("text", catalogs())
def test_every_key_has_its_line(text: str) -> None:
    """All that TOML reads from a file has a line, and nothing else has; the key stands on it, or begins its table."""
    found = lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    rows = text.splitlines()
    for path, line in found.items():
        if not path[-1].isdigit():
            assert path[-1] in rows[line - 1], path


def test_the_line_of_a_pointer() -> None:
    """Of what is missing, the line of the table that lacks it; with / and ~ in a name as a pointer writes them."""
    told = {
        "/project": 2,
        "/origins/2/deep": 12,
        "/origins/1/1": 11,
        "/features/odd~1na~0me/kind": 16,
        "/products/pro/opens/pages/limit": 18,
        "/products/pro/prices/monthly/currency": 19,
        "/rows/1/first": 23,
        "/rows/1/below/second": 25,
        "/policy": 1,
        "": 1,
    }
    assert {pointer: line_of(ODD, pointer) for pointer in told} == told
