"""What `tollhouse-server[dev]` gives to pytest wherever it is installed: a Tollhouse that sells, and its Stripe.

```
def test_paid_is_open(world):
    world.publish("pdf-tool.toml")
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    assert ada.may("premium_export")
```

A PostgreSQL, a sandbox and the service run for all tests of a process (with pytest-xdist, each worker has its own), and
each test finds them empty. pytest imports this at every start, so it imports the service only when a test asks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tollhouse_sandbox.testing import RunningSandbox
    from tollhouse_server.testing import RunningService, World

STRIPE_WARNS = "ignore:Use 'content=<...>' to upload raw:DeprecationWarning"
"""The stripe library calls httpx so, and the service runs in the tests' own process, where warnings may be errors."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A story is not told of warnings that are not its app's, though the app's tests be run with `-W error`."""
    for item in items:
        if "tollhouse_service" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings(STRIPE_WARNS))


@pytest.fixture(scope="session")
def tollhouse_service(shared_stripe_desk: "RunningSandbox") -> "Iterator[RunningService]":
    """The service on a PostgreSQL of its own; take `world`, which begins anew."""
    try:
        import structlog

        from tollhouse_server.db import migrate
        from tollhouse_server.embedded.postgres import temporary_postgres
        from tollhouse_server.testing import running_service
    except ImportError as missing:
        raise pytest.UsageError(
            f"The fixture world needs {missing.name}: install tollhouse-server with its extra dev."
        ) from missing

    if not structlog.is_configured():  # what the service says in a test is logged, not printed
        structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    with temporary_postgres() as postgres:
        migrate.upgrade(postgres.url())
        with running_service(shared_stripe_desk, postgres.url()) as running:
            yield running


@pytest.fixture
def world(stripe_desk: "RunningSandbox", tollhouse_service: "RunningService") -> "Iterator[World]":
    """A Tollhouse at which nothing is sold yet, and an empty Stripe, at one time of day that the test moves.

    At the end the promises that Tollhouse makes of its own records hold: if not, the mistake is ours.
    """
    from tollhouse_server.doctor import broken_invariants
    from tollhouse_server.testing import emptied, world_of

    emptied(tollhouse_service.settings.database_url.get_secret_value())
    with world_of(stripe_desk, tollhouse_service) as beginning:
        yield beginning
        assert tollhouse_service.run(lambda resources: broken_invariants(resources.database)) == []
