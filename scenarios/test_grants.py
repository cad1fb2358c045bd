"""Access that an operator gives and takes back, with a cache in between."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.db.tables import audit
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World, running_world


@pytest.fixture
def world(sandbox: RunningSandbox, database_url: str, valkey_url: str) -> Iterator[World]:
    """As elsewhere, but with a Valkey before PostgreSQL."""
    with running_world(sandbox, database_url, redis_url=valkey_url) as running:
        yield running


def given(world: World, **asked: Any) -> str:
    answer = world.operator.post("/v1/admin/grants", json={"project": "pdf-tool", "user_id": "ada", **asked})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_grant_opens_at_once_and_its_end_closes_at_once(world: World, pdf_tool: Tollhouse) -> None:
    """The check after the grant is open, the one after its revocation closed, though a cache answered before each."""
    assert not pdf_tool.check("ada", "premium_export")
    grant = given(world, feature="premium_export", reason="support case 4711")
    assert pdf_tool.check("ada", "premium_export").reason == "granted"

    answer = world.operator.post(f"/v1/admin/grants/{grant}/revoke", json={"reason": "case closed"})
    assert answer.status_code == 200
    assert not pdf_tool.check("ada", "premium_export")


def test_a_grant_ends_by_time_alone(world: World, pdf_tool: Tollhouse) -> None:
    """No event, no write, no cache entry running out: at its instant the grant is over."""
    ends = world.service.clock.now() + timedelta(days=3)
    given(world, product="pro", ends_at=ends.isoformat(), reason="a trial by hand")
    assert pdf_tool.check("ada", "pages_per_day").value == 500
    world.service.clock.set(ends - timedelta(seconds=9))
    assert pdf_tool.check("ada", "pages_per_day").value == 500
    world.service.clock.set(ends)
    assert not pdf_tool.check("ada", "pages_per_day")


def test_the_audit_names_the_operator(world: World, pdf_tool: Tollhouse) -> None:
    """Who gave it, why, and what changed by it are kept, under the operator's name."""
    given(world, feature="pages_per_day", value=50, reason="support case 4711")

    async def entries(resources: Resources) -> list[tuple[str, str, str | None]]:
        async with resources.database.transaction() as tx:
            rows = await tx.execute(select(audit).where(audit.c.customer_id.is_not(None)).order_by(audit.c.id))
            return [(row.action, row.actor, row.reason) for row in rows]

    assert world.service.run(entries) == [
        ("grant.given", "grace (ADMIN_API_KEY)", "support case 4711"),
        ("entitlements.changed", "grace (ADMIN_API_KEY)", "support case 4711"),
    ]
    assert pdf_tool.explain("ada", "pages_per_day").sources[0].kind == "grant"


def test_an_override_lowers_and_closes_for_its_time(world: World, pdf_tool: Tollhouse) -> None:
    """Whatever was bought and is bought meanwhile; the app reads which grant closes it, and until when."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    until = world.now + timedelta(days=10)
    ends = {"ends_at": until.isoformat(), "override": True, "reason": "abuse looked into"}
    given(world, feature="pages_per_day", value=5, **ends)
    closing = given(world, feature="premium_export", value=False, **ends)
    lowered, closed = ada.may("pages_per_day"), ada.may("premium_export")
    assert (lowered.value, lowered.reason, lowered.valid_until) == (5, "overridden", until)
    assert (closed.allowed, closed.reason, closed.source, closed.valid_until) == (False, "overridden", closing, until)

    ada.buys("pdf-tool.lifetime.once")
    assert not ada.may("premium_export"), "what is bought meanwhile does not count either"
    told = pdf_tool.explain("ada", "premium_export")
    assert told.sentence.startswith("Not allowed: closed by an override until ")
    assert {(one.kind, one.counts, one.rule) for one in told.sources if one.rule != "opens-other-features"} == {
        ("grant", True, "overridden"), ("subscription", False, "overridden"), ("purchase", False, "overridden"),
    }  # fmt: skip
    assert [one.override for one in pdf_tool.customer("ada").grants] == [True, True]

    world.passes_until(until - timedelta(seconds=1))
    assert not ada.may("premium_export")
    world.passes_until(until)
    assert ada.may("premium_export") and ada.may("pages_per_day").value == math.inf


def test_the_override_given_last_decides_and_revoking_it_restores(world: World, pdf_tool: Tollhouse) -> None:
    """Of two at once the later one; without both everything is as it was bought."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    first = given(world, feature="pages_per_day", value=0, override=True, reason="closed")
    assert not ada.may("pages_per_day")
    world.passes(hours=1)
    second = given(world, feature="pages_per_day", value=50, override=True, reason="a little, while we talk")
    assert ada.may("pages_per_day").value == 50
    for grant, value in ((second, 0), (first, 500)):
        world.operator.post(f"/v1/admin/grants/{grant}/revoke", json={"reason": "over"}).raise_for_status()
        assert ada.may("pages_per_day").value == value
