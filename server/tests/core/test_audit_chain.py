"""The audit trail is append-only, and whoever alters it past its triggers is found out."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tollhouse_server.audit import Cause, record
from tollhouse_server.audit.anchors import AnchorsInvalid, read_anchors
from tollhouse_server.audit.chain import BEGINNING, FIELDS, Fault, Head, Link, Wrong, first_fault, seal
from tollhouse_server.audit.trail import heads, verify
from tollhouse_server.db.engine import Database, conninfo

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
ENTRIES = 1_000
SAMPLE = """
INSERT INTO audit (project_id, customer_id, at, action, actor, cause, reason, before, after)
SELECT %(project)s, CASE WHEN i %% 3 > 0 THEN %(customer)s::uuid END, %(now)s::timestamptz + i * interval '1.000001 s',
  'grant.given', 'grâce ' || i, 'POST /v1/admin/grants', CASE WHEN i %% 2 = 0 THEN E'case "4711"\\n' || i END,
  CASE WHEN i %% 5 > 0 THEN jsonb_build_object('until', i, 'größe', '9:x-') END, jsonb_build_array(i, 'ü', NULL, 1.50)
FROM generate_series(1, %(entries)s) i
"""


@dataclass(frozen=True)
class Trail:
    """A database with one project's chain of 1,000 entries and one of the fleet's."""

    url: str
    project_id: uuid.UUID

    def links(self) -> list[Link]:
        """The project's chain as it lies there."""
        with psycopg.connect(conninfo(self.url)) as connection:
            rows = connection.execute(
                "SELECT s.position, s.audit_id, s.hash, a.id::text, a.project_id::text, a.customer_id::text,"
                " (extract(epoch FROM a.at) * 1000000)::bigint::text, a.action, a.actor, a.cause, a.reason,"
                " a.before::text, a.after::text FROM audit_seal s JOIN audit a ON a.id = s.audit_id"
                " WHERE s.project_id = %s ORDER BY s.position",
                [self.project_id],
            )
            return [Link(*row[:3], row[3:]) for row in rows]

    def altered(self, *statements: str) -> None:
        """What somebody does who may switch the triggers off."""
        with psycopg.connect(conninfo(self.url)) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement)

    def fault(self) -> Fault | None:
        """What the verifier says of the database."""
        return next((one.fault for one in verify(self.url, anchors={}) if one.fault), None)


@pytest.fixture
def trail(database_url: str) -> Trail:
    project_id, customer_id = uuid.uuid4(), uuid.uuid4()
    given = {"project": project_id, "customer": customer_id, "now": NOW, "entries": ENTRIES}
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO project (id, slug, name, redirect_origins) VALUES (%s, 'p', 'P', '{}')", [project_id]
        )
        connection.execute(
            "INSERT INTO customer (id, project_id, user_id) VALUES (%s, %s, 'ada')", [customer_id, project_id]
        )
        connection.execute(SAMPLE, given)
        connection.execute(SAMPLE, {**given, "project": None, "entries": 3})
    return Trail(database_url, project_id)


