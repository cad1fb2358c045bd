"""A catalog file, read as the Catalog that Tollhouse answers once it is published; for tests without a service.

What the service would refuse is not looked for here: `tollhouse catalog apply` does that.
"""

import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .answers import Catalog, Feature, Price, Product, Value


def read_catalog(file: str | os.PathLike[str]) -> Catalog:
    """The features, products and prices of a TOML catalog file, as version 1. Names that are left out are codes."""
    told = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    project = told["project"]
    return Catalog(
        project,
        1,
        tuple(_feature(code, feature) for code, feature in told.get("features", {}).items()),
        tuple(_product(project, code, product) for code, product in told.get("products", {}).items()),
        told.get("default_product"),
    )


def _feature(code: str, told: Mapping[str, Any]) -> Feature:
    return Feature(code, told.get("name", code), told.get("kind", "switch"), told.get("combine", "max"))


def _product(project: str, code: str, told: Mapping[str, Any]) -> Product:
    opens = told.get("opens", {})
    lasts = told.get("lasts", "forever")
    return Product(
        code,
        told.get("name", code),
        told.get("plan_group"),
        {feature: _value(value) for feature, value in opens.items()},
        lasts["days"] if isinstance(lasts, dict) else None,
        tuple(_price(f"{project}.{code}.{price}", told) for price, told in told.get("prices", {}).items()),
        tuple(feature for feature, value in opens.items() if isinstance(value, dict) and value.get("per_seat")),
    )


def _value(told: Any) -> Value:
    limit: Value | str = told["limit"] if isinstance(told, dict) else told
    return math.inf if isinstance(limit, str) else limit


def _price(lookup_key: str, told: Mapping[str, Any]) -> Price:
    interval = told.get("interval")
    count = told.get("interval_count", 1)
    return Price(
        lookup_key,
        told["amount"],
        told["currency"],
        interval,
        count,
        told.get("trial_days"),
        told.get("trial_card", True),
        told.get("currency_options", {}),
        told.get("tax_behavior"),
    )
