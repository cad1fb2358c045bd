"""What a request may say: parsers that turn form strings into typed values or refuse them in Stripe's words.

A parser takes the raw value and the parameter's path (`items[0][price]`). `shape` builds one for a whole request:
a parameter it does not list is refused with `parameter_unknown`, as Stripe does, so that nothing is silently ignored.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from tollhouse_sandbox.errors import StripeError

_INTEGER = re.compile(r"-?[0-9]{1,15}\Z")
_PLACE = re.compile(r"[0-9]{1,9}\Z")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?\Z")

Parser = Callable[[Any, str], Any]
Params = dict[str, Any]

_UNSET = (
    "You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; however "
    "'{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value."
)


def text(raw: Any, path: str) -> str:
    """A non-empty string of at most 5000 characters."""
    if not isinstance(raw, str):
        raise StripeError(f"Invalid string: {raw}", param=path)
    if raw == "":
        raise StripeError(_UNSET.format(path=path), code="parameter_invalid_empty", param=path)
    if len(raw) > 5000:
        raise StripeError(f"Invalid string: too long; must be at most 5000 characters: {path}", param=path)
    return raw


def anything(raw: Any, _path: str) -> Any:
    """Accepted without being looked at: it has no effect in a sandbox (looks, addresses, descriptors)."""
    return raw


def integer(raw: Any, path: str) -> int:
    if not isinstance(raw, str) or not _INTEGER.match(raw):
        raise StripeError(f"Invalid integer: {raw}", code="parameter_invalid_integer", param=path)
    return int(raw)


def moment(raw: Any, path: str) -> int:
    """A time in Unix seconds, before the year 5000."""
    value = integer(raw, path)
    if not 0 <= value < 95_617_584_000:
        raise StripeError(f"Invalid timestamp: {raw}", code="parameter_invalid_integer", param=path)
    return value


def positive(raw: Any, path: str) -> int:
    """An integer that is not negative (an amount, a quantity)."""
    value = integer(raw, path)
    if value < 0:
        raise StripeError(
            "This value must be greater than or equal to 0.", code="parameter_invalid_integer", param=path
        )
    return value


def signed_decimal(raw: Any, path: str) -> Decimal:
    """A decimal amount with at most 12 places."""
    negative = isinstance(raw, str) and raw.startswith("-")
    value = decimal(raw[1:] if negative else raw, path)
    return -value if negative else value


def decimal(raw: Any, path: str) -> Decimal:
    """A decimal amount with at most 12 places; not negative."""
    if not isinstance(raw, str) or not _DECIMAL.match(raw):
        raise StripeError(f"Invalid decimal: {raw}", param=path)
    return Decimal(raw)


def flag(raw: Any, path: str) -> bool:
    if raw not in ("true", "false"):
        raise StripeError(f"Invalid boolean: {raw}", param=path)
    return bool(raw == "true")


def choice(*names: str) -> Parser:
    """One of these words."""

    def parse(raw: Any, path: str) -> str:
        if raw not in names:
            listed = f"{', '.join(names[:-1])}, or {names[-1]}" if len(names) > 1 else names[0]
            raise StripeError(f"Invalid {path}: must be one of {listed}", param=path)
        return str(raw)

    return parse


def clearable(inner: Parser) -> Parser:
    """The inner value, or an empty string that unsets it (None)."""

    def parse(raw: Any, path: str) -> Any:
        return None if raw == "" else inner(raw, path)

    return parse


def either(word: str, inner: Parser) -> Parser:
    """A word with a meaning of its own (`now`, `min_period_end`), or the inner value."""

    def parse(raw: Any, path: str) -> Any:
        return raw if raw == word else inner(raw, path)

    return parse


def list_of(inner: Parser, *, at_most: int = 100) -> Parser:
    """A list, written `a[0]=…&a[1]=…`; an empty string is the empty list."""

    def parse(raw: Any, path: str) -> list[Any]:
        if raw == "":
            return []
        if not isinstance(raw, dict) or not all(_PLACE.match(key) for key in raw):
            raise StripeError("Invalid array", param=path)
        if len(raw) > at_most:
            raise StripeError(f"Array is too long; maximum length {at_most}.", param=path)
        ordered = sorted(raw.items(), key=lambda pair: int(pair[0]))
        return [inner(value, f"{path}[{key}]") for key, value in ordered]

    return parse


def shape(fields: Mapping[str, Parser], required: tuple[str, ...] = ()) -> Parser:
    """An object with exactly these parameters; the result holds those that were given."""

    def parse(raw: Any, path: str) -> Params:
        if not isinstance(raw, dict):
            raise StripeError("Invalid object", param=path)
        result: Params = {}
        for name, value in raw.items():
            inner = f"{path}[{name}]" if path else name
            if name not in fields:
                raise StripeError(f"Received unknown parameter: {inner}", code="parameter_unknown", param=inner)
            result[name] = fields[name](value, inner)
        for name in required:
            if name not in result:
                inner = f"{path}[{name}]" if path else name
                raise StripeError(f"Missing required param: {inner}.", code="parameter_missing", param=inner)
        return result

    parse.fields = fields  # type: ignore[attr-defined]  # read by the tests that compare with the SDK's parameters
    return parse


_CURRENCY = re.compile(r"[A-Za-z]{3}\Z")


def by_currency(inner: Parser) -> Parser:
    """An object whose keys are currencies: `currency_options[eur][…]=…`; they are kept in small letters."""

    def parse(raw: Any, path: str) -> Params:
        if not isinstance(raw, dict):
            raise StripeError("Invalid object", param=path)
        for name in raw:
            if not _CURRENCY.match(name):
                raise StripeError(f"Invalid currency: {name}.", param=f"{path}[{name}]")
        return {name.lower(): inner(value, f"{path}[{name}]") for name, value in raw.items()}

    return parse


def metadata(raw: Any, path: str) -> dict[str, str] | None:
    """Up to 50 pairs of strings; an empty value removes its key, an empty string removes all (None)."""
    if raw == "":
        return None
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise StripeError("Invalid object", param=path)
    for key, value in raw.items():
        if len(key) > 40 or len(value) > 500:
            raise StripeError(
                "Metadata keys can have up to 40 characters and values up to 500 characters.", param=f"{path}[{key}]"
            )
    if len(raw) > 50:
        raise StripeError("Metadata can have up to 50 keys.", param=path)
    return raw


def merged(old: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata after an update: keys are added or replaced, `""` removes one, None removes all."""
    if given is None:
        return {}
    return {key: value for key, value in {**old, **given}.items() if value != ""}


_range = shape(dict.fromkeys(("gt", "gte", "lt", "lte"), integer))


def moments(raw: Any, path: str) -> Params:
    """A filter by time: `created=T` or `created[gte]=T` and its like."""
    if isinstance(raw, dict):
        return _range(raw, path)  # type: ignore[no-any-return]
    return {"gte": integer(raw, path), "lte": integer(raw, path)}


def within(value: int, moments: Mapping[str, int]) -> bool:
    """Whether a time passes such a filter."""
    return (
        value > moments.get("gt", value - 1)
        and value >= moments.get("gte", value)
        and value < moments.get("lt", value + 1)
        and value <= moments.get("lte", value)
    )


address = shape({name: clearable(text) for name in ("city", "country", "line1", "line2", "postal_code", "state")})
