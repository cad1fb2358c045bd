"""The catalog that an existing Stripe account comes to, with all that had to be guessed said beside it.

What the account sells under ids of its own is sold anew under the catalog's codes; its old prices are named in
`stripe_prices`, so that whoever has one has what the product opens.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .catalog_file import LARGEST_AMOUNT, LONGEST_TRIAL

_ADVERBS: Final = {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}
_HEAD: Final = (
    "Written by `tollhouse catalog pull` from the Stripe account. Read it, complete it, then `tollhouse catalog plan`.",
    "Applying makes products and prices of its own beside those there are. Who has one of the old prices goes on",
    "paying it, and has what the product opens, as `stripe_prices` names it. Those ids are of this account and mode.",
)


@dataclass(frozen=True, slots=True)
class AccountPrice:
    """A price as the account has it. `amount`: minor units; None where it depends on the quantity or on use."""

    id: str
    lookup_key: str | None
    active: bool
    amount: int | None
    currency: str
    interval: str | None
    interval_count: int = 1
    trial_days: int | None = None


@dataclass(frozen=True, slots=True)
class AccountProduct:
    """A product as the account has it. `project` and `code`: what Tollhouse stamped on it; None: another made it."""

    id: str
    name: str
    active: bool
    prices: tuple[AccountPrice, ...] = ()
    features: Mapping[str, str] | None = None
    """Name by lookup key; None: none."""
    project: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    document: dict[str, Any]
    comments: dict[tuple[str, ...], list[str]]
    """What was guessed, above the key that it is about; see `catalog_toml`."""


def catalog_of(project: str, products: Iterable[AccountProduct]) -> Pulled:
    """The project's catalog; products of other projects are left out, and so are those that nobody can have bought."""
    pulled = Pulled({"project": project, "name": project, "redirect_origins": []}, {(): [*_HEAD]})
    pulled.comments["name",] = ["Guessed: what people read."]
    pulled.comments["redirect_origins",] = ['Where a checkout may send people back to, as in "https://app.example".']
    features: dict[str, Any] = {}
    sold: dict[str, Any] = {}
    codes: dict[str, str] = {}
    pulled.document.update(features=features, products=sold)
    for product in products:
        if product.project not in (None, project):
            continue
        if not product.prices:
            continue
        code = _unique(product.code or product.name, sold)
        for key, name in (product.features or {}).items():
            if key not in codes:
                codes[key] = _unique(key.removeprefix(f"{project}."), features)
                features[codes[key]] = {"name": _text(name, codes[key])}
        sold[code] = _product(pulled, code, product, [codes[key] for key in product.features or {}])
    return pulled


def _product(pulled: Pulled, code: str, product: AccountProduct, opens: list[str]) -> dict[str, Any]:
    said = [] if product.active else ["Archived at Stripe: it is sold no longer."]
    said += [f"Code made from the name of {product.id}."] if product.code is None else []
    if opens:
        said.append("Opens Stripe's features as switches: a limit is written as in pages = 500, with its kind above.")
    else:
        said.append("Opens nothing yet: declare features above, and write opens = { feature = true }.")
    prices: dict[str, Any] = {}
    others = []
    for price in product.prices:
        path = ("products", code, "prices")
        key = f"{pulled.document['project']}.{code}."
        sellable = price.active and product.active and price.amount is not None and price.amount <= LARGEST_AMOUNT
        if price.active and product.active and not sellable:
            said.append(f"{price.id} costs by quantity, by use or too much for a catalog: it counts, but is not sold.")
        if sellable:
            named = _unique((price.lookup_key or "").removeprefix(key) or _habit(price), prices)
            prices[named] = _price(price)
            if price.lookup_key is None:
                pulled.comments[*path, named] = [f"Code made up: {price.id} has no lookup key."]
        if not (sellable and price.lookup_key == f"{key}{named}"):
            others.append(price.id)
    pulled.comments["products", code] = said
    listed = {"stripe_prices": others} if others else {}
    return {"name": _text(product.name, code), "opens": dict.fromkeys(opens, True), "prices": prices, **listed}


def _price(price: AccountPrice) -> dict[str, Any]:
    written: dict[str, Any] = {"amount": price.amount, "currency": price.currency}
    if price.interval is not None:
        written["interval"] = price.interval
        if price.interval_count != 1:
            written["interval_count"] = price.interval_count
        if price.trial_days:
            written["trial_days"] = min(price.trial_days, LONGEST_TRIAL)
    return written


def _habit(price: AccountPrice) -> str:
    """What such a price is usually called."""
    if price.interval is None:
        return "once"
    if price.interval_count == 1:
        return _ADVERBS[price.interval]
    return f"every-{price.interval_count}-{price.interval}s"


def _unique(wanted: str, taken: Container[str]) -> str:
    """A code made of a name, that none has yet."""
    code = re.sub(r"[^a-z0-9_]+", "-", wanted.lower()).strip("-_")[:56] or "unnamed"
    count, made = 1, code
    while made in taken:
        count += 1
        made = f"{code}-{count}"
    return made


def _text(name: str, code: str) -> str:
    """One line of at most 200 printable characters."""
    return "".join(letter for letter in name if letter.isprintable())[:200] or code
