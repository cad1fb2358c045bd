"""Answers as the SDK's annotations have them: a non-Optional annotation is a required field, and types are strict."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

import stripe
from stripe._object_classes import get_object_class

from conformance.annotations import names_in


@functools.cache
def fields(cls: type) -> dict[str, Any]:
    own = [base for base in cls.__mro__ if base.__module__.startswith("stripe") and inspect.get_annotations(base)]
    hints: dict[str, Any] = {}
    for base in reversed(own):
        if base in (stripe.StripeObject, stripe.APIResource) or base.__name__.endswith("APIResource"):
            continue
        nested = {name: value for name, value in vars(base).items() if isinstance(value, type)}
        hints.update(typing.get_type_hints(base, names_in(base.__module__), nested))
    return {
        name: hint
        for name, hint in hints.items()
        if get_origin(hint) is not typing.ClassVar and not name.startswith("_") and name != "last_response"
    }


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    Decimal: lambda value: isinstance(value, str) and Decimal(value).is_finite(),
    type(None): lambda value: value is None,
    Any: lambda _value: True,
    object: lambda _value: True,
}


def _check(value: Any, hint: Any, path: str) -> list[str]:
    """What is wrong with a value; empty when it fits the annotation."""
    if hint in _PLAIN:
        return [] if _PLAIN[hint](value) else [f"{path}: {value!r} is no {hint}"]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments[:12]}"]
    if origin in (Union, types.UnionType):
        return _check_union(value, arguments, path)
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [fault for place, each in enumerate(value) for fault in _check(each, arguments[0], f"{path}[{place}]")]
    if origin is stripe.ListObject:
        return _check_list(value, arguments[0], path)
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    if origin is not None:  # a map from any names to values of one type
        return [fault for name, each in value.items() for fault in _check(each, arguments[-1], f"{path}.{name}")]
    return _check_object(value, hint, path)


def _check_union(value: Any, arguments: tuple[Any, ...], path: str) -> list[str]:
    literals = [each for each in arguments if get_origin(each) is Literal]
    if literals and isinstance(value, str):
        # The SDK adds `str` for values to come; the sandbox speaks only today's.
        return _check(value, literals[0], path)
    attempts = [_check(value, each, path) for each in arguments]
    if [] in attempts:
        return []
    # The alternative that went wrong deepest inside is the one that was meant.
    return max(attempts, key=lambda faults: faults[0].count("."))


def _check_list(value: Any, hint: Any, path: str) -> list[str]:
    if not isinstance(value, dict) or value.get("object") != "list":
        return [f"{path}: {value!r} is no list object"]
    missing = [f"{path}.{name} is missing" for name in ("data", "has_more", "url") if name not in value]
    return missing + [
        fault for place, each in enumerate(value["data"]) for fault in _check(each, hint, f"{path}.data[{place}]")
    ]


def _check_object(value: dict[str, Any], cls: type, path: str) -> list[str]:
    if value.get("deleted"):
        return [] if {"id", "object"} <= set(value) else [f"{path}: a deleted object has an id and an object"]
    if cls is stripe.StripeObject:
        return []
    faults = []
    for name, hint in fields(cls).items():
        if name in value:
            faults += _check(value[name], hint, f"{path}.{name}")
        elif not _is_optional(hint):
            faults.append(f"{path}.{name} is missing")
    return faults


_NOT_TYPED = {
    "subscription": {"plan", "quantity"},
}
"""Fields real answers carry although the SDK does not declare them."""


def shape_faults(body: dict[str, Any]) -> list[str]:
    """Everything in an answer that the SDK's annotations do not allow."""
    if body.get("object") == "list":
        return [fault for each in body["data"] for fault in shape_faults(each)]
    cls: Any = get_object_class("V1", body["object"])
    assert cls is not stripe.StripeObject, f"the SDK knows no {body['object']}"
    faults = _check(body, cls, body["object"])
    if not body.get("deleted"):
        unknown = set(body) - set(fields(cls)) - _NOT_TYPED.get(body["object"], set())
        faults += [f"{body['object']}.{name} is unknown to the SDK" for name in sorted(unknown)]
    if body["object"] == "event":
        about = body["data"]["object"]
        # The invoice that is announced does not exist yet: it alone has no id.
        faults += shape_faults({**about, "id": ""} if body["type"] == "invoice.upcoming" else about)
    return faults
