"""Does what the author of an app does: installs our distributions elsewhere and tests an app with them.

One environment has the example `notes` and all that its tests ask for; another has the sandbox alone. Neither knows
this repository. Exits with an error at the first thing that is not as promised. Run with the repository's own Python.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = ROOT / ".tools" / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
OF_STRIPE_USERS = """
import stripe

def test_a_month(stripe_desk):
    client = stripe.StripeClient(stripe_desk.secret_key, base_addresses={"api": stripe_desk.url})
    before = stripe_desk.now()
    client.v1.customers.create({"email": "ada@example.com"})
    stripe_desk.advance(days=31)
    assert (stripe_desk.now() - before).days == 31

def test_it_is_empty_again(stripe_desk):
    client = stripe.StripeClient(stripe_desk.secret_key, base_addresses={"api": stripe_desk.url})
    assert client.v1.customers.list().data == []
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tollhouse-outside-") as directory:
        place = Path(directory)
        place.chmod(0o755)  # so that PostgreSQL's account may pass
        for name in ("client", "sandbox", "server", "examples/notes"):
            run(UV, "build", "--quiet", "--wheel", "--offline", "--out-dir", place / "dist", ROOT / name)
        wheels = {path.name.partition("-")[0]: path for path in (place / "dist").glob("*.whl")}

        app = place / "app"
        shutil.copytree(ROOT / "examples" / "notes" / "tests", app / "tests")
        for name in ("notes.toml", "pyproject.toml"):
            shutil.copy(ROOT / "examples" / "notes" / name, app / name)
        service = f"{wheels.pop('tollhouse_server')}[dev]"
        test(app, *wheels.values(), service, "flask", "pytest")

        other = place / "other"
        other.mkdir()
        (other / "test_other.py").write_text(OF_STRIPE_USERS)
        test(other, wheels["tollhouse_sandbox"], "stripe", "pytest")


def test(place: Path, *requirements: Path | str) -> None:
    """The tests in `place`, in an environment that has these and what they ask for."""
    environment = place.with_name(f"{place.name}-venv")
    run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    install = [UV, "pip", "install", "--quiet", "--python", environment, "--constraints", LOCK, *requirements]
    if subprocess.run([*install, "--offline"], cwd=place, check=False, capture_output=True).returncode:
        run(*install, cwd=place)  # where set-up's cache has not all of it
    run(environment / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=place)


def run(*command: Path | str, cwd: Path | None = None) -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_"))
    }
    subprocess.run(command, cwd=cwd, env=clean, check=True)


if __name__ == "__main__":
    main()
