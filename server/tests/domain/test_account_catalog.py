"""A catalog pulled from an account, and written as a file."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tollhouse_server.domain.account_catalog import AccountPrice, AccountProduct, catalog_of
from tollhouse_server.domain.catalog_file import parse_catalog
from tollhouse_server.domain.catalog_toml import catalog_toml

NAMES = st.text(max_size=250)
PRICES = st.builds(
    AccountPrice,
    id=st.uuids().map(lambda one: f"price_{one.hex}"),
    lookup_key=st.none() | NAMES | st.sampled_from(["app.pro.monthly", "pro"]),
    active=st.booleans(),
    amount=st.none() | st.integers(0, 10**9),
    currency=st.sampled_from(["eur", "usd", "jpy"]),
    interval=st.sampled_from([None, "day", "week", "month", "year"]),
    interval_count=st.integers(1, 3),
    trial_days=st.none() | st.integers(0, 1000),
)
PRODUCTS = st.builds(
    AccountProduct,
    id=st.uuids().map(lambda one: f"prod_{one.hex}"),
    name=NAMES,
    active=st.booleans(),
    prices=st.lists(PRICES, max_size=4).map(tuple),
    features=st.none() | st.dictionaries(NAMES, NAMES, max_size=3),
    project=st.sampled_from([None, "app", "other"]),
    code=st.none() | st.just("pro"),
)
SCALARS = st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3))


@given(st.lists(PRODUCTS, max_size=4))
def test_whatever_an_account_has_comes_to_a_catalog(products: list[AccountProduct]) -> None:
    """It is read back as it was written and is a catalog; each price that may be held counts as one product."""
    pulled = catalog_of("app", products)
    text = catalog_toml(pulled.document, pulled.comments)
    assert tomllib.loads(text) == pulled.document
    catalog = parse_catalog(pulled.document, 1)
    ours = [price for product in products if product.project in (None, "app") for price in product.prices]
    counted = {price_id for product in catalog.products.values() for price_id in product.stripe_prices}
    assert counted <= {price.id for price in ours}
    assert all(price.lookup_key in catalog.prices for price in ours if price.id not in counted)


OF_ENTRY = st.dictionaries(st.text() | st.just("prices"), st.none() | VALUES, max_size=3)


@given(st.dictionaries(st.text(), st.none() | VALUES, max_size=4), st.dictionaries(st.text(), OF_ENTRY, max_size=3))
def test_a_document_is_read_back_as_it_was_written(top: dict[str, Any], products: dict[str, Any]) -> None:
    """Whatever text it has; a null is left out, as it says what an absent key says."""
    told = {key: value for key, value in top.items() if value is not None}
    sold = {code: {key: one for key, one in entry.items() if one is not None} for code, entry in products.items()}
    assert tomllib.loads(catalog_toml({**top, "products": products})) == {**told, "products": sold}


def test_a_price_without_a_key_is_called_what_such_prices_are_called() -> None:
    """By how often it is paid, with a number where that is taken."""
    prices = [
        AccountPrice(f"price_{n}", None, True, 100, "eur", each) for n, each in enumerate(["month", "month", None])
    ]
    [product] = catalog_of("app", [AccountProduct("prod_1", "Pro", True, tuple(prices))]).document["products"].values()
    assert list(product["prices"]) == ["monthly", "monthly-2", "once"]


def test_a_pulled_file_says_what_was_guessed() -> None:
    """Codes that were made up, products that open nothing, prices that cannot be sold: each is said where it stands."""
    products = [
        AccountProduct(
            "prod_1",
            "Pro plan!",
            True,
            (
                AccountPrice("price_1", "pro_monthly", True, 900, "eur", "month", trial_days=14),
                AccountPrice("price_2", None, True, 2500, "eur", "month", 3),
                AccountPrice("price_3", None, False, 700, "eur", "month"),
                AccountPrice("price_4", None, True, None, "eur", "month"),
            ),
            {"export": "Export"},
        ),
        AccountProduct("prod_2", "Book", False, (AccountPrice("price_5", None, True, 1, "eur", None),)),
        AccountProduct("prod_3", "Never priced", True),
        AccountProduct(
            "tollhouse_app_max", "Max", True,
            (AccountPrice("price_6", "app.max.once", True, 5, "eur", None),), None, "app", "max",
        ),
    ]  # fmt: skip
    pulled = catalog_of("app", products)
    text = catalog_toml(pulled.document, pulled.comments)
    assert text.split("\n\n", 1)[1] == GUESSED


GUESSED = """[features.export]
name = "Export"

# Code made from the name of prod_1.
# Opens Stripe's features as switches: a limit is written as in pages = 500, with its kind above.
# price_4 costs by quantity, by use or too much for a catalog: it counts, but is not sold.
[products.pro-plan]
name = "Pro plan!"
opens = { export = true }
prices.pro_monthly = { amount = 900, currency = "eur", interval = "month", trial_days = 14 }
# Code made up: price_2 has no lookup key.
prices.every-3-months = { amount = 2500, currency = "eur", interval = "month", interval_count = 3 }
stripe_prices = ["price_1", "price_2", "price_3", "price_4"]

# Archived at Stripe: it is sold no longer.
# Code made from the name of prod_2.
# Opens nothing yet: declare features above, and write opens = { feature = true }.
[products.book]
name = "Book"
opens = {}
prices = {}
stripe_prices = ["price_5"]

# Opens nothing yet: declare features above, and write opens = { feature = true }.
[products.max]
name = "Max"
opens = {}
prices.once = { amount = 5, currency = "eur" }
"""


def test_a_feature_of_two_products_is_one() -> None:
    """Both open the same, under one code."""
    prices = (
        (AccountPrice("price_1", None, True, 100, "eur", "month"),),
        (AccountPrice("price_2", None, True, 1, "eur", None),),
    )
    products = [AccountProduct(f"prod_{n}", "Pro", True, its, {"app.export": "Export"}) for n, its in enumerate(prices)]
    document = catalog_of("app", products).document
    assert document["features"] == {"export": {"name": "Export"}}
    assert [one["opens"] for one in document["products"].values()] == [{"export": True}] * 2
