"""What a micro-app gets when it installs the client."""

import re
import subprocess
import sys
from importlib.metadata import requires


def test_it_brings_httpx_and_nothing_else() -> None:
    """`pip install ./client` adds one dependency of ours; every other one would be in every micro-app."""
    always = [requirement for requirement in requires("tollhouse") or [] if "extra ==" not in requirement]
    names = [re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in always]
    assert names == ["httpx"]


FRAMEWORKS = ("fastapi", "starlette", "flask", "django", "discord", "celery", "rq", "pytest")


def test_frameworks_are_imported_only_by_their_gates() -> None:
    """An app without them can import the client, plain gates and the fake."""
    code = f"import sys, tollhouse, tollhouse.testing; sys.exit(any(m in sys.modules for m in {FRAMEWORKS}))"
    subprocess.run([sys.executable, "-c", code], check=True)
