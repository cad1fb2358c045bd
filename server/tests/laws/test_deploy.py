"""What operators deploy and read at night names only what exists: metrics, runbooks, commands, settings."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from tollhouse_server import telemetry
from tollhouse_server.settings import Settings

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOKS = ROOT / "docs/runbooks"
OTHERS = {"up": {"job"}, "ALERTS": {"alertname", "alertstate"}}
"""Prometheus' own."""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboards = [json.loads(path.read_text()) for path in (ROOT / "deploy/grafana").glob("*.json")]
    assert dashboards
    return [panel for dashboard in dashboards for panel in dashboard["panels"]]


def series() -> dict[str, set[str]]:
    """Every series that the service tells, with its labels."""
    told = dict(OTHERS)
    for one in vars(telemetry).values():
        if isinstance(one, MetricWrapperBase):
            name, labels = one._name, set(one._labelnames)
            names = {"counter": [f"{name}_total"], "gauge": [name]}.get(one._type)
            for each in names or [f"{name}_bucket", f"{name}_count", f"{name}_sum"]:
                told[each] = labels | ({"le"} if each.endswith("_bucket") else set())
    return told


def unknown(expression: str) -> Iterator[str]:
    """What an expression names that there is not."""
    known, used = series(), set()
    bare = re.sub(r'"[^"]*"', '""', expression)
    for name, selector in re.findall(r"\b(tollhouse_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", bare):
        if name not in known:
            yield name
            continue
        used |= known[name]
        yield from (f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*[=!]", selector) if label not in known[name])
    for labels in re.findall(r"\bby \(([^)]*)\)", bare):
        yield from (label for label in re.findall(r"\w+", labels) if label not in used)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_users_feel_and_what_to_do(rule: dict[str, Any]) -> None:
    """It watches what exists, has a severity and a delay, and leads to a runbook that names it."""
    assert list(unknown(rule["expr"])) == []
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert len(rule["annotations"]["summary"]) > 40
    runbook = ROOT / rule["annotations"]["runbook"]
    assert runbook.parent == RUNBOOKS
    assert f"`{rule['alert']}`" in runbook.read_text()


def test_the_check_of_alerts_finds_what_is_wrong() -> None:
    """A metric that nobody tells, a label that it has not."""
    assert list(unknown("max(tollhouse_nothing) > 1")) == ["tollhouse_nothing"]
    assert list(unknown('sum by (route) (rate(tollhouse_events_total{state="x"}[5m]))')) == [
        "tollhouse_events_total{state}",
        "route",
    ]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_shows_what_exists(panel: dict[str, Any]) -> None:
    """Every one has an expression, and it names no metric of the past."""
    assert panel["targets"]
    assert [one for target in panel["targets"] for one in unknown(target["expr"])] == []


def test_every_alert_is_tested() -> None:
    """alerts.test.yml has each of them fire."""
    tested = re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts.test.yml").read_text())
    assert set(tested) >= {rule["alert"] for rule in rules()}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not on PATH")
@pytest.mark.parametrize(
    "check", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_prometheus_agrees(check: str) -> None:
    """Its own tool takes the example, and each alert fires when it should and only then."""
    done = subprocess.run(["promtool", *check.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_runbook_is_reached() -> None:
    """From an alert, from doctor, or from the operations guide; and from the list of runbooks."""
    pages = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    sources = [PROMETHEUS / "alerts.yml", ROOT / "docs/operations.md", *(ROOT / "server/src").rglob("doctor*.py")]
    told = "\n".join(path.read_text() for path in sources)
    assert [page for page in pages if f"runbooks/{page}" not in told] == []
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (RUNBOOKS / "README.md").read_text()))
    assert listed >= pages


OPERATING = [*RUNBOOKS.glob("*.md"), ROOT / "docs/operations.md", *(ROOT / "docs/howto").glob("*.md")]


@pytest.mark.parametrize("page", OPERATING, ids=lambda page: page.name)
def test_every_command_told_exists(page: Path, reference: ModuleType) -> None:
    """`tollhouse VERB` in prose and in listings, with options it has."""
    commands = reference.commands()
    for typed in re.findall(r"(?:^ *|`)tollhouse ((?:[a-z]+ ?)+[^`\n#|;)]*)", page.read_text(), re.MULTILINE):
        words = typed.split()
        verb = " ".join(words[:2]) if " ".join(words[:2]) in commands else words[0]
        assert verb in commands, f"tollhouse {typed}"
        options = {option for one in commands[verb].params for option in getattr(one, "opts", [])}
        assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in options] == [], typed


@pytest.mark.parametrize("page", OPERATING, ids=lambda page: page.name)
def test_every_metric_and_setting_told_exists(page: Path) -> None:
    """A name that was changed elsewhere is looked for in vain at night."""
    text = page.read_text()
    assert [name for name in re.findall(r"\btollhouse_[a-z]\w+_(?:total|seconds|alive|up|events)\b", text)
            if name not in series() and f"{name}_bucket" not in series()] == []  # fmt: skip
    settings = {name.upper() for name in Settings.model_fields} | {"POSTGRES_PASSWORD"}
    told = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", text)
    outside = {"FORWARDED_ALLOW_IPS", "TOLLHOUSE_VERSION", "TOLLHOUSE_PG_BINDIR"} | {
        "TOLLHOUSE_URL", "TOLLHOUSE_API_KEY", "TOLLHOUSE_POLL_INTERVAL"}  # fmt: skip
    of_django = {"USER_ID", "REDIRECT_BROWSERS", "API_KEY", "LOGIN_URL"}
    assert [name for name in told if name not in settings | outside | of_django] == []


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def test_compose_passes_every_setting_of_production() -> None:
    """What a setting is worth that the containers never hear of."""
    environment = set(compose()["services"]["server"]["environment"])
    not_there = {"SANDBOX_HOST_PORT", "DEMO_HOST_PORT", "FOLLOW_SANDBOX_CLOCK", "APP_HOST", "APP_HOST_PORT"}
    assert {name.upper() for name in Settings.model_fields} - not_there <= environment


def test_compose_is_for_a_small_production() -> None:
    """Two workers, limits, restarts, health checks, nothing that listens beyond this machine, and a backup."""
    services = compose()["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        if name != "proxy":  # which is for the outside
            assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if name != "migrate":
            assert service["restart"] == "unless-stopped", name
    assert {"postgres", "valkey"} <= {name for name, one in services.items() if "test" in one.get("healthcheck", {})}
    assert "backups" in compose()["volumes"] and "profiles" in services["proxy"]


def test_what_an_alert_waits_for_the_first_of_is_told_from_the_start() -> None:
    """Of a series that begins at 1, `increase` knows nothing: the first one would wake nobody."""
    told = telemetry.exposition().decode()
    first_ones = re.compile(r'increase\((\w+\{[^}]*="[^"]*"\})\[\w+\]\)\)\s*>\s*[05]\b')
    awaited = [series for rule in rules() for series in first_ones.findall(rule["expr"].partition("unless")[0])]
    assert len(awaited) >= 2
    assert [one for one in awaited if f"\n{one} " not in told] == []
