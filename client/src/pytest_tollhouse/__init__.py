"""What `tollhouse` gives to pytest wherever it is installed: a Tollhouse in memory for each test that asks for one.

```
def test_export(fake_tollhouse):
    fake_tollhouse.allow("ada", "premium_export")
```

With `tollhouse_catalog = pdf-tool.toml` in pytest's settings (a path from their directory), it sells what the app
sells: a mistyped feature is then found by a test.

pytest imports this at every start, before coverage begins: so it is no part of the package `tollhouse`, and imports
that only when a test asks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one setting."""
    parser.addini("tollhouse_catalog", "the catalog file of the app's project, for fake_tollhouse", default="")


@pytest.fixture
def fake_tollhouse(pytestconfig: pytest.Config) -> "Iterator[FakeTollhouse]":
    """A Tollhouse in memory, to be given to the app in place of a `Tollhouse`."""
    from tollhouse.testing import FakeTollhouse

    with FakeTollhouse(catalog=_catalog(pytestconfig)) as fake:
        yield fake


@pytest.fixture
def async_fake_tollhouse(pytestconfig: pytest.Config) -> "AsyncFakeTollhouse":
    """The same in place of an `AsyncTollhouse`; what the test tells it is not awaited."""
    from tollhouse.testing import AsyncFakeTollhouse

    return AsyncFakeTollhouse(catalog=_catalog(pytestconfig))


def _catalog(config: pytest.Config) -> Path | None:
    file = config.getini("tollhouse_catalog")
    return (config.inipath or config.rootpath / "-").parent / file if file else None
