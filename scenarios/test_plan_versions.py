"""A plan is cut, or goes, while people have it: they are asked about, and keep what they have or move."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from tollhouse_server.testing import StoryError, World

MONTHLY = "pdf-tool.pro.monthly"


def with_pages(document: dict[str, Any], pages: int) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["products"]["pro"]["opens"]["pages_per_day"] = pages
    return changed


def pages(world: World, user: str) -> Any:
    return world.app().check(user, "pages_per_day").value


@pytest.mark.usefixtures("pdf_tool")
def test_a_limit_is_cut_and_customers_keep_theirs(world: World, pdf_tool_document: dict[str, Any]) -> None:
    """3 March: Ada subscribes, 500 pages. 3 May: the limit becomes 100, the question is put, the answer is keep.

    Ada keeps 500 through her renewals, Bob, who comes later, has 100. In July everybody is moved.
    """
    world.passes_until(datetime(2027, 3, 3, 9, tzinfo=UTC))
    ada, bob = world.customer("ada"), world.customer("bob")
    ada.buys(MONTHLY)
    world.passes_until(datetime(2027, 5, 3, 9, tzinfo=UTC))
    cut = with_pages(pdf_tool_document, 100)
    with pytest.raises(StoryError, match="pages_per_day 500 becomes 100: 1 customer would have less"):
        world.publish(cut)
    assert pages(world, "ada") == 500
    app = world.publish(cut, existing="keep")
    world.arrive()
    bob.buys(MONTHLY)
    world.passes(days=62)
    assert (pages(world, "ada"), pages(world, "bob")) == (500, 100)
    assert "By the opening before 3 May 2027." in app.explain("ada", "pages_per_day").sentence
    assert "opening" not in app.explain("bob", "pages_per_day").sentence
    app = world.publish(cut, existing="move")
    world.arrive()
    assert (pages(world, "ada"), pages(world, "bob")) == (100, 100)


@pytest.mark.usefixtures("pdf_tool")
def test_a_limit_is_cut_and_customers_move(world: World, pdf_tool_document: dict[str, Any]) -> None:
    """Told to move, everybody has what the catalog says, at once."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.publish(with_pages(pdf_tool_document, 100), existing="move")
    world.arrive()
    assert pages(world, "ada") == 100


@pytest.mark.usefixtures("pdf_tool")
def test_more_asks_nobody(world: World, pdf_tool_document: dict[str, Any]) -> None:
    """A mere addition is for everybody."""
    world.customer("ada").buys(MONTHLY)
    world.publish(with_pages(pdf_tool_document, 900))
    world.arrive()
    assert pages(world, "ada") == 900


@pytest.mark.usefixtures("pdf_tool")
def test_a_plan_goes_and_its_customers_stay(world: World, pdf_tool_document: dict[str, Any]) -> None:
    """It can be bought no longer, and those who have it keep it until they cancel."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=1)
    gone = copy.deepcopy(pdf_tool_document)
    del gone["products"]["pro"]
    with pytest.raises(StoryError, match="it is removed: 1 customer"):
        world.publish(gone)
    world.publish(gone, existing="keep")
    world.passes(days=70)
    assert pages(world, "ada") == 500
    ada.cancels()
    world.passes(days=40)
    assert pages(world, "ada") == 0
