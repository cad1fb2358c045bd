"""The catalog as people write it (a TOML file, or the same as JSON) made into a `Catalog`, or every mistake at once."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, cast

from .catalog import (
    CODE,
    UNLIMITED,
    Catalog,
    Combine,
    Feature,
    Interval,
    Kind,
    OnDispute,
    OnDouble,
    OnPause,
    OnRefund,
    OnTrialAgain,
    Opens,
    Policy,
    Price,
    Product,
    TaxBehavior,
)
from .document import Table, quoted, what
from .errors import CatalogInvalid
from .mistakes import Mistake
from .money import Money
from .origins import origin_of

LONGEST_INTERVAL: Final[Mapping[str, int]] = {"day": 1095, "week": 156, "month": 36, "year": 3}
"""How many of each make up the three years that Stripe lets an interval have."""
LARGEST_AMOUNT: Final = 99_999_999
"""The largest charge Stripe makes in most currencies, in minor units."""
LARGEST_LIMIT: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
_STRIPE_PRICE: Final = re.compile(r"[A-Za-z0-9_]{1,255}")
"""Old accounts have prices that began as plans, under ids of their own."""
LONGEST_TRIAL: Final = 730
LONGEST_POLICY: Final = 365
LONGEST_ACCESS: Final = 36_500
"""In days, as the two above. A purchase that should last longer is for life."""

CATALOG_KEYS: Final = (
    "project", "name", "redirect_origins", "default_product", "automatic_tax", "policy", "features", "products",
)  # fmt: skip
POLICY_KEYS: Final = (
    "grace_days", "renewal_leeway_days", "on_pause", "on_full_refund", "on_partial_refund", "on_dispute",
    "on_double", "on_trial_again",
)  # fmt: skip
FEATURE_KEYS: Final = ("name", "kind", "combine")
PRODUCT_KEYS: Final = (
    "name", "plan_group", "opens", "lasts", "bundles", "tax_code", "prices", "stripe_prices", "policy",
)  # fmt: skip
PRICE_KEYS: Final = (
    "amount", "currency", "currency_options", "interval", "interval_count", "trial_days", "trial_card", "tax_behavior",
)  # fmt: skip
TAX_CODE: Final = re.compile(r"txcd_[0-9]{8}")


def parse_catalog(document: Mapping[str, object], version: int) -> Catalog:
    """The catalog that a document describes. Raises CatalogInvalid with every mistake, each at its JSON pointer."""
    errors: list[dict[str, str]] = []
    top = Table(document, "", errors, CATALOG_KEYS)
    project = top.code("project")
    features: dict[str, Feature] = {}
    kinds: dict[str, Kind | None] = {}  # None where the feature cannot be read, so that its mistake is told only once
    for code, table in top.entries("features", FEATURE_KEYS):
        features[code] = _feature(code, table)
        kinds[code] = None if table.mistaken else features[code].kind
    products: dict[str, Product] = {}
    prices: dict[str, Price] = {}
    counted: set[str] = set()
    for code, table in top.entries("products", PRODUCT_KEYS):
        sold = {price.lookup_key: price for price in _prices(project, code, table)}
        adopted = _stripe_prices(table, counted)
        one_time = bool(adopted) or any(price.interval is None for price in sold.values())
        product = _product(code, table, kinds, one_time=one_time)
        products[code] = replace(product, stripe_prices=adopted, bundles=_bundles(project, table))
        prices |= sold
    catalog = Catalog(
        project, version, features, products, prices,
        _policy(_policy_table(top)), top.text("name"),
        automatic_tax=_flag(top, "automatic_tax", False), redirect_origins=_origins(top),
        default_product=_default(top, products, prices),
    )  # fmt: skip
    if errors:
        raise CatalogInvalid(f"the catalog has {len(errors)} mistake{'s' * (len(errors) > 1)}", errors=errors)
    return catalog


def _policy_table(table: Table) -> Table:
    return table.table("policy", POLICY_KEYS, Mistake.UNKNOWN_POLICY)


def _policy(table: Table) -> Policy:
    usual = Policy()
    return Policy(
        grace=_days(table, "grace_days", usual.grace.days, 0, LONGEST_POLICY),
        renewal_leeway=_days(table, "renewal_leeway_days", usual.renewal_leeway.days, 0, LONGEST_POLICY),
        on_pause=table.choice("on_pause", OnPause(usual.on_pause)),
        on_full_refund=table.choice("on_full_refund", OnRefund(usual.on_full_refund)),
        on_partial_refund=table.choice("on_partial_refund", OnRefund(usual.on_partial_refund)),
        on_dispute=table.choice("on_dispute", OnDispute(usual.on_dispute)),
        on_double=table.choice("on_double", OnDouble(usual.on_double)),
        on_trial_again=table.choice("on_trial_again", OnTrialAgain(usual.on_trial_again)),
    )


def _overrides(table: Table) -> dict[str, Any]:
    """What a product's policy says otherwise, by the fields of Policy."""
    read = _policy(table)
    fields = [key.removesuffix("_days") for key in POLICY_KEYS if key in table]
    return {field: getattr(read, field) for field in fields}


