"""What `tollhouse-sandbox` gives to pytest wherever it is installed: Stripe on a desk, for all that uses Stripe.

```
def test_a_month(stripe_desk):
    client = stripe.StripeClient(stripe_desk.secret_key, base_addresses={"api": stripe_desk.url})
    ...
    stripe_desk.advance(days=31)
```

One runs for all tests of a process (with pytest-xdist, each worker has its own). pytest imports this at every start,
so it imports the sandbox only when a test asks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tollhouse_sandbox.testing import RunningSandbox


@pytest.fixture(scope="session")
def shared_stripe_desk() -> "Iterator[RunningSandbox]":
    """The sandbox that the tests of a process use one after the other; take `stripe_desk`, which empties it."""
    from tollhouse_sandbox.testing import running_sandbox

    with running_sandbox(frozen=True) as running:
        yield running


@pytest.fixture
def stripe_desk(shared_stripe_desk: "RunningSandbox") -> "RunningSandbox":
    """An empty sandbox on loopback, at the time of day, whose clock then stands still until it is moved."""
    shared_stripe_desk.reset()
    shared_stripe_desk.freeze()
    return shared_stripe_desk
