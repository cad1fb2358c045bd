"""The reference says what the code does, no more and no less."""

import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import Gauge
from prometheus_client.metrics import MetricWrapperBase

from tollhouse_server import telemetry
from tollhouse_server.domain.rules import Rule
from tollhouse_server.settings import Settings

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs/reference"


def first_column(page: str, pattern: str = r"[\w-]+") -> list[str]:
    """What the rows of a page's tables begin with."""
    return re.findall(rf"^\| `({pattern})` \|", (REFERENCE / page).read_text(), re.MULTILINE)


def test_what_the_script_writes_is_current(reference: ModuleType) -> None:
    """Run docs/write_reference.py where this fails."""
    outdated = [path.name for path, text in reference.pages() if path.read_text() != text]
    assert outdated == []


def test_every_setting_is_documented_and_nothing_else() -> None:
    """In settings.md and, by its name alone, in .env.example; compose's own password stands there too."""
    settings = {name.upper() for name in Settings.model_fields}
    assert set(first_column("settings.md")) == settings
    assert all(field.description for field in Settings.model_fields.values())
    example = re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name for name, _ in example} == settings | {"POSTGRES_PASSWORD"}
    assert {value for _, value in example} == {""}, "a value in .env.example ends up in production"


def test_every_error_is_documented_and_nothing_else(reference: ModuleType) -> None:
    """A code is one class: one status, one title, one meaning."""
    codes = [problem.code for problem in reference.problems()]
    assert [code for code, times in Counter(codes).items() if times > 1] == []
    assert first_column("errors.md") == codes
    for problem in reference.problems():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code)
        assert problem.__doc__ and "code" in vars(problem), problem


def test_every_code_that_a_call_answers_is_one_of_them(reference: ModuleType, openapi: dict[str, Any]) -> None:
    """The API's own description and the classes agree on code and status."""
    known = {(problem.code, str(problem.status)) for problem in reference.problems()}
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if "application/problem+json" in answer.get("content", {}):
                    told = {(code, status) for code in re.findall(r"`([a-z-]+)`: ", answer["description"])}
                    assert told and told <= known, f"{path} {status}"


def test_every_call_is_documented(openapi: dict[str, Any]) -> None:
    """http-api.md has a section for each."""
    calls = [f"{method.upper()} {path}" for path, methods in openapi["paths"].items() for method in methods]
    assert re.findall(r"^### `(.+)`$", (REFERENCE / "http-api.md").read_text(), re.MULTILINE) == calls


def test_every_verb_is_documented(reference: ModuleType) -> None:
    """cli.md has a section for each; each, and each of its arguments and options, says what it is for."""
    page = (REFERENCE / "cli.md").read_text()
    sections = re.findall(r"^### `tollhouse ([a-z -]+?)(?: [A-Z_\[].*)?`$", page, re.MULTILINE)
    assert sections == list(reference.commands())
    for name, command in reference.commands().items():
        assert command.help, name
        assert [one.name for one in command.params if not getattr(one, "help", None)] == [], name


def test_every_reason_is_documented() -> None:
    """reasons.md lists the rules, and the billing rules in prose tell each."""
    assert first_column("reasons.md") == [str(rule) for rule in Rule]
    prose = (ROOT / "server/src/tollhouse_server/domain/README.md").read_text()
    assert [rule for rule in Rule if f"`{rule}`" not in prose] == []


def test_every_metric_is_documented_and_used() -> None:
    """A metric that nobody counts shows a calm that is not there."""
    metrics = {name for name, one in vars(telemetry).items() if isinstance(one, MetricWrapperBase)}
    assert len(first_column("metrics.md")) == len(metrics) >= 7
    code = "\n".join(path.read_text() for path in (ROOT / "server/src").rglob("*.py"))
    counting = r"\b{}\b[\s\S]{{0,80}}?\.(inc|observe|set|set_to_current_time)\("
    assert [name for name in metrics if not re.search(counting.format(name), code)] == []


def test_every_gauge_says_how_processes_are_put_together() -> None:
    """Where several processes serve one port, a gauge of each pid would be several truths."""
    gauges = [one for one in vars(telemetry).values() if isinstance(one, Gauge)]
    assert len(gauges) >= 6
    assert [one._name for one in gauges if one._multiprocess_mode in ("all", "liveall")] == []


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """A link that is broken is one that somebody needs at night."""
    path = ROOT / page
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
