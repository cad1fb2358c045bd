"""Between the API's JSON and the classes of answers.py, whose annotations are the only description of the shapes.

Fields that this version does not know are ignored; one that is missing and has no default makes the answer unreadable.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache, reduce
from operator import or_
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .answers import Customer, Entitlements, Value

T = TypeVar("T")


class Unreadable(ValueError):
    """A JSON value is not of the shape the API promises."""


def decode(shape: type[T], raw: object) -> T:
    """Read one JSON value as `shape`. Raises Unreadable, naming the place."""
    return cast(T, _read(shape, raw, shape.__name__))


def encode(value: object) -> Any:
    """The JSON value that `decode` would read as `value`."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if is_dataclass(value):
        said = ((_wire_name(field), getattr(value, field.name)) for field in fields(value))
        wire = {name: encode(item) for name, item in said if name}
        if isinstance(value, Customer):
            wire.update(wire.pop("entitlements"))
        return wire
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return "unlimited" if value == math.inf else value


@cache
def _hints(shape: type) -> dict[str, Any]:
    return get_type_hints(shape)


def _wire_name(field: Field[Any]) -> str | None:
    """None: the API does not say it, it is this side's own."""
    name: str | None = field.metadata.get("wire", field.name)
    return name


def _read(hint: Any, raw: object, where: str) -> Any:
    """`hint` is an annotation of answers.py; `where` is the path to `raw`, for the error."""
    if hint is object:
        return raw
    if hint == Value:
        return _value(raw, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if raw is None:
            return None
        present = [part for part in arguments if part is not types.NoneType]
        return _read(reduce(or_, present), raw, where)
    if origin is tuple:
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(_typed(list, raw, where)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in _typed(dict, raw, where).items()}
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)  # JSON has one kind of number
    if hint is datetime:
        return _instant(raw, where)
    if hint is Entitlements:
        return _entitlements(_typed(dict, raw, where), where)
    if is_dataclass(hint):
        return _record(cast(type, hint), _typed(dict, raw, where), where)
    return _typed(hint, raw, where)


def _record(shape: type, raw: dict[str, object], where: str) -> Any:
    if shape is Customer:
        raw = {**raw, "entitlements": raw}
    values = {}
    for field in fields(shape):
        name = _wire_name(field)
        if name is not None and name in raw:
            values[field.name] = _read(_hints(shape)[field.name], raw[name], f"{where}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Unreadable(f"{where}.{name} is missing")
    return shape(**values)


def _entitlements(raw: dict[str, object], where: str) -> Entitlements:
    """The API says version and time once for all features; each Check carries them."""
    shared = {"version": raw.get("version"), "checked_at": raw.get("checked_at")}
    features = _typed(dict, raw.get("features"), f"{where}.features")
    checks = {
        code: {**_typed(dict, check, f"{where}.features.{code}"), "feature": code, **shared}
        for code, check in features.items()
    }
    return cast(Entitlements, _record(Entitlements, {**raw, "features": checks}, where))


def _typed(expected: type[T], raw: object, where: str) -> T:
    if isinstance(raw, expected) and (expected is bool or not isinstance(raw, bool)):
        return raw
    raise Unreadable(f"{where} should be {expected.__name__}, not {type(raw).__name__}")


def _value(raw: object, where: str) -> Value:
    if raw == "unlimited":
        return math.inf
    if isinstance(raw, bool | int):
        return raw
    raise Unreadable(f"{where} is neither true, false, a whole number nor 'unlimited'")


def _instant(raw: object, where: str) -> datetime:
    try:
        instant = datetime.fromisoformat(_typed(str, raw, where))
    except ValueError:
        raise Unreadable(f"{where} is not an RFC 3339 time") from None
    if instant.tzinfo is None:
        raise Unreadable(f"{where} has no time zone")
    return instant
