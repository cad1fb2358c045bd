"""The fixtures that installing the client gives to pytest."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse


def test_each_test_has_a_tollhouse_of_its_own(fake_tollhouse: FakeTollhouse) -> None:
    """Nothing is registered or imported by the app's tests: installed is enough."""
    assert not fake_tollhouse.check("ada", "premium_export")
    fake_tollhouse.allow("ada", "premium_export")
    assert fake_tollhouse.check("ada", "premium_export")


def test_and_one_that_is_awaited(async_fake_tollhouse: AsyncFakeTollhouse) -> None:
    """For an app that takes an AsyncTollhouse."""
    async_fake_tollhouse.allow("ada", "premium_export")
    assert asyncio.run(async_fake_tollhouse.check("ada", "premium_export"))


def run_pytest(directory: Path, test: str, settings: str = "") -> str:
    """What pytest prints of one test in a directory of an app's own, without this repository's conftest and plugins."""
    (directory / "test_app.py").write_text(textwrap.dedent(test))
    (directory / "pytest.ini").write_text(f"[pytest]\n{settings}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_tollhouse", "test_app.py"]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return run.stdout if run.returncode else "passed"


def test_who_does_not_use_them_pays_nothing(tmp_path: Path) -> None:
    """pytest starts without the client and what it imports, so that coverage of it, and a start, are as without."""
    test = """
        import sys

        def test_nothing_is_imported():
            assert not {"tollhouse", "httpx"} & set(sys.modules)
    """
    assert run_pytest(tmp_path, test) == "passed"


def test_it_sells_what_the_app_sells_where_pytest_is_told_its_catalog(tmp_path: Path) -> None:
    """Features and prices are those of the file, and no others."""
    catalog = Path(__file__).parents[2] / "examples" / "demo" / "pdf-tool.toml"
    (tmp_path / "shop.toml").write_text(catalog.read_text())
    test = """
        import asyncio, pytest

        def test_it(fake_tollhouse, async_fake_tollhouse):
            assert fake_tollhouse.catalog().project == "pdf-tool"
            urls = {"success_url": "https://app.test", "cancel_url": "https://app.test"}
            fake_tollhouse.complete(fake_tollhouse.open_checkout("ada", "pdf-tool.pro.monthly", **urls))
            assert fake_tollhouse.check("ada", "pages_per_day").value == 500
            with pytest.raises(ValueError, match="not declared"):
                async_fake_tollhouse.allow("ada", "premium_exprot")
    """
    assert run_pytest(tmp_path, test, "tollhouse_catalog = shop.toml") == "passed"
