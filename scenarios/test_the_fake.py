"""What an app's tests stand on is what it meets in production."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tollhouse.catalog_file import read_catalog
from tollhouse_server.testing import World

DEMO = Path(__file__).parents[1] / "examples" / "demo"
EVERYTHING = """
project = "everything"
name = "Everything"
redirect_origins = ["https://app.test"]
default_product = "free"

[features.switch]
[features.most]
kind = "limit"
[features.sum]
name = "Sum"
kind = "limit"
combine = "sum"

[products.free]
opens = { most = 1 }
policy = { grace_days = 1 }
[products.seats]
plan_group = "plan"
opens = { switch = true, most = { limit = 5, per_seat = true }, sum = "unlimited" }
prices.yearly = { amount = 9000, currency = "eur", interval = "month", interval_count = 12, trial_days = 3 }
[products.pass]
lasts = { days = 2 }
opens = { sum = 3 }
prices.once = { amount = 200, currency = "usd" }
"""


@pytest.mark.parametrize("file", ["pdf-tool.toml", "guild-bot.toml", None])
def test_a_catalog_file_is_read_as_the_service_tells_it(world: World, tmp_path: Path, file: str | None) -> None:
    """Published and asked for, or read for the fake: the same features, products and prices."""
    path = tmp_path / "catalog.toml" if file is None else DEMO / file
    if file is None:
        path.write_text(EVERYTHING)
    app = world.publish(tomllib.loads(path.read_text()))
    told = app.catalog()
    assert read_catalog(path) == replace(told, version=1)
