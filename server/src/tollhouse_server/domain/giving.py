"""Whether a grant can be given as it is asked for: all that is wrong with it at once, each mistake under its code.

The law: what is stored opens or closes something, now or later, and exactly what it says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .catalog import UNLIMITED, Catalog, Feature, Kind, Value
from .catalog_file import LARGEST_LIMIT
from .errors import Problem
from .merging import closed, fits
from .mistakes import Mistake


class GrantInvalid(Problem):
    """The grant cannot be given like this; each entry of `errors` says what to change.

    Where all that is wrong is of one kind, that kind's own code stands here.
    """

    status = 422
    code = "grant-invalid"


class GrantInThePast(GrantInvalid):
    """The grant ends before now: it would never open anything.

    Give it an end that is still to come, or none.
    """

    code = str(Mistake.GRANT_IN_THE_PAST)


class LimitBelowZero(GrantInvalid):
    """A limit is a whole number from 0 on, or "unlimited".

    To close a feature, give 0 (a switch: false) with override.
    """

    code = str(Mistake.LIMIT_BELOW_ZERO)


class UnknownFeature(GrantInvalid):
    """The project's catalog has no feature of this code.

    Publish a catalog that has it, or look for a typing mistake: `errors` lists those that there are.
    """

    code = str(Mistake.UNKNOWN_FEATURE)


class UnknownProduct(GrantInvalid):
    """The project's catalog has no product of this code.

    Publish a catalog that has it, or look for a typing mistake: `errors` lists those that there are.
    """

    code = str(Mistake.UNKNOWN_PRODUCT)


class ValueDoesNotFit(GrantInvalid):
    """The value is not one of this feature.

    A switch takes true; a limit a whole number or "unlimited". What closes (false, 0) needs override.
    """

    code = str(Mistake.VALUE_DOES_NOT_FIT)


KINDS: Final[Mapping[str, type[GrantInvalid]]] = {
    kind.code: kind for kind in (GrantInThePast, LimitBelowZero, UnknownFeature, UnknownProduct, ValueDoesNotFit)
}


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """Exactly one of `feature` (with `value` where it is a limit) and `product`; `ends_at=None` is for good."""

    user_id: str
    reason: str
    feature: str | None = None
    value: Value | None = None
    product: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    override: bool = False
    """The feature has exactly this value, also a closed one; `value` must be said."""


def checked_value(catalog: Catalog, wanted: GrantRequest, at: datetime) -> Value | None:
    """The value to store, a switch's being True without saying. Raises GrantInvalid, or the one kind of it."""
    found = _Mistakes()
    _check_what(catalog, wanted, found)
    _check_when(wanted, at, found)
    feature = catalog.features.get(wanted.feature or "")
    value = None if feature is None else _value(feature, wanted, found)
    if found.errors:
        kinds = {error["code"] for error in found.errors}
        kind = KINDS.get(kinds.pop(), GrantInvalid) if len(kinds) == 1 else GrantInvalid
        raise kind(f"The grant cannot be given like this. {found.errors[0]['detail']}", errors=found.errors)
    return value


class _Mistakes:
    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []

    def add(self, pointer: str, mistake: Mistake, detail: str) -> None:
        self.errors.append({"pointer": pointer, "code": str(mistake), "detail": detail})


def _check_what(catalog: Catalog, wanted: GrantRequest, found: _Mistakes) -> None:
    if (wanted.feature is None) == (wanted.product is None):
        found.add("/feature", Mistake.MISSING, "Say either feature or product, not both.")
    if wanted.product is not None and wanted.product not in catalog.products:
        found.add("/product", Mistake.UNKNOWN_PRODUCT, f"No such product in the catalog; {_there(catalog.products)}.")
    if wanted.product is not None and wanted.value is not None:
        found.add("/value", Mistake.USELESS, "Leave it out: the product says what it opens.")
    if wanted.override and wanted.feature is None and wanted.product is not None:
        found.add("/override", Mistake.USELESS, "An override is of one feature: say feature and value, not product.")
    if wanted.feature is not None and wanted.feature not in catalog.features:
        found.add("/feature", Mistake.UNKNOWN_FEATURE, f"No such feature in the catalog; {_there(catalog.features)}.")


def _there(known: Mapping[str, object] | Sequence[str]) -> str:
    return f"there are: {', '.join(sorted(known)) or 'none'}"


def _check_when(wanted: GrantRequest, at: datetime, found: _Mistakes) -> None:
    if wanted.ends_at is None:
        return
    if wanted.ends_at <= at:
        found.add("/ends_at", Mistake.GRANT_IN_THE_PAST, "It must be later than now, or it would open nothing.")
    elif wanted.starts_at is not None and wanted.ends_at <= wanted.starts_at:
        found.add("/ends_at", Mistake.OUT_OF_RANGE, "It must be later than starts_at, or it would open nothing.")


def _value(feature: Feature, wanted: GrantRequest, found: _Mistakes) -> Value:
    value = wanted.value
    if value is None:
        if feature.kind is Kind.SWITCH and not wanted.override:
            return True
        found.add("/value", Mistake.MISSING, f"Say the value: {_said(feature, wanted)}.")
    elif isinstance(value, int) and value < 0:
        found.add("/value", Mistake.LIMIT_BELOW_ZERO, f"A limit is not below zero: {_said(feature, wanted)}.")
    elif isinstance(value, int) and value > LARGEST_LIMIT:
        found.add("/value", Mistake.OUT_OF_RANGE, f"Too large: {_said(feature, wanted)}.")
    elif not (value or wanted.override) or not fits(feature, value):
        found.add(
            "/value", Mistake.VALUE_DOES_NOT_FIT, f"{feature.code} is a {feature.kind}: {_said(feature, wanted)}."
        )
    else:
        return value
    return closed(feature)


def _said(feature: Feature, wanted: GrantRequest) -> str:
    if feature.kind is Kind.SWITCH:
        return "its value is true or false" if wanted.override else "its value is true"
    least = 0 if wanted.override else 1
    return f'its value is a whole number from {least} to 2^53 - 1, or "{UNLIMITED}"'
