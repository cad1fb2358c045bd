"""What a micro-app gets when it installs the client."""

import re
import subprocess
import sys
from importlib.metadata import requires


def test_it_brings_httpx_and_nothing_else() -> None:
    """`pip install ./client` adds one dependency of ours; every other one would be in every micro-app."""
    names = [re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in requires("tollhouse") or []]
    assert names == ["httpx"]


def test_fastapi_is_imported_only_by_the_guard() -> None:
    """An app without FastAPI can import the client and the fake."""
    code = "import sys, tollhouse, tollhouse.testing; sys.exit(any(m in sys.modules for m in ('fastapi', 'starlette')))"
    subprocess.run([sys.executable, "-c", code], check=True)
