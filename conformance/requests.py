"""Requests as the SDK's `…Params` types have them, compared with what came over the wire."""

import functools
import importlib
import re
import types
import typing
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin

import stripe
from stripe._request_options import RequestOptions
from typing_extensions import is_typeddict

from conformance.annotations import names_in

_METHOD = re.compile(
    r'    def \w+\(\s*self,(?P<arguments>.*?)\) -> .*?self\._request\(\s*"(?P<verb>\w+)",\s*"(?P<path>/v1/[^"]+)"', re.S
)
_PARAMS = re.compile(r'params: (?:Optional\[)?\s*"(\w+Params)"')
_IMPORT = re.compile(r"from (stripe\.params\S*) import \(?\s*(\w+Params)")


def _declared(source: str) -> Iterator[tuple[str, str, str, str]]:
    """The verb and the path of every call in a service's source, and the module and name of its parameters' type."""
    modules = {name: module for module, name in _IMPORT.findall(source)}
    for method in _METHOD.finditer(source):
        if params := _PARAMS.search(method["arguments"]):
            yield method["verb"].upper(), method["path"], modules[params[1]], params[1]


@functools.cache
def _calls() -> list[tuple[str, re.Pattern[str], str, str]]:
    """Every call of the SDK, those with fewest placeholders first."""
    files = Path(stripe.__file__).parent.rglob("_*_service.py")
    found = sorted(
        (call for file in files for call in _declared(file.read_text())), key=lambda call: call[1].count("{")
    )
    return [
        (verb, re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + r"\Z"), module, name)
        for verb, path, module, name in found
    ]


def _params_of(method: str, path: str) -> Any:
    for verb, pattern, module, name in _calls():
        if verb == method and pattern.match(path):
            return getattr(importlib.import_module(module), name)
    return None


def request_faults(method: str, path: str, sent: dict[str, Any]) -> list[str]:
    """Everything in a request that the SDK's annotations do not allow.

    `sent` are the decoded form or query: nested dicts of strings, lists as dicts with the keys "0", "1", ….
    """
    if method == "DELETE" and not sent:
        return []
    params = _params_of(method, path)
    if params is None:
        return [f"the SDK knows no {method} {path}"]
    return [f"{method} {path}: {fault}" for fault in _object_faults(sent, params, "")]


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    names = names_in(RequestOptions.__module__) | names_in(cls.__module__)
    hints = typing.get_type_hints(cls, names, include_extras=True)
    return {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}


def _object_faults(sent: dict[str, Any], cls: type, path: str) -> list[str]:
    faults = []
    hints = _hints(cls)
    for name, value in sent.items():
        if name not in hints:
            faults.append(f"{path}{name} is unknown to the SDK")
        else:
            faults += _faults(value, hints[name], f"{path}{name}")
    required = (name for name, hint in hints.items() if get_origin(hint) is not NotRequired)
    return [*faults, *(f"{path}{name} is missing" for name in required if name not in sent)]


_WRITTEN: dict[Any, Callable[[str], bool]] = {
    str: lambda _value: True,
    int: re.compile(r"-?\d+\Z").match,  # type: ignore[dict-item]
    float: re.compile(r"-?\d+(\.\d+)?\Z").match,  # type: ignore[dict-item]
    Decimal: re.compile(r"-?\d+(\.\d+)?\Z").match,  # type: ignore[dict-item]
    bool: ("true", "false").__contains__,
}


def _faults(value: Any, hint: Any, path: str) -> list[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return _faults(value, arguments[0], path)
    if origin in (Union, types.UnionType):
        return _union_faults(value, arguments, path)
    if origin is Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments[:12]}"]
    if isinstance(value, str):
        written = _WRITTEN.get(hint)
        return [] if written and written(value) else [f"{path}: {value!r} is no {hint}"]
    if origin is list:
        return [fault for key, each in value.items() for fault in _faults(each, arguments[0], f"{path}[{key}]")]
    if origin is dict:
        return [fault for key, each in value.items() for fault in _faults(each, arguments[1], f"{path}[{key}]")]
    if is_typeddict(hint):
        return _object_faults(value, hint, f"{path}.")
    return [f"{path}: {value!r} is no {hint}"]


def _union_faults(value: Any, arguments: tuple[Any, ...], path: str) -> list[str]:
    """The SDK adds `str` to a choice for values to come; only today's are right."""
    literal = any(get_origin(each) is Literal and get_args(each) != ("",) for each in arguments)
    attempts = [_faults(value, each, path) for each in arguments if not (literal and each is str)]
    return [] if [] in attempts else max(attempts, key=lambda faults: faults[0].count("."))
