"""An app whose client follows the stream of changes, and the service that it follows."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World


@pytest.fixture
def key(world: World, pdf_tool: Tollhouse) -> str:
    """It may check and no more."""
    asked = {"name": "pages", "scopes": ["check"]}
    issued = world.operator.post("/v1/admin/projects/pdf-tool/keys", json=asked)
    return str(issued.raise_for_status().json()["key"])


@pytest.fixture
def app(world: World, key: str, tmp_path: Path) -> Iterator[Tollhouse]:
    """An app as it is deployed: it follows the stream."""
    with Tollhouse(world.service.url, key, check_wait=5, snapshot_file=tmp_path / "copy") as client:
        client.start(10)
        yield client


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def test_what_is_bought_and_given_back_is_known_without_a_question(
    world: World, pdf_tool: Tollhouse, app: Tollhouse
) -> None:
    """A purchase opens in the app by itself, a grant's end closes by itself, and each answer is live."""
    assert app.check("ada", "premium_export").reason == "no-source"
    world.customer("ada").buys("pdf-tool.pro.monthly")
    eventually(lambda: app.check("ada", "premium_export"))
    eventually(lambda: app.check("ada", "premium_export").freshness == "live")
    assert app.check("ada", "pages_per_day").value == 500

    given = {"project": "pdf-tool", "user_id": "grace", "feature": "premium_export", "reason": "sorry"}
    grant = world.operator.post("/v1/admin/grants", json=given).raise_for_status().json()
    eventually(lambda: app.check("grace", "premium_export").freshness == "live")
    assert app.check("grace", "premium_export").source == grant["id"]
    world.operator.post(f"/v1/admin/grants/{grant['id']}/revoke", json={"reason": "done"}).raise_for_status()
    eventually(lambda: not app.check("grace", "premium_export"))
    assert app.check("ada", "premium_export").version == pdf_tool.check("ada", "premium_export").version


def test_a_new_catalog_reaches_the_app(
    world: World, pdf_tool: Tollhouse, app: Tollhouse, pdf_tool_document: dict[str, Any]
) -> None:
    """A feature that is added exists in the app a moment later; what a plan no longer opens is closed."""
    world.customer("ada").buys("pdf-tool.pro.monthly")
    eventually(lambda: app.check("ada", "premium_export"))
    assert app.check("ada", "batch").reason == "feature-not-found"
    grown = copy.deepcopy(pdf_tool_document)
    grown["features"]["batch"] = {"name": "Batch"}
    grown["products"]["pro"]["opens"] = {"batch": True}
    world.publish(grown, existing="move")
    world.service.work()
    eventually(lambda: app.check("ada", "batch"))
    eventually(lambda: not app.check("ada", "premium_export"))


def test_an_app_starts_without_its_service_and_finds_it_again(
    world: World, pdf_tool: Tollhouse, app: Tollhouse, key: str, tmp_path: Path
) -> None:
    """Started again in an outage it knows who may; started again after it, it goes on where it was, asking nothing."""
    world.customer("ada").buys("pdf-tool.pro.monthly")
    eventually(lambda: app.check("ada", "premium_export").freshness == "live")
    app.close()
    with Tollhouse("http://127.0.0.1:9", key, retries=0, snapshot_file=tmp_path / "copy") as alone:
        known = alone.check("ada", "premium_export")
        assert (known.allowed, known.freshness) == (True, "cached")
        assert alone.check("grace", "premium_export").reason == "outage-deny"
    with Tollhouse(world.service.url, key, check_wait=5, snapshot_file=tmp_path / "copy") as again:
        again.start(10)
        eventually(lambda: again.check("ada", "premium_export").freshness == "live")
