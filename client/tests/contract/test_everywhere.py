"""What `check` promises holds of the fakes that apps are tested with, and of the clients before the service itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.testing import RunningService, running_service
from tollhouse_server.testing import World as ServiceWorld

from . import checks
from .stage import RunningLoop
from .worlds import FakeWorld, RealWorld

KINDS = ("blocking", "asyncio")


@pytest.fixture(scope="module")
def loop() -> Iterator[RunningLoop]:
    running = RunningLoop()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(sandbox: RunningSandbox, migrated_database: str) -> Iterator[RunningService]:
    """The service itself: elsewhere in these tests the name is a stand-in's."""
    with running_service(sandbox, migrated_database) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", checks.CASES, ids=lambda case: case.__name__)
def test_the_fakes(case: Callable[[Any], None], kind: str, loop: RunningLoop) -> None:
    """An app's tests meet what the app meets, at once."""
    case(FakeWorld(kind, loop.loop))


@pytest.mark.parametrize("kind", KINDS)
def test_the_service(kind: str, loop: RunningLoop, world: ServiceWorld, subtests: pytest.Subtests) -> None:
    """So does the app, whose stand-ins are not true otherwise. Each case has a project of its own in one world."""
    for case in checks.CASES:
        with subtests.test(case.__name__), closing(RealWorld(kind, world, case.__name__[:63], loop.loop)) as on:
            case(on)
