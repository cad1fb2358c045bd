"""The catalog as people write it: what it comes to, and what is said about mistakes."""

import copy
import json
import tomllib
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse_server.domain.catalog import (
    Catalog,
    Combine,
    Feature,
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
from tollhouse_server.domain.catalog_file import parse_catalog
from tollhouse_server.domain.catalog_schema import json_schema
from tollhouse_server.domain.errors import CatalogInvalid
from tollhouse_server.domain.mistakes import Mistake
from tollhouse_server.domain.money import Money

WRITTEN = tomllib.loads("""
project = "pdf-tool"
name = "PDF Tool"
default_product = "gift"
redirect_origins = ["http://127.0.0.1:8903", "https://pdf.example"]
automatic_tax = true

[policy]
grace_days = 14
renewal_leeway_days = 1
on_pause = "end"
on_full_refund = "keep"
on_partial_refund = "end"
on_dispute = "keep"
on_double = "cancel_newer"
on_trial_again = "end_trial"

[features.premium_export]
name = "Premium export"
[features.pages_per_day]
name = "Pages per day"
kind = "limit"
[features.seats]
kind = "limit"
combine = "sum"

[products.pro]
name = "PDF Tool Pro"
plan_group = "plan"
tax_code = "txcd_10103001"
[products.pro.opens]
premium_export = true
pages_per_day = 500
seats = { limit = 5, per_seat = true }
[products.pro.prices.monthly]
amount = 900
currency = "eur"
interval = "month"
trial_days = 14
trial_card = false
currency_options = { usd = 1000, jpy = 1200 }
tax_behavior = "inclusive"
[products.pro.prices.quarterly]
amount = 2400
currency = "eur"
interval = "month"
interval_count = 3

[products.lifetime]
name = "PDF Tool Lifetime"
lasts = "forever"
opens = { premium_export = true, pages_per_day = "unlimited" }
[products.lifetime.prices.once]
amount = 19900
currency = "eur"

[products.pass]
lasts = { days = 30 }
opens = { premium_export = true }
prices.once = { amount = 0, currency = "jpy" }

[products.pass.policy]
grace_days = 14
on_partial_refund = "keep"

[products.gift]
""")

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def changed(*path: str, to: object) -> dict[str, Any]:
    """The document above with one value replaced, or with `...` removed."""
    document = copy.deepcopy(WRITTEN)
    table: Any = document
    for key in path[:-1]:
        table = table.setdefault(key, {})
    if to is ...:
        del table[path[-1]]
    else:
        table[path[-1]] = to
    return document


def mistakes(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(CatalogInvalid) as caught:
        parse_catalog(document, 1)
    return [(error["pointer"], error["detail"]) for error in caught.value.errors]


def test_everything_is_read() -> None:
    """Each part of the document is in the catalog, and what is left out has its usual value."""
    assert parse_catalog(WRITTEN, 7) == Catalog(
        project="pdf-tool",
        version=7,
        name="PDF Tool",
        default_product="gift",
        automatic_tax=True,
        redirect_origins=("http://127.0.0.1:8903", "https://pdf.example"),
        policy=Policy(
            timedelta(days=14),
            timedelta(days=1),
            OnPause.END,
            OnRefund.KEEP,
            OnRefund.END,
            OnDispute.KEEP,
            OnDouble.CANCEL_NEWER,
            OnTrialAgain.END_TRIAL,
        ),
        features={
            "premium_export": Feature("premium_export", "Premium export"),
            "pages_per_day": Feature("pages_per_day", "Pages per day", Kind.LIMIT),
            "seats": Feature("seats", "seats", Kind.LIMIT, Combine.SUM),
        },
        products={
            "pro": Product(
                "pro",
                "PDF Tool Pro",
                {"premium_export": Opens(True), "pages_per_day": Opens(500), "seats": Opens(5, per_seat=True)},
                "plan",
                tax_code="txcd_10103001",
            ),
            "lifetime": Product(
                "lifetime", "PDF Tool Lifetime", {"premium_export": Opens(True), "pages_per_day": Opens("unlimited")}
            ),
            "pass": Product(
                "pass",
                "pass",
                {"premium_export": Opens(True)},
                lasts=timedelta(days=30),
                policy={"grace": timedelta(days=14), "on_partial_refund": OnRefund.KEEP},
            ),
            "gift": Product("gift", "gift", {}),
        },
        prices={
            price.lookup_key: price
            for price in (
                Price(
                    "pdf-tool.pro.monthly",
                    "pro",
                    Money(900, "eur"),
                    "month",
                    trial_days=14,
                    trial_card=False,
                    currency_options={"usd": 1000, "jpy": 1200},
                    tax_behavior=TaxBehavior.INCLUSIVE,
                ),
                Price("pdf-tool.pro.quarterly", "pro", Money(2400, "eur"), "month", 3),
                Price("pdf-tool.lifetime.once", "lifetime", Money(19900, "eur")),
                Price("pdf-tool.pass.once", "pass", Money(0, "jpy")),
            )
        },
    )


def test_a_default_product_may_cost_nothing() -> None:
    """A price of 0 is for an app that wants each of its users at Stripe."""
    assert parse_catalog(changed("default_product", to="pass"), 1).default_product == "pass"


def test_the_least_that_can_be_written() -> None:
    """A project and its name are a catalog with the usual policy."""
    assert parse_catalog({"project": "a", "name": "A"}, 1) == Catalog("a", 1, {}, {}, {}, name="A")


PRO = ("products", "pro")
MONTHLY = (*PRO, "prices", "monthly")
MISTAKES: list[tuple[tuple[str, ...], object, str, str]] = [
    (("project",), ..., "/project", "is missing"),
    (("project",), "PDF Tool", "/project", "a code has 1 to 63 lower-case letters"),
    (("project",), 7, "/project", "must be text, not a whole number"),
    (("name",), "", "/name", "one line of 1 to 200"),
    (("name",), "two\nlines", "/name", "one line of 1 to 200"),
    (("name",), "a\x00b", "/name", "printable"),
    (("name",), "x" * 201, "/name", "1 to 200"),
    (("nmae",), "x", "/nmae", "did you mean name?"),
    (("zzz",), "x", "/zzz", "known here are project, name"),
    (("a/b~c",), "x", "/a~1b~0c", "unknown key"),
    (("\ud800",), "x", "/\\ud800", "unknown key"),
    (("redirect_origins",), "https://pdf.example", "/redirect_origins", 'must be a list, not "https://pdf.example"'),
    (("redirect_origins",), ["https://pdf.example/path"], "/redirect_origins/0", "scheme, host and port only"),
    (("redirect_origins",), ["https://pdf.example", 3], "/redirect_origins/1", "scheme, host and port only"),
    (("policy",), [], "/policy", "must be a table, not a list"),
    (("policy", "grace_days"), -1, "/policy/grace_days", "from 0 to 365"),
    (("policy", "grace_days"), 366, "/policy/grace_days", "from 0 to 365"),
    (("policy", "grace_days"), True, "/policy/grace_days", "not true or false"),
    (("policy", "renewal_leeway_days"), 1.5, "/policy/renewal_leeway_days", "not a number with a fraction"),
    (("policy", "on_pause"), "stop", "/policy/on_pause", 'one of "keep_paid", "keep", "end", not "stop"'),
    (("policy", "on_dispute"), None, "/policy/on_dispute", "not nothing"),
    (("default_product",), "free", "/default_product", 'declare "free" under products'),
    (("default_product",), "Free!", "/default_product", "a code has"),
    (("default_product",), 7, "/default_product", "must be text"),
    (("default_product",), "lifetime", "/default_product", 'delete its price "pdf-tool.lifetime.once"'),
    (("products", "gift", "policy"), [], "/products/gift/policy", "must be a table, not a list"),
    (("products", "gift", "policy", "grace_days"), -1, "/products/gift/policy/grace_days", "from 0 to 365"),
    (("products", "gift", "policy", "grace"), 1, "/products/gift/policy/grace", "did you mean grace_days?"),
    (("features", "Pages"), {}, "/features/Pages", "a code has"),
    (("features", "x" * 300), {}, "/features/" + "x" * 300, "a code has"),
    (("features", "seats"), 1, "/features/seats", "must be a table"),
    (("features", "seats", "kind"), "meter", "/features/seats/kind", 'one of "switch", "limit"'),
    (("features", "premium_export", "combine"), "sum", "/features/premium_export/combine", "only a limit combines"),
    ((*PRO, "opens", "nope"), True, "/products/pro/opens/nope", "declare it under features"),
    ((*PRO, "opens", "premium_export"), 1, "/products/pro/opens/premium_export", "is a switch"),
    ((*PRO, "opens", "premium_export"), {"limit": 1, "per_seat": True}, "/products/pro/opens/premium_export",
     "must be true or false, not a table"),
    ((*PRO, "opens", "pages_per_day"), True, "/products/pro/opens/pages_per_day", "is a limit"),
    ((*PRO, "opens", "pages_per_day"), "many", "/products/pro/opens/pages_per_day", '"unlimited", not "many"'),
    ((*PRO, "opens", "pages_per_day"), -1, "/products/pro/opens/pages_per_day", "from 0"),
    ((*PRO, "opens", "pages_per_day"), 2**53, "/products/pro/opens/pages_per_day", "to 9007199254740991"),
    ((*PRO, "opens", "seats"), {"per_seat": True}, "/products/pro/opens/seats/limit", "is missing"),
    ((*PRO, "opens", "seats"), {"limit": 1, "per_seat": 1}, "/products/pro/opens/seats/per_seat", "true or false"),
    ((*PRO, "opens", "seats"), {"limit": 1, "seat": True}, "/products/pro/opens/seats/seat", "did you mean per_seat?"),
    ((*PRO, "plan_group"), "Plan!", "/products/pro/plan_group", "a code has"),
    ((*PRO, "lasts"), "forever", "/products/pro/lasts", "no one-time price: delete it"),
    (("products", "pass", "lasts"), {"days": 0}, "/products/pass/lasts/days", "from 1 to 36500"),
    (("products", "pass", "lasts"), {}, "/products/pass/lasts/days", "is missing"),
    (("products", "pass", "lasts"), 30, "/products/pass/lasts", "{ days = 30 }, not a whole number"),
    ((*PRO, "stripe_prices"), "price_1", "/products/pro/stripe_prices", "must be a list"),
    ((*PRO, "stripe_prices"), ["price_1", 1], "/products/pro/stripe_prices/1", "the id of a Stripe price"),
    ((*PRO, "stripe_prices"), ["price_1", "price_1"], "/products/pro/stripe_prices/1", "is listed already"),
    ((*MONTHLY, "amount"), 9.0, "/products/pro/prices/monthly/amount", "whole number of cents"),
    ((*MONTHLY, "amount"), -1, "/products/pro/prices/monthly/amount", "from 0"),
    ((*MONTHLY, "amount"), ..., "/products/pro/prices/monthly/amount", "is missing"),
    ((*MONTHLY, "currency"), "EUR", "/products/pro/prices/monthly/currency", 'as in "eur", not "EUR"'),
    ((*MONTHLY, "currency"), ..., "/products/pro/prices/monthly/currency", "is missing"),
    ((*MONTHLY, "interval"), "decade", "/products/pro/prices/monthly/interval", "absent for a one-time price"),
    ((*MONTHLY, "interval"), [], "/products/pro/prices/monthly/interval", "absent for a one-time price"),
    ((*MONTHLY, "interval_count"), 37, "/products/pro/prices/monthly/interval_count", "months from 1 to 36"),
    ((*MONTHLY, "trial_days"), 0, "/products/pro/prices/monthly/trial_days", "from 1 to 730"),
    (("products", "lifetime", "prices", "once", "trial_days"), 7, "/products/lifetime/prices/once/trial_days",
     "needs an interval"),
    (("products", "lifetime", "prices", "once", "interval_count"), 2, "/products/lifetime/prices/once/interval_count",
     "needs an interval"),
    (("products", "lifetime", "prices", "once", "trial_card"), False, "/products/lifetime/prices/once/trial_card",
     "needs an interval"),
    ((*MONTHLY, "trial_card"), "no", "/products/pro/prices/monthly/trial_card", "must be true or false"),
    ((*MONTHLY, "currency_options"), {"eur": 900}, "/products/pro/prices/monthly/currency_options/eur",
     "own currency"),
    ((*MONTHLY, "currency_options"), {"USD": 900}, "/products/pro/prices/monthly/currency_options/USD",
     'as in "eur", not "USD"'),
    ((*MONTHLY, "currency_options"), {"usd": -1}, "/products/pro/prices/monthly/currency_options/usd", "from 0"),
    ((*MONTHLY, "currency_options"), ["usd"], "/products/pro/prices/monthly/currency_options", "must be a table"),
    ((*MONTHLY, "tax_behavior"), "added", "/products/pro/prices/monthly/tax_behavior",
     'one of "inclusive", "exclusive"'),
    ((*PRO, "tax_code"), "software", "/products/pro/tax_code", 'as in "txcd_10103001", not "software"'),
    (("automatic_tax",), "yes", "/automatic_tax", "must be true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "to", "pointer", "detail"), MISTAKES, ids=["/".join(row[0]) for row in MISTAKES])
def test_a_mistake_is_found_at_its_place(path: tuple[str, ...], to: object, pointer: str, detail: str) -> None:
    """Each mistake is reported alone, at the pointer of what is wrong, with what to do about it."""
    [(found, said)] = mistakes(changed(*path, to=to))
    assert found == pointer
    assert detail in said


CODES: list[tuple[tuple[str, ...], object, Mistake]] = [
    (("name",), ..., Mistake.MISSING),
    (("name",), 7, Mistake.WRONG_TYPE),
    (("name",), "", Mistake.TEXT_OUT_OF_FORM),
    (("features", "Pages"), {}, Mistake.BAD_CODE),
    (("nmae",), "x", Mistake.UNKNOWN_KEY),
    (("policy", "grace_days"), 366, Mistake.OUT_OF_RANGE),
    (("policy", "on_pause"), "stop", Mistake.UNKNOWN_POLICY),
    (("products", "pro", "policy", "on_pause"), "stop", Mistake.UNKNOWN_POLICY),
    (("default_product",), "free", Mistake.UNKNOWN_PRODUCT),
    (("default_product",), "pro", Mistake.DEFAULT_FOR_MONEY),
    (("policy", "on_reefund"), "end", Mistake.UNKNOWN_POLICY),
    (("features", "seats", "kind"), "meter", Mistake.UNKNOWN_CHOICE),
    ((*PRO, "opens", "pages_per_day"), -1, Mistake.LIMIT_BELOW_ZERO),
    ((*PRO, "opens", "seats"), {"limit": -1, "per_seat": True}, Mistake.LIMIT_BELOW_ZERO),
    ((*PRO, "opens", "pages_per_day"), True, Mistake.VALUE_DOES_NOT_FIT),
    ((*PRO, "opens", "premium_export"), 1, Mistake.VALUE_DOES_NOT_FIT),
    ((*PRO, "opens", "nope"), True, Mistake.UNKNOWN_FEATURE),
    ((*PRO, "lasts"), "forever", Mistake.USELESS),
    ((*MONTHLY, "currency"), "EUR", Mistake.BAD_CURRENCY),
    ((*MONTHLY, "interval"), "decade", Mistake.UNKNOWN_CHOICE),
    (("redirect_origins",), ["https://pdf.example/path"], Mistake.BAD_ORIGIN),
    ((*PRO, "tax_code"), "software", Mistake.BAD_TAX_CODE),
]


@pytest.mark.parametrize(("path", "to", "mistake"), CODES, ids=[f"{row[2]}:{'/'.join(row[0])}" for row in CODES])
def test_each_kind_of_mistake_has_a_code(path: tuple[str, ...], to: object, mistake: Mistake) -> None:
    """A program tells a limit below zero from an unknown policy without reading the sentence."""
    with pytest.raises(CatalogInvalid) as caught:
        parse_catalog(changed(*path, to=to), 1)
    assert [error["code"] for error in caught.value.errors] == [mistake]


def test_a_date_is_called_a_date() -> None:
    """TOML has dates, which JSON has not."""
    [(_, said)] = mistakes(changed("name", to=tomllib.loads("at = 2026-11-03")["at"]))
    assert said == "must be text, not a date or time"


def test_all_mistakes_are_told_at_once() -> None:
    """One publish shows everything that is wrong, in every part of the document."""
    document = changed(*MONTHLY, to={"amount": -1, "currency": "€"})
    document["products"]["pro"]["opens"]["nope"] = 1
    document["features"]["seats"] = {"kind": "meter", "colour": 1}
    del document["name"]
    assert {pointer for pointer, _ in mistakes(document)} == {
        "/products/pro/prices/monthly/amount",
        "/products/pro/prices/monthly/currency",
        "/products/pro/opens/nope",
        "/features/seats/kind",
        "/features/seats/colour",
        "/name",
    }


def test_long_and_odd_text_is_quoted_short() -> None:
    """A detail can be sent and shown whatever was written."""
    [(_, said)] = mistakes(changed("policy", "on_pause", to="\ud800" + "x" * 1000))
    assert len(said) < 120
    assert said.isascii()


def test_a_document_that_is_no_table() -> None:
    """Anything may be posted; it is a mistake at the document itself."""
    assert ("", "must be a table, not a list") in mistakes([])


def test_the_schema_is_a_schema_and_allows_the_example() -> None:
    """Editors can use the schema, and it has nothing against what is right."""
    VALIDATOR.check_schema(json_schema())
    VALIDATOR.validate(WRITTEN)


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["forever", "unlimited", "limit", "month", "eur", "sum", "pro"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["limit", "per_seat", "days", "name", "kind", "opens", "seats", "amount", "interval", "X"]),
        inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def places(table: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = [place for key, value in table.items() if isinstance(value, dict) for place in places(value, (*path, key))]
    return [*((*path, key) for key in table), (*path, "new"), *below]


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(places(WRITTEN)), scrap=SCRAPS)
def test_any_scribble_is_either_a_catalog_or_mistakes(path: tuple[str, ...], scrap: object) -> None:
    """Whatever is written in whatever place, parsing answers, its answer can be sent, and the schema is no stricter."""
    document = changed(*path, to=scrap)
    try:
        parse_catalog(document, 1)
    except CatalogInvalid as invalid:
        assert invalid.errors
        json.dumps(invalid.errors, ensure_ascii=False).encode()
    else:
        VALIDATOR.validate(document)
