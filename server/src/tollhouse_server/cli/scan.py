"""Finds keys where they must not be: in files, and in what is piped in."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import typer
from sqlalchemy import select

from ..commands.issue_key import state_of
from ..db.tables import api_key, project
from ..key_format import ParsedKey, keys_in, parse_key
from .common import Records, err, out, ready_settings, with_records

NOT_LOOKED_INTO = frozenset({".git", ".hg", ".svn"})
"""What a version control system packs, no pattern finds: give it the output of `git log -p` instead."""


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and where it lies. It is never printed: its id says which it is."""

    place: str
    line: int
    key: ParsedKey


def scan_paths(paths: Iterable[str], *, state: bool) -> None:
    """Prints what is found; exits with 1 where that is something, with 2 where something could not be read."""
    unread: list[str] = []
    found = [one for path in paths for one in _scan(path, unread)]
    states = with_records(ready_settings(), lambda records: _states(records, found)) if state and found else {}
    for one in found:
        said = f", {states.get(one.key.hash, 'never issued here')}" if state else ""
        out.print(f"{one.place}:{one.line}: {one.key.kind.name.lower()} key {one.key.id}{said}", markup=False)
    for sentence in unread:
        err.print(sentence, style="red", markup=False)
    raise typer.Exit(2 if unread else 1 if found else 0)


def _scan(path: str, unread: list[str]) -> Iterator[Found]:
    if path == "-":
        yield from _in_stream("standard input", sys.stdin.buffer)
        return
    for file in _files(Path(path)):
        try:
            with file.open("rb") as stream:
                yield from _in_stream(str(file), stream)
        except OSError as error:
            unread.append(f"{file}: {error.strerror}")


def _files(path: Path) -> Iterator[Path]:
    """The path itself, or every plain file below it."""
    if not path.is_dir():
        yield path
        return
    for place, folders, names in os.walk(path):
        folders[:] = sorted(set(folders) - NOT_LOOKED_INTO)
        yield from (file for name in sorted(names) if (file := Path(place) / name).is_file())


def _in_stream(place: str, stream: BinaryIO) -> Iterator[Found]:
    """Line by line, whatever is in it: a key is ASCII."""
    for number, line in enumerate(stream, 1):
        for key in keys_in(line.decode("latin-1")):
            parsed = parse_key(key)
            assert parsed is not None
            yield Found(place, number, parsed)


async def _states(records: Records, found: list[Found]) -> dict[bytes, str]:
    """By a key's hash: whose it is, and whether it still works."""
    query = select(api_key, project.c.slug).outerjoin(project, project.c.id == api_key.c.project_id)
    at = records.clock.now()
    async with records.database.transaction() as tx:
        rows = await tx.execute(query.where(api_key.c.id.in_({one.key.id for one in found})))
        return {row.hash: f"{row.slug or 'operators'}, {state_of(row, at).replace('_', ' ')}" for row in rows}
