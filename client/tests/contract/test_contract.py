"""Both clients keep what they promise of `check`, with a service that behaves and with one that does not."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import checks, misbehaviour
from .service import Service
from .stage import KEY, RunningLoop, Stage


@pytest.fixture(scope="module")
def loop() -> Iterator[RunningLoop]:
    running = RunningLoop()
    yield running
    running.stop()


@pytest.fixture(params=["blocking", "asyncio"])
def on(request: pytest.FixtureRequest, loop: RunningLoop, tmp_path: Path) -> Iterator[Stage]:
    service = Service()
    service.start()
    stage = Stage(request.param, service, loop.loop, tmp_path)
    yield stage
    stage.close()
    service.stop()


@pytest.mark.parametrize("case", checks.CASES, ids=lambda case: case.__name__)
def test_check(case: Callable[[Any], None], on: Stage) -> None:
    """What an app may rely on, whatever stands behind it."""
    case(on)


@pytest.mark.parametrize("case", misbehaviour.CASES)
def test_misbehaviour(case: Callable[[Stage], None], on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the service does: no exception, no open door, no long wait; and the log keeps the key to itself."""
    caplog.set_level(logging.INFO, "tollhouse")
    case(on)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name == "tollhouse")
    assert KEY not in ours and "ada-lovelace" not in ours
