"""The API's description of itself, and the reference as its script would write it."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """docs/write_reference.py, as a module."""
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs/write_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def openapi(reference: ModuleType) -> dict[str, Any]:
    """The document at /openapi.json."""
    document: dict[str, Any] = reference.openapi()
    return document
