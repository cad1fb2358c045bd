"""What a key looks like: docs/reference/keys.md publishes it, so that scanners of secrets know a real one.

The prefix says what kind it is, the id is public, the secret has 190 random bits, and the checksum tells a key from
something that only looks like one, without asking anybody.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 32
PATTERN: Final = re.compile(r"(tollhouse(?:_operator)?)_([A-Za-z0-9]{12})_[A-Za-z0-9]{32}([0-9a-f]{8})")
PUBLISHED: Final = frozenset(
    {
        "tollhouse_TestVector01_0123456789abcdefghijklmnopqrstuv9e788956",
        "tollhouse_operator_TestVector02_0123456789abcdefghijklmnopqrstuv798f24d0",
    }
)
"""The keys in docs/reference/keys.md, for whoever tests a scanner. They were never issued."""


class Kind(StrEnum):
    """Whose key it is; the value is its prefix."""

    PROJECT = "tollhouse"
    OPERATOR = "tollhouse_operator"


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What can be told of a key by looking at it: whether it was ever issued only the database knows."""

    kind: Kind
    id: str
    hash: bytes
    """What is stored of it. A plain hash is right for 190 random bits: there is nothing to guess."""


def make_key(kind: Kind) -> str:
    """A new random key."""
    body = f"{kind}_{_random(ID_LENGTH)}_{_random(SECRET_LENGTH)}"
    return body + checksum(body)


def checksum(body: str) -> str:
    """The last eight characters of a key: the CRC-32 of all before them, as lower-case hexadecimal."""
    return f"{zlib.crc32(body.encode()):08x}"


def parse_key(key: str) -> ParsedKey | None:
    """None for what cannot be a key: a typing mistake or a guess costs no question to the database."""
    match = PATTERN.fullmatch(key)
    if match is None or checksum(key[:-8]) != match[3]:
        return None
    return ParsedKey(Kind(match[1]), match[2], hashlib.sha256(key.encode()).digest())


def keys_in(text: str) -> Iterator[str]:
    """Every real key in a text; what only looks like one is passed over, and so are those that are published."""
    found = (match[0] for match in PATTERN.finditer(text))
    return (key for key in found if key not in PUBLISHED and parse_key(key) is not None)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
