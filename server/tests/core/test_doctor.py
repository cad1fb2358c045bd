"""Each check of the doctor finds what it is for, and nothing else does."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tollhouse_server import doctor
from tollhouse_server.db import readiness
from tollhouse_server.doctor import CHECKS, Look, Result, broken_invariants_of
from tollhouse_server.doctor.checks import Found, rows
from tollhouse_server.projection import types_concerning
from tollhouse_server.reconcile.runs import Kind
from tollhouse_server.resources import Resources
from tollhouse_server.stripe_gateway.client import close_client, open_client
from tollhouse_server.stripe_gateway.webhook_endpoint import known_event_types
from tollhouse_server.testing import World

ROOT = Path(__file__).parents[3]
WITHIN = {Kind.CATCH_UP: timedelta(minutes=15), Kind.SWEEP: timedelta(hours=18)}

SECOND = "INSERT INTO subscription SELECT 'sub_2', project_id, customer_id, status, evidence FROM subscription"
OTHER = "INSERT INTO project (id, slug, name, redirect_origins) VALUES (gen_random_uuid(), 'other', 'Other', '{}')"
OF_OTHER = "SET project_id = (SELECT id FROM project WHERE slug = 'other')"
ENTRY = "INSERT INTO audit (at, action, actor, cause) VALUES (now(), 'x', 'mallory', 'by hand')"
CORRECTION = (
    "INSERT INTO correction (id, project_id, customer_id, kind, action, subscription_id, beside, reason, found_at,"
    " state, next_attempt_at) SELECT 'cor_1', project_id, customer_id, 'double', 'cancel', id, 'sub_0', '', now(),"
)
LEASED = "UPDATE inbox SET state = 'received', outcome = NULL, next_attempt_at = now(), lease = gen_random_uuid(),"

ENDPOINT = (
    "INSERT INTO notification_endpoint (id, project_id, url, description)"
    " SELECT 'ep_1', id, 'https://app.test/hook', '' FROM project"
)

BREAKS: dict[str, tuple[str, ...]] = {
    "schema": ("UPDATE alembic_version SET version_num = '0001'",),
    "walls": ("ALTER TABLE access_grant DISABLE ROW LEVEL SECURITY",),
    "worker": ("DELETE FROM worker",),
    "reconciliation-late": ("UPDATE reconciliation SET finished_at = finished_at - interval '1 day'",),
    "inbox-waiting": (
        "UPDATE inbox SET state = 'deferred', outcome = NULL, next_attempt_at = now() + interval '1 hour',"
        " received_at = now() - interval '11 minutes', error = 'Oh', subject = 'cus_x' WHERE id = 1",
    ),
    "events-buried": ("UPDATE inbox SET state = 'buried', outcome = NULL WHERE id = 1",),
    "corrections-given-up": (f"{CORRECTION} 'given-up', NULL FROM subscription",),
    "corrections-waiting": (f"{CORRECTION} 'pending', now() - interval '11 minutes' FROM subscription",),
    "leases-run-out": (f"{LEASED} lease_until = now() - interval '2 minutes', subject = 'cus_x' WHERE id = 1",),
    "snapshots-overdue": ("UPDATE snapshot SET next_change_at = :now - interval '2 minutes'",),
    "periods-passed": (
        "UPDATE subscription SET evidence = jsonb_set(evidence, '{items,0,current_period_end}',"
        " to_jsonb(:now - interval '8 days')), status = 'trialing'",
    ),
    "live-of-a-deleted-customer": ("UPDATE customer SET stripe_customer_id = NULL",),
    "prices-unmapped": (
        "UPDATE purchase SET evidence = jsonb_set(evidence, '{items}', evidence->'items' ||"
        " jsonb_build_array(jsonb_set(evidence->'items'->0, '{stripe_price}', '\"price_x\"')))",
    ),
    "checkouts-half-open": (
        "UPDATE checkout SET state = 'opening', created_at = :now - interval '11 minutes',"
        " expires_at = :now + interval '1 hour'",
    ),
    "notifications-waiting": (
        ENDPOINT,
        "INSERT INTO delivery (project_id, endpoint_id, message_id, customer_id, version, next_attempt_at)"
        " SELECT id, 'ep_1', 'msg_' || n, '00000000-0000-0000-0000-000000000001', n, now() - interval '11 minutes'"
        " FROM project, generate_series(1, 3) n",
    ),
    "notifications-disabled": (
        ENDPOINT,
        "UPDATE notification_endpoint SET disabled_at = now(), disabled_because = 'it failed for five days'",
    ),
    "versions-audited": ("DELETE FROM audit WHERE action = 'entitlements.changed' AND before = '[]'",),
    "snapshot-version": ("UPDATE snapshot SET version = version + 1",),
    "rows-of-another-project": (OTHER, f"UPDATE checkout {OF_OTHER}"),
    "entries-unsealed": (ENTRY,),
    "two-subscriptions": (SECOND,),
    "snapshot-differs": ("UPDATE snapshot SET entitlements = '[]', next_change_at = NULL",),
}


def diagnose(world: World, statements: tuple[str, ...]) -> list[Result]:
    """What the doctor says after these statements, which are taken back."""

    async def look(resources: Resources) -> list[Result]:
        url = world.service.settings.database_url.get_secret_value()
        now = world.service.clock.now()
        async with resources.database.engine.connect() as tx:
            await tx.execute(text("SET session_replication_role = replica"))
            for statement in statements:
                await tx.execute(text(statement), {"now": now} if ":now" in statement else {})
            found = await doctor.results(Look(tx, url, now, full=True, reconciled_within=WITHIN), CHECKS)
            await tx.rollback()
            await tx.execute(text("RESET session_replication_role"))
            await tx.commit()
            return found

    return world.service.run(look)


@pytest.fixture
def sold(world: World, pdf_tool_catalog: dict[str, Any]) -> World:
    """A shop where all is well: a plan and a thing sold, one cancelled, reconciled, a worker at work."""
    ada = world.customer("ada", world.publish(pdf_tool_catalog))
    ada.buys("pdf-tool.pro.monthly")
    ada.buys("pdf-tool.lifetime.once")
    world.arrive()
    with psycopg.connect(world.service.settings.database_url.get_secret_value()) as connection:
        connection.execute("INSERT INTO worker (id, seen_at) VALUES ('w', now() + interval '10 minutes')")
        connection.execute(
            "INSERT INTO reconciliation (id, kind, trigger, actor, dry_run, state, started_at, finished_at, stage)"
            " SELECT 'run_' || kind, kind, 'schedule', 'timetable', false, 'finished', %(now)s, %(now)s, 'done'"
            " FROM unnest(ARRAY['catch-up', 'sweep']) kind",
            {"now": world.service.clock.now()},
        )
    return world


def test_each_check_finds_what_it_is_for(sold: World) -> None:
    """Where all is well nothing is said; each thing that is broken by hand is told by its own check and no other."""
    assert {one.check.name: (one.found, one.error) for one in diagnose(sold, ()) if not one.well} == {}
    restored = tuple(f"UPDATE {table} SET version = version | (7::bigint << 32)" for table in ("customer", "snapshot"))
    assert [one.check.name for one in diagnose(sold, restored) if not one.well] == []
    told = {}
    for name, statements in BREAKS.items():
        ill = [one for one in diagnose(sold, statements) if not one.well]
        assert [one.error for one in ill if one.error] == [], name
        told[name] = {one.check.name for one in ill}
    assert told == {name: {name} for name in BREAKS}
    assert {*BREAKS, "audit-chain", "clock", "stripe"} == {one.name for one in CHECKS}

    # A snapshot behind its evidence is a fault only where no event is about to mend it.
    ended = "UPDATE subscription SET status = 'canceled', evidence = jsonb_set(evidence, '{status}', '\"canceled\"')"
    [behind] = [one for one in diagnose(sold, (ended, "DELETE FROM purchase")) if not one.well]
    assert behind.check.name == "snapshot-differs" and "the evidence says otherwise of pages_per_day" in str(
        behind.found
    )
    waiting = "UPDATE inbox SET state = 'received', outcome = NULL, next_attempt_at = now() WHERE subject LIKE 'cus_%'"
    assert [one for one in diagnose(sold, (ended, "DELETE FROM purchase", waiting)) if not one.well] == []

    # A check that cannot look says why; those after it look all the same.
    told = {one.check.name: one for one in diagnose(sold, ("ALTER TABLE inbox RENAME TO away", "DELETE FROM worker"))}
    assert not told["inbox-waiting"].well and "UndefinedTable" in (told["inbox-waiting"].error or "")
    assert told["worker"].found.count == 1 and told["two-subscriptions"].well


def by_hand(world: World, *statements: str) -> None:
    """Committed, past the triggers."""
    with psycopg.connect(world.service.settings.database_url.get_secret_value()) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def examined(world: World, **more: Any) -> dict[str, Result]:
    """A whole examination as `tollhouse doctor` makes it: what is not well."""

    async def examine(resources: Resources) -> list[Result]:
        url = world.service.settings.database_url.get_secret_value()
        return await doctor.examine(resources.database, partial(Look, url=url, now=world.service.clock.now(), **more))

    return {one.check.name: one for one in world.service.run(examine) if not one.well}


def test_an_examination_is_one_look_that_changes_nothing(sold: World) -> None:
    """All checks in one snapshot, read only; the newest audit entries, or all; nothing further on an old schema."""
    assert examined(sold, full=True, reconciled_within=WITHIN) == {}
    by_hand(sold, "UPDATE audit SET reason = 'none' WHERE id = (SELECT max(id) FROM audit)")
    assert list(examined(sold)) == ["audit-chain"]
    by_hand(sold, "UPDATE alembic_version SET version_num = '0001'")
    try:
        assert list(examined(sold)) == ["schema"]
    finally:
        by_hand(sold, f"UPDATE alembic_version SET version_num = '{readiness.head()}'")

    # The invariants alone, for the end of a test and of a crash run: each broken one in a sentence with an example.
    url = sold.service.settings.database_url.get_secret_value()
    assert broken_invariants_of(url) == []
    by_hand(sold, "UPDATE customer SET version = version + 1")
    told = broken_invariants_of(url)
    assert [one.partition(":")[0] for one in told] == ["versions-audited", "snapshot-version"]
    assert "audit entries 2" in told[0]
    by_hand(sold, "UPDATE customer SET version = version - 1")


def test_many_are_counted_up_to_a_bound(world: World) -> None:
    """A check costs no more where everything is wrong."""

    async def count(resources: Resources) -> Found:
        async with resources.database.transaction() as tx:
            find = rows("SELECT 'number ' || n FROM generate_series(1, 20000) n")
            return await find(Look(tx, "", world.service.clock.now()))

    examples = tuple(f"number {n}" for n in range(1, 6))
    assert world.service.run(count) == Found(10_000, examples, at_least=True)


def test_stripe_is_asked_whether_it_tells_us_everything(world: World) -> None:
    """An endpoint of ours that is enabled, of our version or the account's, and sends what matters."""

    def faults() -> list[str]:
        told = examined_online(world).get("stripe")
        return list(told.found.examples) if told else []

    assert faults() == []
    endpoints = world.stripe.v1.webhook_endpoints
    endpoints.update(world.endpoint, {"enabled_events": ["invoice.paid"]})
    [unheard] = faults()
    assert "it does not send charge.dispute." in unheard and "invoice.paid" not in unheard
    endpoints.update(world.endpoint, {"enabled_events": ["*"], "disabled": True})
    assert faults() == [f"{world.endpoint}: it is disabled"]
    url = f"{world.service.url}/v1/stripe/webhook"
    needed: Any = types_concerning(known_event_types())
    endpoints.create({"url": url, "enabled_events": needed, "api_version": "2024-06-20"})
    assert any("its API version is 2024-06-20" in one for one in faults())
    endpoints.create({"url": url, "enabled_events": needed})
    assert faults() == []
    for one in endpoints.list().data:
        endpoints.delete(one.id)
    assert faults() == ["No webhook endpoint leads to a URL that ends in /v1/stripe/webhook."]
    assert "Invalid API Key" in examined_online(world, key="nonsense")["stripe"].found.examples[0]


def examined_online(world: World, key: str | None = None) -> dict[str, Result]:
    async def examine(resources: Resources) -> list[Result]:
        stripe = open_client(key, world.sandbox.url) if key else resources.stripe
        try:
            async with resources.database.transaction() as tx:
                look = Look(tx, "", world.service.clock.now(), stripe=stripe)
                return await doctor.results(look, [one for one in CHECKS if one.name == "stripe"])
        finally:
            if key:
                await close_client(stripe)

    return {one.check.name: one for one in world.service.run(examine) if not one.well}


def test_every_check_says_what_is_wrong_and_what_to_do() -> None:
    """In whole sentences; a runbook that it names is there."""
    for check in CHECKS:
        assert check.sentence.endswith(".") and check.remedy.endswith("."), check.name
        assert check.runbook is None or (ROOT / f"docs/runbooks/{check.runbook}.md").is_file(), check.name
    assert len({check.name for check in CHECKS}) == len(CHECKS)
