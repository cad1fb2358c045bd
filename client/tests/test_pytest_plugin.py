"""The fixtures that installing the client gives to pytest."""

import asyncio
import subprocess
import sys
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


def test_who_does_not_use_them_pays_nothing(tmp_path: Path) -> None:
    """pytest starts without the client and what it imports, so that coverage of it, and a start, are as without."""
    tests = tmp_path / "test_other.py"
    tests.write_text(
        "import sys\ndef test_nothing_is_imported():\n    assert not {'tollhouse', 'httpx'} & set(sys.modules)\n"
    )
    # Without this repository's own conftest and plugins.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_tollhouse", "--rootdir", str(tmp_path), str(tests)]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
