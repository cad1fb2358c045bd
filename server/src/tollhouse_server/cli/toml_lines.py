"""On which line of a TOML file each key stands: `tomllib`, which says what is valid, keeps no positions."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

Path = tuple[str, ...]

_BETWEEN = re.compile(r"(?:\s|#[^\n]*)*")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"((?:\\.|[^"\\\n])*)"|'([^'\n]*)'""")
_PLAIN = re.compile(
    r'"""(?:\\.|.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|[^,\]}\n#]*", re.DOTALL
)
"""A value that is no list and no table."""


def line_of(text: str, pointer: str) -> int:
    """The line, from 1, of what a JSON pointer names in a valid file; of what is not there, that of what lacks it."""
    path = tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
    found = lines(text)
    return next((found[path[:end]] for end in range(len(path), 0, -1) if path[:end] in found), 1)


def lines(text: str) -> dict[Path, int]:
    """Every key of a valid file, and each element of its lists, with the line on which it is first named."""
    reader = _Reader(text)
    table: Path = ()
    while reader.goes_on():
        table = reader.statement(table)
    return reader.found


@dataclass
class _Reader:
    text: str
    at: int = 0
    found: dict[Path, int] = field(default_factory=dict)
    elements: dict[Path, int] = field(default_factory=dict)
    """The place of the latest element of each array of tables."""

    def goes_on(self, end: str = "") -> bool:
        """Whether something comes before `end`, or before the end of the file."""
        self._match(_BETWEEN)
        return self.at < len(self.text) and not (end and self._takes(end))

    def statement(self, table: Path) -> Path:
        """A key with its value, or the header of a table; returns the table that the next one is in."""
        if self._takes("[["):
            name = self._header(self._key(), "]]")
            self.elements[name] = self.elements.get(name, -1) + 1
            return self._noted((*name, str(self.elements[name])))
        if self._takes("["):
            return self._noted(self._header(self._key(), "]"))
        self._pair(table)
        return table

    def _header(self, key: Path, end: str) -> Path:
        """The path of a header's table, through the latest element of each array of tables on its way."""
        self._takes(end)
        path: Path = ()
        for part in key:
            place = (str(self.elements[path]),) if path in self.elements else ()
            path = (*path, *place, part)
        return path

    def _pair(self, table: Path) -> None:
        path = self._noted((*table, *self._key()))
        self._takes("=")
        self._value(path)

    def _key(self) -> Path:
        parts: list[str] = []
        while not parts or self._takes("."):
            self._match(_BETWEEN)
            found = self._match(_PART)
            parts.append(found[1] or found[2] or found[0])
            self._match(_BETWEEN)
        return tuple(parts)

    def _value(self, path: Path) -> None:
        self._match(_BETWEEN)
        if self._takes("{"):
            self._each("}", lambda _: self._pair(path))
        elif self._takes("["):
            self._each("]", lambda place: self._value(self._noted((*path, str(place)))))
        else:
            self._match(_PLAIN)

    def _each(self, end: str, read: Callable[[int], None]) -> None:
        place = 0
        while self.goes_on(end):
            read(place)
            place += 1
            self._match(_BETWEEN)
            self._takes(",")

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        assert found is not None, f"not TOML at {self.at}"
        self.at = found.end()
        return found

    def _takes(self, mark: str) -> bool:
        taken = self.text.startswith(mark, self.at)
        self.at += len(mark) * taken
        return taken

    def _noted(self, path: Path) -> Path:
        line = self.text.count("\n", 0, self.at) + 1
        for end in range(1, len(path) + 1):
            self.found.setdefault(path[:end], line)
        return path
