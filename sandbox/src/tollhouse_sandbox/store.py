"""The account's objects: dicts in memory, journaled to SQLite when a file is given."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tollhouse_sandbox.relations import RELATIONS, Index

Json = dict[str, Any]


class Store:
    """Objects by kind (their `object` field) and id, in the order of their creation.

    A stored dict is never changed in place: `change` puts a new one, so that the old one can be compared with it and
    put back. Top-level keys that begin with `_` are the sandbox's own and never leave it. What a step changes becomes
    durable with `commit`, or is undone with `rollback`.

    Lists of a kind may be narrowed down to those of one value of one of its `relations`: `customer="cus_…"`.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._objects: dict[str, dict[str, Json]] = {}
        # The ids of each kind in the order of their creation, and where each is in it: a page begins anywhere at once.
        # What is removed keeps its place, as it may come back.
        self._order: dict[str, list[str]] = {}
        self._places: dict[str, dict[str, int]] = {}
        self._indexes: dict[str, Index] = {}
        self._undo: list[tuple[str, str, Json | None]] = []
        self.on_put: Callable[[Json], None] = lambda _: None
        self._database = _open(file) if file else None

    def load(self) -> None:
        """Reads the file's objects into memory."""
        if self._database:
            for (body,) in self._database.execute("select body from objects order by position"):
                self._place(json.loads(body))

    def get(self, kind: str, object_id: str) -> Json | None:
        return self._objects.get(kind, {}).get(object_id)

    def newest_first(
        self, kind: str, after: str | None = None, before: str | None = None, **related: str
    ) -> Iterator[Json]:
        """All of the kind, or those older than the one of the id `after`, newer than `before`; both must exist."""
        places = self._places.get(kind, {})
        begin = 0 if before is None else places[before] + 1
        end = len(places) if after is None else places[after]
        return self._at(kind, reversed(self._narrowed(kind, range(begin, end), related)))

    def oldest_first(self, kind: str, **related: str) -> Iterator[Json]:
        return self._at(kind, self._narrowed(kind, range(len(self._places.get(kind, {}))), related))

    def _narrowed(self, kind: str, places: range, related: dict[str, str]) -> Sequence[int]:
        if not related:
            return places
        ((name, value),) = related.items()
        return self._index(kind).places(name, value, places)

    def _at(self, kind: str, places: Iterable[int]) -> Iterator[Json]:
        objects, order = self._objects.get(kind, {}), self._order.get(kind, [])
        for place in places:
            body = objects.get(order[place])
            if body is not None:
                yield body

    def _index(self, kind: str) -> Index:
        if kind not in self._indexes:
            self._indexes[kind] = Index(RELATIONS.get(kind, {}))
        return self._indexes[kind]

    def kinds(self) -> list[str]:
        """The kinds of which there are objects."""
        return [kind for kind, objects in self._objects.items() if objects]

    def count(self, kind: str) -> int:
        return len(self._objects.get(kind, ()))

    def put(self, body: Json) -> Json:
        kind, object_id = body["object"], body["id"]
        self._undo.append((kind, object_id, self.get(kind, object_id)))
        self._place(body)
        return body

    def change(self, body: Json, **fields: Any) -> Json:
        """Stores the object's current version with these fields replaced, and returns it."""
        return self.put({**self._objects[body["object"]][body["id"]], **fields})

    def remove(self, body: Json) -> None:
        kind, object_id = body["object"], body["id"]
        self._undo.append((kind, object_id, self._objects[kind][object_id]))
        self._take_out(kind, object_id)

    def _place(self, body: Json) -> None:
        kind, object_id = body["object"], body["id"]
        order, places = self._order.setdefault(kind, []), self._places.setdefault(kind, {})
        if object_id not in places:
            places[object_id] = len(order)
            order.append(object_id)
        objects = self._objects.setdefault(kind, {})
        self._index(kind).moved(places[object_id], objects.get(object_id), body)
        objects[object_id] = body
        self.on_put(body)

    def _take_out(self, kind: str, object_id: str) -> None:
        old = self._objects[kind].pop(object_id, None)
        self._index(kind).moved(self._places[kind][object_id], old, None)

    def touched(self, kind: str) -> list[Json]:
        """What was added, changed or removed since the last commit, each as it is now or was when it was removed."""
        ids = dict.fromkeys(object_id for each, object_id, _ in self._undo if each == kind)
        last = {object_id: old for each, object_id, old in self._undo if each == kind and old}
        now = (self.get(kind, object_id) or last.get(object_id) for object_id in ids)
        return [body for body in now if body]

    def commit(self) -> None:
        """Makes the changes since the last commit durable, in one transaction."""
        if self._database and self._undo:
            with self._database:
                for kind, object_id in dict.fromkeys((kind, object_id) for kind, object_id, _ in self._undo):
                    self._write(kind, object_id)
        self._undo.clear()

    def _write(self, kind: str, object_id: str) -> None:
        assert self._database
        body = self.get(kind, object_id)
        if body is None:
            self._database.execute("delete from objects where kind = ? and id = ?", (kind, object_id))
        else:
            self._database.execute(
                "insert into objects (kind, id, body) values (?, ?, ?)"
                " on conflict (kind, id) do update set body = excluded.body",
                (kind, object_id, json.dumps(body)),
            )

    def rollback(self) -> None:
        """Forgets the changes since the last commit."""
        self._undo_to(0)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Forgets in the end what is changed inside, and nothing else."""
        begin = len(self._undo)
        try:
            yield
        finally:
            self._undo_to(begin)

    def _undo_to(self, length: int) -> None:
        while len(self._undo) > length:
            kind, object_id, old = self._undo.pop()
            if old is None:
                self._take_out(kind, object_id)
            else:
                self._place(old)

    def clear(self) -> None:
        """Forgets everything, at once and durably."""
        for known in (self._objects, self._order, self._places, self._indexes, self._undo):
            known.clear()
        if self._database:
            with self._database:
                self._database.execute("delete from objects")

    def close(self) -> None:
        if self._database:
            self._database.close()


def _open(file: Path) -> sqlite3.Connection:
    # One thread at a time uses it, but uvicorn's thread is not the one that built the app.
    database = sqlite3.connect(file, check_same_thread=False)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute(
        "create table if not exists objects (position integer primary key, kind text not null, id text not null,"
        " body text not null, unique (kind, id))"
    )
    return database