@pytest.mark.parametrize("table", ["audit", "audit_seal"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET project_id = NULL", "DELETE FROM {}", "TRUNCATE {}", "TRUNCATE project CASCADE"]
)
def test_the_trail_is_append_only(trail: Trail, table: str, statement: str) -> None:
    """Its owner is refused too, whatever the statement, and told so."""
    with psycopg.connect(trail.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        connection.execute(statement.format(table))
    assert "append-only" in str(refused.value) and "further entry" in str(refused.value)
    assert trail.fault() is None


def test_what_lay_there_before_the_chain_is_sealed_by_the_migration(trail: Trail) -> None:
    """The function that seals gives the same chain whenever it runs: at the commit, or over what is there already."""
    before = trail.links()
    trail.altered("DELETE FROM audit_seal", "SELECT audit_seal_entry(audit) FROM audit ORDER BY id")
    assert trail.links() == before and len(before) == ENTRIES
    assert [one.entries for one in verify(trail.url, anchors={})] == [3, ENTRIES]
    assert trail.fault() is None


def test_an_entry_that_is_rolled_back_leaves_no_gap(trail: Trail) -> None:
    """Its number is lost, its place is not."""
    with psycopg.connect(trail.url) as connection:
        connection.execute(SAMPLE, {"project": trail.project_id, "customer": None, "now": NOW, "entries": 1})
        connection.rollback()
        connection.execute(SAMPLE, {"project": trail.project_id, "customer": None, "now": NOW, "entries": 1})
    *_, last = trail.links()
    assert last.position == ENTRIES + 1 and last.audit_id > ENTRIES + 4
    assert trail.fault() is None


@pytest.mark.anyio
async def test_concurrent_commits_make_one_chain(shop: Any, database: Database, database_url: str) -> None:
    """Twelve connections at once, two entries a transaction, the fleet's chain among them: no gap, no fork, no wait."""

    async def write(writer: int) -> None:
        for n in range(8):
            async with database.transaction() as tx:
                why = Cause("stripe", f"evt_{writer}_{n}")
                await record(tx, "entitlements.changed", why, at=NOW, project_id=shop.project_id)
                await record(tx, "event.replayed", why, at=NOW, project_id=None if writer % 3 == 0 else shop.project_id)

    await asyncio.gather(*(write(writer) for writer in range(12)))
    walked = {one.project: one for one in verify(database_url, anchors={})}
    assert (walked["pdf-tool"].entries, walked[None].entries) == (160, 32)
    assert walked["pdf-tool"].fault is walked[None].fault is None


Chain = list[Link]


def chained(links: Chain, first: int) -> Chain:
    """The chain made anew from place `first` on, hashes and all: what somebody does who knows how it is made."""
    made = links[:first]
    for link in links[first:]:
        last = made[-1].hash if made else BEGINNING.hash
        made.append(link._replace(position=len(made) + 1, hash=seal(last, link.fields or ())))
    return made


def edits(links: Chain) -> Iterator[tuple[Head, Link]]:
    """Every field of every entry set to something else, and every hash, each with the head that it follows on."""
    last = BEGINNING
    for link in links:
        assert link.fields is not None
        for column, value in enumerate(link.fields):
            for other in {None, f"{value}x", (value or "")[:-1]} - {value}:
                yield last, link._replace(fields=[*link.fields[:column], other, *link.fields[column + 1 :]])
        yield last, link._replace(hash=bytes(32))
        last = Head(link.position, link.hash)


def test_every_edit_of_every_field_is_found(trail: Trail) -> None:
    """About 25,000 edits: each named by its place and its entry; shifting text from one field to the next, too."""
    links = trail.links()
    assert first_fault(links, {}) is None
    tried = 0
    for last, edited in edits(links):
        assert first_fault([edited], {}, start=last) == Fault(edited.position, edited.audit_id, Wrong.EDITED)
        tried += 1
    assert tried > ENTRIES * len(FIELDS) * 2
    fields = links[7].fields
    assert fields is not None
    shifted = [*fields[:4], (fields[4] or "") + (fields[5] or "")[:1], (fields[5] or "")[1:], *fields[6:]]
    assert first_fault([*links[:7], links[7]._replace(fields=shifted)], {}) == Fault(8, links[7].audit_id, Wrong.EDITED)


def deleted(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    return links[:n] + links[n + 1 :], Wrong.MISSING, n


def emptied(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    return [*links[:n], links[n]._replace(fields=None), *links[n + 1 :]], Wrong.MISSING, n


def deleted_and_closed_up(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    closed = [link._replace(position=link.position - 1) for link in links[n + 1 :]]
    return links[:n] + closed, Wrong.EDITED, n


def entries_swapped(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    a, b = links[n], links[n + 1]
    swapped = [a._replace(audit_id=b.audit_id, fields=b.fields), b._replace(audit_id=a.audit_id, fields=a.fields)]
    return links[:n] + swapped + links[n + 2 :], Wrong.REORDERED, n


def places_swapped(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    a, b = links[n], links[n + 1]
    swapped = [b._replace(position=a.position), a._replace(position=b.position)]
    return links[:n] + swapped + links[n + 2 :], Wrong.REORDERED, n


def places_far_apart_swapped(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    a, b = links[n], links[-1]
    ends = [b._replace(position=a.position)], [a._replace(position=b.position)]
    return links[:n] + ends[0] + links[n + 1 : -1] + ends[1], Wrong.REORDERED, n


def inserted(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    forged = Link(n + 1, 9_999, bytes(32), ["9999", *(links[n].fields or ())[1:]])
    return links[:n] + [forged] + [one._replace(position=one.position + 1) for one in links[n:]], Wrong.INSERTED, n


def inserted_with_its_hash(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    altered, wrong, place = inserted(links, n)
    before = altered[n - 1].hash if n else BEGINNING.hash
    altered[n] = altered[n]._replace(hash=seal(before, altered[n].fields or ()))
    return altered, wrong, place


def inserted_beside(links: Chain, n: int) -> tuple[Chain, Wrong, int]:
    return [*links[: n + 1], links[n]._replace(audit_id=9_999), *links[n + 1 :]], Wrong.INSERTED, n


MUTATIONS = [
    deleted,
    emptied,
    deleted_and_closed_up,
    entries_swapped,
    places_swapped,
    places_far_apart_swapped,
    inserted,
    inserted_with_its_hash,
    inserted_beside,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
def test_what_is_taken_out_put_in_or_moved_is_named(
    trail: Trail, mutation: Callable[[Chain, int], tuple[Chain, Wrong, int]]
) -> None:
    """At every place of a chain: the first place that is wrong, and what is wrong with it."""
    links = trail.links()[:150]
    for n in range(len(links) - 3):
        altered, wrong, place = mutation(links, n)
        fault = first_fault(altered, {})
        assert fault is not None and (fault.position, fault.wrong) == (place + 1, wrong), n


def test_a_cut_tail_and_a_chain_made_anew_contradict_the_anchors(trail: Trail) -> None:
    """Nothing inside the database could tell; a hash that was kept outside does, from any place on."""
    links = trail.links()
    anchors = {position: links[position - 1].hash for position in (300, 600, ENTRIES)}
    assert first_fault(links, anchors) is None
    for length in range(0, ENTRIES, 7):
        cut = Fault(
            length, links[length - 1].audit_id if length else None, Wrong.TAIL_CUT, min(length // 300 * 300, 600)
        )
        assert first_fault(links[:length], {}) is None
        assert first_fault(links[:length], anchors) == cut
    for first in range(0, ENTRIES, 25):
        edited = links[first]._replace(fields=[*(links[first].fields or ())[:5], "mallory", "x", None, None, None])
        anew = chained([*links[:first], edited, *links[first + 1 :]], first)
        assert first_fault(anew, {}) is None
        anchor = next(position for position in anchors if position > first)
        agreed = max((position for position in anchors if position <= first), default=0)
        assert first_fault(anew, anchors) == Fault(anchor, links[anchor - 1].audit_id, Wrong.REWRITTEN, agreed)


ID_OF_500 = "(SELECT audit_id FROM audit_seal WHERE project_id IS NOT NULL AND position = 500)"


@pytest.mark.parametrize(
    ("statement", "position", "wrong"),
    [
        (f"UPDATE audit SET reason = 'no reason' WHERE id = {ID_OF_500}", 500, Wrong.EDITED),
        (f"UPDATE audit SET at = at + interval '1 microsecond' WHERE id = {ID_OF_500}", 500, Wrong.EDITED),
        (f"UPDATE audit SET after = after || '1' WHERE id = {ID_OF_500}", 500, Wrong.EDITED),
        (f"DELETE FROM audit WHERE id = {ID_OF_500}", 500, Wrong.MISSING),
        ("DELETE FROM audit_seal WHERE project_id IS NOT NULL AND position = 500", 500, Wrong.MISSING),
        ("DELETE FROM audit_seal WHERE project_id IS NOT NULL AND position = 1000", None, Wrong.INSERTED),
        ("INSERT INTO audit (at, action, actor, cause) VALUES (now(), 'a', 'b', 'c')", None, Wrong.INSERTED),
        ("UPDATE audit_seal SET position = -position WHERE position = 1 AND project_id IS NULL", 1, Wrong.MISSING),
    ],
)
def test_the_database_is_seen_as_it_is(trail: Trail, statement: str, position: int | None, wrong: Wrong) -> None:
    """The same on the real tables, altered with the triggers switched off."""
    assert trail.fault() is None
    trail.altered(statement)
    fault = trail.fault()
    assert fault is not None and (fault.position, fault.wrong) == (position, wrong)


def test_only_the_newest_may_be_walked(trail: Trail) -> None:
    """For a look at a system at work: what lies before is believed."""
    trail.altered(f"UPDATE audit SET actor = 'mallory' WHERE id = {ID_OF_500}")
    walked = [(one.entries, one.fault) for one in verify(trail.url, slug="p", anchors={}, newest=400)]
    assert walked == [(400, None)]
    [further] = verify(trail.url, slug="p", anchors={}, newest=501)
    assert further.fault is not None and further.fault.position == 500


def test_a_chain_of_which_only_the_anchor_is_left_is_missed(trail: Trail) -> None:
    """The heads as they are kept elsewhere, read back, among the other lines of a log."""
    kept = [anchor.said() for anchor in heads(trail.url)]
    assert [(one["chain"], one["project"], one["position"]) for one in kept] == [
        ("fleet", None, 3),
        (str(trail.project_id), "p", ENTRIES),
    ]
    lines = ["the worker starts", *(str({"event": "audit anchor", **one}).replace("'", '"') for one in kept[1:]), "{}"]
    anchors = read_anchors(line.replace("None", "null") for line in lines)
    assert all(one.fault is None for one in verify(trail.url, anchors=anchors))
    trail.altered("DELETE FROM audit_seal", "DELETE FROM audit", "DELETE FROM customer", "DELETE FROM project")
    [gone] = [one for one in verify(trail.url, anchors=anchors) if one.fault]
    assert (gone.chain, gone.fault) == (trail.project_id, Fault(0, None, Wrong.TAIL_CUT))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no anchor"),
        (['{"event": "audit anchor", "chain": "fleet"}'], "Line 1 is no whole anchor"),
        (['{"event": "audit anchor", "chain"'], "is not JSON"),
        (
            [
                f'{{"event": "audit anchor", "chain": "fleet", "position": 1, "hash": "{hash_}"}}'
                for hash_ in ("aa", "bb")
            ],
            "Line 2 has another hash",
        ),
    ],
)
def test_anchors_that_cannot_be_read_are_refused(lines: list[str], said: str) -> None:
    """A verification against nothing would reassure for nothing."""
    with pytest.raises(AnchorsInvalid, match=said):
        read_anchors(lines)
