"""A catalog document written as the file that people read: `tomllib` and `parse_catalog` read it back as it was."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_TABLES: Final = ("features", "products")
"""What has a table for each of its entries."""

Comments = Mapping[tuple[str, ...], Sequence[str]]
"""By the path of the key or table that they stand above; those of () stand at the top."""


def catalog_toml(document: Mapping[str, Any], comments: Comments | None = None) -> str:
    """The document as TOML, in its order. A null is left out, as it says what an absent key says."""
    return "\n".join(_lines(document, comments or {})) + "\n"


def _lines(document: Mapping[str, Any], comments: Comments) -> Iterator[str]:
    yield from _above((), comments)
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    yield from _pairs({key: value for key, value in document.items() if key not in tables}, (), comments)
    for key, table in tables.items():
        entries = table if key in _TABLES and table else {None: table}
        for code, entry in entries.items():
            path = (key,) if code is None else (key, code)
            yield ""
            yield from _above(path, comments)
            yield f"[{'.'.join(map(_key, path))}]"
            yield from _pairs(entry, path, comments)


def _pairs(table: Mapping[str, Any], path: tuple[str, ...], comments: Comments) -> Iterator[str]:
    """The prices of a product have a line each."""
    for key, value in table.items():
        if value is None:
            continue
        if key == "prices" and isinstance(value, Mapping) and value:
            for code, price in value.items():
                yield from _above((*path, key, code), comments)
                yield f"prices.{_key(code)} = {_value(price)}"
        else:
            yield from _above((*path, key), comments)
            yield f"{_key(key)} = {_value(value)}"


def _above(path: tuple[str, ...], comments: Comments) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in comments.get(path, ()))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = [f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None]
        return f"{{ {', '.join(inner)} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    # Text, numbers, true and false are in JSON as they are in TOML.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)