def _default(top: Table, products: Mapping[str, Product], prices: Mapping[str, Price]) -> str | None:
    if "default_product" not in top:
        return None
    code = top.code("default_product")
    if code and CODE.fullmatch(code) and code not in products:
        detail = f"no such product: declare {quoted(code)} under products, or delete this"
        top.wrong("default_product", Mistake.UNKNOWN_PRODUCT, detail)
    paid = [key for key, price in prices.items() if price.product == code and price.money.amount > 0]
    if paid:
        nobody = f"everybody has {quoted(code)} without buying it, so nobody can be asked to pay for it"
        detail = f"{nobody}: delete its price {', '.join(map(quoted, paid))}, or make the amount 0"
        top.wrong("default_product", Mistake.DEFAULT_FOR_MONEY, detail)
    return code


def _days(table: Table, key: str, default: int | None, least: int, most: int) -> timedelta:
    return timedelta(days=table.whole(key, default, least, most, "days"))


def _feature(code: str, table: Table) -> Feature:
    kind = table.choice("kind", Kind.SWITCH)
    if "combine" in table and kind is Kind.SWITCH and not table.mistaken:
        table.wrong("combine", Mistake.USELESS, 'only a limit combines: write kind = "limit" or delete this')
    return Feature(code, table.text("name", code), kind, table.choice("combine", Combine.MAX))


def _product(code: str, table: Table, kinds: Mapping[str, Kind | None], *, one_time: bool) -> Product:
    opens = {}
    written = table.table("opens")
    for feature_code, value in written.content.items():
        kind = kinds.get(feature_code)
        if kind is not None:
            opens[feature_code] = _opens(written, feature_code, value, kind)
        elif feature_code not in kinds:
            written.wrong(
                feature_code, Mistake.UNKNOWN_FEATURE, "no such feature: declare it under features, or delete this"
            )
    if "lasts" in table and not one_time:
        table.wrong(
            "lasts", Mistake.USELESS, "bounds one-time purchases, and this product has no one-time price: delete it"
        )
    plan_group = table.code("plan_group") if "plan_group" in table else None
    overrides = _overrides(_policy_table(table))
    return Product(code, table.text("name", code), opens, plan_group, _lasts(table), overrides, _tax_code(table))


def _bundles(project: str, table: Table) -> tuple[str, ...]:
    listed = table.positions("bundles")
    for position, reference in listed.content.items():
        codes = reference.split(".") if isinstance(reference, str) else []
        if len(codes) != 2 or not all(map(CODE.fullmatch, codes)):
            listed.wrong(
                position,
                Mistake.BAD_BUNDLE,
                f'must be a product of another project, as in "pdf-tool.pro", not {what(reference)}',
            )
        elif codes[0] == project:
            listed.wrong(
                position, Mistake.BUNDLE_CYCLE, "is of this project: let this product open what that one opens"
            )
    return tuple(map(str, listed.content.values()))


def _stripe_prices(product: Table, counted: set[str]) -> tuple[str, ...]:
    """Enters them in `counted`, so that none counts as two products."""
    listed = product.positions("stripe_prices")
    for position, price_id in listed.content.items():
        if not isinstance(price_id, str) or not _STRIPE_PRICE.fullmatch(price_id):
            detail = f'must be the id of a Stripe price, "price_…", not {what(price_id)}'
            listed.wrong(position, Mistake.WRONG_TYPE, detail)
        elif price_id in counted:
            listed.wrong(position, Mistake.STRIPE_PRICE_TWICE, "is listed already: it counts as one product")
        else:
            counted.add(price_id)
    return tuple(str(price_id) for price_id in listed.content.values())


def _lasts(table: Table) -> timedelta | None:
    value = table.content.get("lasts", "forever")
    if value == "forever":
        return None
    if isinstance(value, Mapping):
        return _days(table.table("lasts", ("days",)), "days", None, 1, LONGEST_ACCESS)
    table.wrong("lasts", Mistake.WRONG_TYPE, f'must be "forever" or {{ days = 30 }}, not {what(value)}')
    return None


