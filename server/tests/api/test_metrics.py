"""The figures over HTTP: who may see which, as what, and what is refused."""

import csv
import io
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World


@pytest.fixture(scope="module")
def sold(world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse) -> datetime:
    """A month and a licence of the one project, a month in dollars of the other; answers with the day."""
    world.customer("ada", pdf_tool).buys("pdf-tool.pro.monthly")
    world.customer("bo", pdf_tool).buys("pdf-tool.lifetime.once")
    there = {"success_url": "https://bot.test/", "cancel_url": "https://bot.test/"}
    url = guild_bot.open_checkout("cy", "guild-bot.premium.monthly", **there).url
    assert url is not None
    world.sandbox.pay(url)
    world.arrive()
    return world.service.clock.now()


def test_a_project_sees_its_own(sold: datetime, http: httpx.Client) -> None:
    """The last thirty days as one, as known now, with the version of the definitions."""
    answer = http.get("/v1/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    told = answer.json()
    (row,) = told["data"]
    assert (row["project"], row["currency"], row["mrr_end"], row["gross_revenue"]) == ("pdf-tool", "eur", 900, 20_800)
    assert (told["definitions"], told["interval"], row["complete"]) == (1, "total", False)
    assert datetime.fromisoformat(told["computed_at"]) == sold
    start, end = (datetime.fromisoformat(told[name]) for name in ("from", "to"))
    assert end - start == timedelta(days=30) and (end.hour, end.date()) == (0, sold.date() + timedelta(days=1))
    assert {"projects"}.isdisjoint(told)


def test_the_client_tells_the_same(sold: datetime, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """Every figure of the API is in the client's answer under the same name."""
    told = pdf_tool.metrics(start=(sold - timedelta(days=1)).date(), interval="day")
    shown = http.get("/v1/metrics", params={"from": f"{sold - timedelta(days=1):%Y-%m-%d}", "interval": "day"}).json()
    renamed = {"starts_at": "from", "ends_at": "to"}
    rows = [{renamed.get(name, name): value for name, value in asdict(row).items()} for row in told.rows]
    assert [set(row) for row in rows] == [set(row) for row in shown["data"]] and len(rows) == 2
    assert [row["mrr_end"] for row in rows] == [row["mrr_end"] for row in shown["data"]] == [0, 900]


def test_by_the_day_every_day_has_a_row(sold: datetime, http: httpx.Client) -> None:
    """Dates are midnights in UTC; what lies ahead is not told."""
    asked = {"from": f"{sold - timedelta(days=2):%Y-%m-%d}", "to": f"{sold + timedelta(days=9):%Y-%m-%d}"}
    rows = http.get("/v1/metrics", params={**asked, "interval": "day"}).json()["data"]
    assert [row["new_mrr"] for row in rows] == [0, 0, 900]
    assert rows[0]["from"] == f"{asked['from']}T00:00:00Z"
    precise = {"from": (sold - timedelta(hours=1)).isoformat(), "to": (sold + timedelta(hours=1)).isoformat()}
    assert len(http.get("/v1/metrics", params=precise).json()["data"]) == 1


@pytest.mark.usefixtures("sold")
def test_operators_see_any_project_and_the_fleet(world: World) -> None:
    """The fleet: each project's figures and their sums, in each currency apart; one project: its own."""
    fleet = world.operator.get("/v1/admin/metrics").json()
    assert [(row["project"], row["currency"], row["mrr_end"]) for row in fleet["data"]] == [
        (None, "eur", 900),
        (None, "usd", 500),
    ]
    assert [(row["project"], row["mrr_end"]) for row in fleet["projects"]] == [("guild-bot", 500), ("pdf-tool", 900)]
    one = world.operator.get("/v1/admin/metrics", params={"project": "guild-bot"}).json()
    assert one["data"] == one["projects"] == [fleet["projects"][0]]
    unknown = world.operator.get("/v1/admin/metrics", params={"project": "nobodys"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


@pytest.mark.usefixtures("sold")
def test_as_csv(world: World, http: httpx.Client) -> None:
    """By parameter or by Accept, the parameter wins; a fleet's file has its projects and no sums."""
    by_header = http.get("/v1/metrics", headers={"Accept": "text/csv, application/json;q=0.5"})
    assert by_header.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert by_header.headers["tollhouse-metrics-definitions"] == "1"
    assert by_header.headers["content-disposition"].startswith('attachment; filename="metrics-')
    (row,) = csv.DictReader(io.StringIO(by_header.text, newline=""))
    shown = http.get("/v1/metrics").json()["data"][0]
    assert {name: str(value) for name, value in shown.items() if isinstance(value, int) and value is not False} == {
        name: row[name] for name, value in shown.items() if isinstance(value, int) and value is not False
    }
    assert set(row) == set(shown)
    assert http.get("/v1/metrics", params={"format": "csv"}).text.count("\r\n") == 2
    asked: Any = {"params": {"format": "json"}, "headers": {"Accept": "text/csv"}}
    assert http.get("/v1/metrics", **asked).json()["data"]
    fleet = world.operator.get("/v1/admin/metrics", params={"format": "csv"}).text
    assert [row["project"] for row in csv.DictReader(io.StringIO(fleet, newline=""))] == ["guild-bot", "pdf-tool"]


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"from": "2026-02-02", "to": "2026-02-01"}, "intervals-invalid", "before"),
        ({"from": "2024-01-01", "to": "2026-01-01", "interval": "day"}, "intervals-invalid", "400"),
        ({"from": "2026-02-30"}, "validation-failed", "from"),
        ({"to": "2026-02-01T10:00:00"}, "validation-failed", "to"),
        ({"from": "0001-01-01"}, "validation-failed", "from"),
        ({"to": "9999-12-31"}, "validation-failed", "to"),
        ({"to": "0.5"}, "validation-failed", "to"),
        ({"interval": "decade"}, "validation-failed", "interval"),
        ({"format": "xls"}, "validation-failed", "format"),
    ],
)
def test_what_cannot_be_told(http: httpx.Client, asked: dict[str, str], code: str, said: str) -> None:
    """422, with what to do or which parameter is wrong."""
    refused = http.get("/v1/metrics", params=asked)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert said in refused.json()["detail"]


def test_who_may_not_see_them(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """Nobody without a key; no key that may only check and sell; no project's key on the operators' call."""
    for_apps = world.operator.post(
        "/v1/admin/projects/pdf-tool/keys", json={"name": "web", "scopes": ["check", "checkout"]}
    ).json()["key"]
    refused = http.get("/v1/metrics", headers={"Authorization": f"Bearer {for_apps}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient-scope")
    assert http.get("/v1/admin/metrics").status_code == 401
    assert httpx.get(f"{world.service.url}/v1/metrics", verify=False).status_code == 401
