"""What the service refuses to start with, and that its refusals tell no secret."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from tollhouse_server.app import build_app
from tollhouse_server.settings import Settings, SettingsInvalid

CANARY = "canary-5d1f0a7c"
WEBHOOK_SECRET = f"whsec_{CANARY}_0123456789"
GOOD: dict[str, Any] = {
    "database_url": "postgresql://tollhouse@localhost/tollhouse",
    "stripe_secret_key": "sk_test_1",
    "stripe_webhook_secret": WEBHOOK_SECRET,
}


def settings(**changes: Any) -> Settings:
    """From values alone: no `.env`."""
    return Settings(_env_file=None, **{**GOOD, **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stripe_webhook_secret", "whsec_"),
        ("stripe_webhook_secret", " " * 30),
        ("stripe_webhook_secret_previous", f"{CANARY}"),
        ("stripe_secret_key", f"pk_test_{CANARY}"),
        ("admin_api_key", CANARY),
        ("database_url", f"mysql://tollhouse:{CANARY}@localhost/tollhouse"),
        ("database_url", f"{CANARY}"),
        ("database_url", f"postgresql://tollhouse:{CANARY}@localhost:port/tollhouse"),
        ("redis_url", f"http://{CANARY}@localhost"),
        ("log_level", "LOUD"),
        ("log_format", "xml"),
        ("claim_lease_seconds", 0),
        ("app_host_port", CANARY),
        ("trusted_proxies", "*"),
        ("trusted_proxies", "proxy.example.com"),
        ("trusted_proxies", "10.0.0.1/8"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object) -> None:
    """What could not work or would open a door does not get past the settings."""
    with pytest.raises(ValidationError):
        settings(**{name: value})


def test_the_sandbox_clock_is_not_for_live_keys() -> None:
    """Nobody moves the time in which real customers live."""
    assert settings(follow_sandbox_clock=True).follow_sandbox_clock
    with pytest.raises(ValidationError, match="live"):
        settings(follow_sandbox_clock=True, stripe_secret_key="sk_live_1")


@pytest.mark.parametrize("key", ["sk_test_1", "sk_live_1"])
def test_without_a_webhook_secret_nothing_is_served(key: str) -> None:
    """With test keys as with live ones, an app that would believe anybody's events cannot be built."""
    without = settings(stripe_webhook_secret=None, stripe_secret_key=key)
    with pytest.raises(SettingsInvalid, match="STRIPE_WEBHOOK_SECRET is not set"):
        build_app(without)


def test_both_webhook_secrets_are_accepted_during_a_rotation() -> None:
    """The new one first."""
    assert settings().webhook_secrets == (WEBHOOK_SECRET,)
    rotating = settings(stripe_webhook_secret_previous="whsec_the_secret_before_rotation")
    assert rotating.webhook_secrets == (WEBHOOK_SECRET, "whsec_the_secret_before_rotation")


@pytest.mark.parametrize(
    ("key", "live"), [("sk_test_live_1", False), ("rk_live_test_1", True), ("sk_live_1", True), ("rk_test_1", False)]
)
def test_the_mode_is_the_keys(key: str, live: bool) -> None:
    """It follows from the prefix alone, whatever else the key holds."""
    assert settings(stripe_secret_key=key).livemode is live


def test_a_repr_tells_no_secret() -> None:
    """Settings may be printed."""
    shown = repr(settings(admin_api_key=SecretStr(f"{CANARY}{CANARY}")))
    assert CANARY not in shown


WRONG = {
    "DATABASE_URL": f"postgresql://tollhouse:{CANARY}@localhost:port/tollhouse",
    "STRIPE_SECRET_KEY": f"pk_test_{CANARY}",
    "STRIPE_WEBHOOK_SECRET": CANARY,
    "ADMIN_API_KEY": CANARY,
    "LOG_LEVEL": "LOUD",
}


def test_a_command_says_every_mistake_and_no_value(tmp_path: Path) -> None:
    """Each variable is named with what to do, on standard error, in one go; the values stay untold."""
    said = subprocess.run(
        [sys.executable, "-m", "tollhouse_server.cli", "serve"],
        env={**os.environ, **WRONG},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert all(f"{name}: " in said.stderr for name in WRONG), said.stderr
    assert CANARY not in said.stdout + said.stderr
    assert "Traceback" not in said.stderr
