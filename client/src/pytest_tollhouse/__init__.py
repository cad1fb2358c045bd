"""What `tollhouse` gives to pytest wherever it is installed: a Tollhouse in memory for each test that asks for one.

```
def test_export(fake_tollhouse):
    fake_tollhouse.allow("ada", "premium_export")
```

pytest imports this at every start, before coverage begins: so it is no part of the package `tollhouse`, and imports
that only when a test asks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse


@pytest.fixture
def fake_tollhouse() -> "Iterator[FakeTollhouse]":
    """A Tollhouse in memory, to be given to the app in place of a `Tollhouse`."""
    from tollhouse.testing import FakeTollhouse

    with FakeTollhouse() as fake:
        yield fake


@pytest.fixture
def async_fake_tollhouse() -> "AsyncFakeTollhouse":
    """The same in place of an `AsyncTollhouse`; what the test tells it is not awaited."""
    from tollhouse.testing import AsyncFakeTollhouse

    return AsyncFakeTollhouse()