def _opens(opens: Table, code: str, value: object, kind: Kind) -> Opens:
    if kind is Kind.SWITCH:
        if not isinstance(value, bool):
            opens.wrong(
                code,
                Mistake.VALUE_DOES_NOT_FIT,
                f'is a switch, so it must be true or false, not {what(value)}; a number needs kind = "limit"',
            )
        return Opens(value is True)
    if not isinstance(value, Mapping):
        return Opens(_limit(opens, code))
    table = opens.table(code, ("limit", "per_seat"))
    return Opens(_limit(table, "limit"), _flag(table, "per_seat", False))


def _flag(table: Table, key: str, default: bool) -> bool:
    value = table.content.get(key, default)
    if not isinstance(value, bool):
        table.wrong(key, Mistake.WRONG_TYPE, f"must be true or false, not {what(value)}")
    return value is True


def _tax_code(table: Table) -> str | None:
    if "tax_code" not in table:
        return None
    code = table.text("tax_code")
    if code and not TAX_CODE.fullmatch(code):
        said = f'must be a tax code of Stripe\'s, as in "txcd_10103001", not {quoted(code)}'
        table.wrong("tax_code", Mistake.BAD_TAX_CODE, said)
    return code


def _limit(table: Table, key: str) -> int | Literal["unlimited"]:
    value = table.content.get(key)
    if value == UNLIMITED:
        return UNLIMITED
    if isinstance(value, (bool, str)):
        said = f'is a limit, so it must be a whole number or "unlimited", not {what(value)}'
        table.wrong(key, Mistake.VALUE_DOES_NOT_FIT, said)
        return 0
    if isinstance(value, int) and value < 0:
        said = f'must be a whole number of units from 0 to {LARGEST_LIMIT}, or "unlimited"; 0 is closed'
        table.wrong(key, Mistake.LIMIT_BELOW_ZERO, said)
        return 0
    return table.whole(key, None, 0, LARGEST_LIMIT, "units")


def _prices(project: str, product: str, table: Table) -> list[Price]:
    return [
        _price(f"{project}.{product}.{code}", product, price) for code, price in table.entries("prices", PRICE_KEYS)
    ]


def _price(lookup_key: str, product: str, table: Table) -> Price:
    amount = table.whole("amount", None, 0, LARGEST_AMOUNT, "cents (minor units)")
    money = Money(amount, _currency(table, "currency", table.text("currency")))
    tax = table.choice("tax_behavior", TaxBehavior.EXCLUSIVE) if "tax_behavior" in table else None
    options = _currency_options(table, money.currency)
    interval = _interval(table)
    if interval is None:
        for key in ("interval_count", "trial_days", "trial_card"):
            if key in table and not table.mistaken:
                table.wrong(
                    key, Mistake.USELESS, "needs an interval: this is a one-time price, so add one or delete this"
                )
        return Price(lookup_key, product, money, currency_options=options, tax_behavior=tax)
    count = table.whole("interval_count", 1, 1, LONGEST_INTERVAL[interval], f"{interval}s")
    trial = table.whole("trial_days", None, 1, LONGEST_TRIAL, "days") if "trial_days" in table else None
    card = _flag(table, "trial_card", True)
    return Price(lookup_key, product, money, interval, count, trial, card, options, tax)


def _currency_options(table: Table, own: str) -> dict[str, int]:
    written = table.table("currency_options")
    options = {}
    for currency in written.content:
        if _currency(written, currency, currency) == own:
            written.wrong(currency, Mistake.USELESS, "is the price's own currency, of which amount tells: delete it")
        options[currency] = written.whole(currency, None, 0, LARGEST_AMOUNT, "cents (minor units)")
    return options


def _currency(table: Table, key: str, currency: str) -> str:
    if len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.islower():
        return currency
    if currency:
        said = f'must be three lower-case letters, as in "eur", not {quoted(currency)}'
        table.wrong(key, Mistake.BAD_CURRENCY, said)
    return "xxx"


def _interval(table: Table) -> Interval | None:
    value = table.content.get("interval")
    if value is None or (isinstance(value, str) and value in LONGEST_INTERVAL):
        return cast(Interval | None, value)
    known = ", ".join(map(quoted, LONGEST_INTERVAL))
    table.wrong("interval", Mistake.UNKNOWN_CHOICE, f"must be one of {known}, or absent for a one-time price")
    return None


def _origins(top: Table) -> tuple[str, ...]:
    listed = top.positions("redirect_origins")
    for position, origin in listed.content.items():
        if not isinstance(origin, str) or origin_of(origin) != origin:
            said = 'must be scheme, host and port only, as in "https://app.example"'
            listed.wrong(position, Mistake.BAD_ORIGIN, said)
    return tuple(str(origin) for origin in listed.content.values())
