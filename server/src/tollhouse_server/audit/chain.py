"""The hash chain over the audit trail, computed again from the rows: pure, and without a function of the database's.

    hash(n) = SHA-256( hash(n-1) ‖ form(entry n) ),   hash(0) = 32 zero bytes

The form of an entry is each of its fields in order, as text: `<characters>:<text>` where it is set and `-` where it is
NULL, so that no two entries have the same one. What wrote the hashes is the trigger of the migration that made them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

FIELDS = ("id", "project_id", "customer_id", "at", "action", "actor", "cause", "reason", "before", "after")
"""The fields in the order of the form. `at` is in microseconds since 1970, UTC; `before` and `after` are as PostgreSQL
writes jsonb."""

Fields = Sequence[str | None]


class Link(NamedTuple):
    """A place in a chain: the seal, and the fields of the entry it seals. `fields` is None where the entry is gone."""

    position: int
    audit_id: int
    hash: bytes
    fields: Fields | None


class Head(NamedTuple):
    """A place up to which a chain is known."""

    position: int
    hash: bytes


BEGINNING = Head(0, bytes(32))


class Wrong(StrEnum):
    """What can be wrong with a place of a chain."""

    EDITED = "edited"
    MISSING = "missing"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TAIL_CUT = "tail cut"
    REWRITTEN = "rewritten"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Wrong.EDITED: "the entry is not what was sealed here, or one before it was taken away",
    Wrong.MISSING: "the entry that was sealed here is gone",
    Wrong.INSERTED: "the entry was put in: it was never sealed here",
    Wrong.REORDERED: "another entry was sealed here",
    Wrong.TAIL_CUT: "the chain went on after this place; what came then is gone",
    Wrong.REWRITTEN: "the hash is another than the one kept outside: the chain was made anew",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where a chain is broken. `audit_id` is None where there is no entry to name, `position` for an
    entry that is in no place of its chain."""

    position: int | None
    audit_id: int | None
    wrong: Wrong
    agreed: int = 0
    """The last position before it that an anchor confirms; 0: none does."""


def form(fields: Fields) -> bytes:
    """What is hashed of an entry."""
    return "".join(["-" if value is None else f"{len(value)}:{value}" for value in fields]).encode()


def seal(before: bytes, fields: Fields) -> bytes:
    """The hash of an entry that follows on `before`."""
    return sha256(before + form(fields)).digest()


def first_fault(links: Iterable[Link], anchors: Mapping[int, bytes], *, start: Head = BEGINNING) -> Fault | None:
    """Walks a chain, in order of position, from `start` to its end; None where all of it is as it was sealed.

    `anchors` are hashes by position that were kept outside. What follows on the first fault is read only where it helps
    to say what happened.
    """
    last, before, agreed, walking = Link(start.position, 0, start.hash, None), None, 0, iter(links)
    for link in walking:
        if link.fields is None or link.position != last.position + 1 or seal(last.hash, link.fields) != link.hash:
            return _name(link, last, before, walking, agreed)
        if link.position in anchors:
            if anchors[link.position] != link.hash:
                return Fault(link.position, link.audit_id, Wrong.REWRITTEN, agreed)
            agreed = link.position
        before, last = last, link
    if max(anchors, default=0) > last.position:
        return Fault(last.position, last.audit_id or None, Wrong.TAIL_CUT, agreed)
    return None


def _name(link: Link, last: Link, before: Link | None, rest: Iterator[Link], agreed: int) -> Fault:
    """The first entry that is not what it was, and how, where `link` does not follow on `last`."""
    fields = link.fields
    if link.position <= last.position:
        return Fault(link.position, link.audit_id, Wrong.INSERTED, agreed)
    if fields is None:
        return Fault(link.position, link.audit_id, Wrong.MISSING, agreed)
    if link.position != last.position + 1:
        return Fault(last.position + 1, None, Wrong.MISSING, agreed)
    if before is not None and seal(before.hash, fields) == link.hash:
        # Without the one before it this one would be right.
        return Fault(last.position, last.audit_id, Wrong.INSERTED, agreed)
    for other in rest:
        if seal(other.hash, fields) == link.hash:
            return Fault(link.position, link.audit_id, Wrong.REORDERED, agreed)
        if other.fields is None:
            continue
        follows = seal(last.hash, other.fields)
        if follows in (link.hash, other.hash):
            wrong = Wrong.REORDERED if follows == link.hash else Wrong.INSERTED
            return Fault(link.position, link.audit_id, wrong, agreed)
    return Fault(link.position, link.audit_id, Wrong.EDITED, agreed)
