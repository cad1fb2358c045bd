"""What the lock files may hold: pinned versions and hashes, and no place that a package comes from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["requirements.lock", "bootstrap.lock"])
def test_a_lock_pins_and_hashes_everything_and_names_no_place(name: str) -> None:
    """Each installation uses its own index, and every file it gets from there is checked against a hash."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert " @ " not in text
    statements = text.replace("\\\n", "").splitlines()
    requirements = [line for line in statements if line and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert "==" in requirement.split(";")[0]
        assert "--hash=sha256:" in requirement


def test_the_lock_holds_what_the_distributions_ask_for() -> None:
    """A dependency that is added to a pyproject.toml without `make lock` is noticed before a fresh clone is."""
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    ours = {"tollhouse", "tollhouse-sandbox"}
    for distribution in ("client", "sandbox", "server"):
        project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).get("dev", [])
        asked = {re.match(r"[a-zA-Z0-9-]+", requirement)[0] for requirement in [*project["dependencies"], *extras]}  # type: ignore[index]
        assert asked - ours <= locked
