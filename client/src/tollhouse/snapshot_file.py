"""The local copy on disk, so that a process that starts in an outage knows what the one before it knew.

Lines of JSON: a head, one line for each user, and a digest of all of it. The file is written beside its place and moved
there, so it is whole or it is the one before; what cannot be read, or is not ours, counts as no file.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .local_copy import LocalCopy
from .shelf import Held
from .snapshots import Snapshot
from .wire import decode, encode

if sys.platform != "win32":
    import fcntl

FORMAT = 1
LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Head:
    format: int
    key: str
    """Which API key this was heard with, as a digest."""
    project: str
    written_at: float
    """By the machine's clock, as seconds since 1970."""
    catalog_version: int
    position: str | None


@dataclass(frozen=True, slots=True)
class _Line:
    snapshot: Snapshot
    etag: str | None
    read_at: float
    """The service's time when this was written, seconds since 1970."""
    age: float
    """Seconds since the service had last confirmed it."""
    followed: bool
    """The stream had told everything about it up to the head's position."""


class SnapshotFile:
    """One file, which several processes of one app may share."""

    def __init__(self, path: Path, api_key: str) -> None:
        self._path = path
        self._key = hashlib.sha256(b"tollhouse snapshot file:" + api_key.encode()).hexdigest()[:32]
        self._seen: tuple[int, int] | None = None
        """The file as we left it or found it: nobody else wrote since."""

    def load(self, copy: LocalCopy) -> None:
        """Put what the file holds into a copy that holds nothing yet. Never raises."""
        found = self._read(copy)
        if not found:
            return
        head, lines = found
        stream = copy.stream
        with copy.lock:
            elapsed = max(copy.wall() - head.written_at, 0.0)
            now = copy.clock()
            copy.project = head.project
            stream.catalog_version, stream.position = head.catalog_version, head.position
            stream.heard = now - elapsed
            for line in lines:
                # Two clocks say what time it is at the service; the one that ends access earlier is believed.
                offset = max(line.read_at + elapsed, copy.wall()) - now
                confirmed = now - elapsed - line.age
                session = stream.session if line.followed and head.position else 0
                held = Held(line.snapshot, line.etag, offset, confirmed, float("-inf"), confirmed, session)
                copy.shelf.put(held)

    def save(self, copy: LocalCopy) -> bool:
        """Write what the copy holds. False, and logged, when that cannot be done now."""
        try:
            with self._alone() as alone:
                if alone:
                    self._write(copy)
                return alone
        except OSError as error:
            copy.warned.once("file", "the snapshot file cannot be written: %s", type(error).__name__)
            return False

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """One process writes at a time. False while another does: we shall be back."""
        if sys.platform == "win32":  # pragma: no cover - the last of several processes wins
            yield True
            return
        handle = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(handle)

    def _write(self, copy: LocalCopy) -> None:
        theirs = self._read(copy) if self._mark() != self._seen else None
        head, lines = self._contents(copy)
        users = {line.snapshot.user_id: line for line in lines}
        for line in theirs[1] if theirs and theirs[0].project == head.project else ():
            ours = users.get(line.snapshot.user_id)
            # Another process wrote in between: nobody's copy goes back because of us.
            if ours is None or ours.snapshot.version < line.snapshot.version:
                users[line.snapshot.user_id] = _later(line, theirs[0], head) if theirs else line
        kept = [line for user_id, line in users.items() if user_id not in copy.shelf.forgotten]
        beside = self._beside(".new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            digest = hashlib.sha256()
            for value in (head, *kept):
                line_of_json = json.dumps(encode(value)).encode() + b"\n"
                digest.update(line_of_json)
                file.write(line_of_json)
            file.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")
            file.flush()
            os.fsync(handle)
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(directory)
        os.close(directory)
        self._seen = self._mark()

    def _contents(self, copy: LocalCopy) -> tuple[_Head, list[_Line]]:
        with copy.lock:
            now = copy.clock()
            head = _Head(
                FORMAT, self._key, copy.project or "", copy.wall(), copy.stream.catalog_version, copy.stream.position
            )
            return head, [
                _Line(
                    held.snapshot,
                    held.etag,
                    now + held.offset,
                    now - copy.stream.confirmed_at(held, now),
                    copy.stream.follows(held),
                )
                for held in copy.held.values()
                if held.whole and held.snapshot.project
            ]

    def _read(self, copy: LocalCopy) -> tuple[_Head, list[_Line]] | None:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if _anybodys(found) or found.st_size > LARGEST:
                    raise ValueError("it is not ours alone")
                *lines, last = file.read().splitlines(keepends=True)
            self._seen = (found.st_ino, found.st_mtime_ns)
            if json.loads(last)["sha256"] != hashlib.sha256(b"".join(lines)).hexdigest():
                raise ValueError("it is damaged")
            head = decode(_Head, json.loads(lines[0]))
            if head.format != FORMAT or head.key != self._key:
                raise ValueError("it was written with another key or by another version")
            return head, [decode(_Line, json.loads(line)) for line in lines[1:]]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = str(error) if type(error) is ValueError else type(error).__name__
            copy.warned.once("file-read", "the snapshot file is ignored: %s", reason)
            return None

    def _mark(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)


def _anybodys(found: os.stat_result) -> bool:
    """Whether somebody else may have written it: what it says opens doors."""
    return sys.platform != "win32" and (found.st_uid != os.geteuid() or bool(found.st_mode & 0o022))


def _later(line: _Line, theirs: _Head, ours: _Head) -> _Line:
    """Another process' line in our file: older by the time between the two, and our position says nothing of it."""
    passed = max(ours.written_at - theirs.written_at, 0.0)
    return _Line(line.snapshot, line.etag, line.read_at + passed, line.age + passed, followed=False)
