"""What the stories sell."""

from pathlib import Path
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

PDF_TOOL: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "features": {
        "premium_export": {"name": "Premium export"},
        "pages_per_day": {"name": "Pages per day", "kind": "limit"},
    },
    "products": {
        "pro": {
            "name": "PDF Tool Pro",
            "plan_group": "plan",
            "opens": {"premium_export": True, "pages_per_day": 500},
            "prices": {
                "monthly": {"amount": 900, "currency": "eur", "interval": "month"},
                "yearly": {"amount": 9000, "currency": "eur", "interval": "year"},
                "trial": {"amount": 900, "currency": "eur", "interval": "month", "trial_days": 14},
            },
        },
        "lifetime": {
            "name": "PDF Tool Lifetime",
            "opens": {"premium_export": True, "pages_per_day": "unlimited"},
            "prices": {"once": {"amount": 19900, "currency": "eur"}},
        },
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories are not traced for coverage: it makes them twice as slow, and the other tests cover what they do."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture
def pdf_tool_document() -> dict[str, Any]:
    return PDF_TOOL


@pytest.fixture
def pdf_tool(world: World) -> Tollhouse:
    """The PDF tool's client, its catalog published."""
    return world.publish(PDF_TOOL)
