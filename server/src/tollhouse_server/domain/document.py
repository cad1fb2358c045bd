"""Reading a document of nested tables that people write (TOML or JSON).

Every mistake is noted and none stops the reading: what cannot be read yields a stand-in, so that one publish shows
everything that is wrong.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from .catalog import CODE
from .mistakes import Mistake

_Choice = TypeVar("_Choice", bound=StrEnum)


class Table:
    """One table of the document. Reading notes mistakes and always answers something of the promised type."""

    def __init__(
        self,
        content: object,
        pointer: str,
        errors: list[dict[str, str]],
        keys: Sequence[str] = (),
        unknown: Mistake | None = None,
    ) -> None:
        """`pointer` says where the table stands (RFC 6901); `keys` which keys it may have, none meaning any.

        `unknown` is the mistake of another key, and of a choice that there is not, where it has a name of its own.
        """
        self.content: Mapping[str, object] = content if isinstance(content, Mapping) else {}
        self._pointer, self._errors, self._earlier, self._unknown = pointer, errors, len(errors), unknown
        if not isinstance(content, Mapping):
            self.wrong(None, Mistake.WRONG_TYPE, f"must be a table, not {what(content)}")
        for key in self.content if keys else ():
            if key not in keys:
                self.wrong(key, unknown or Mistake.UNKNOWN_KEY, f"unknown key: {_hint(key, keys)}")

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def wrong(self, key: str | None, mistake: Mistake, detail: str) -> None:
        """Note a mistake at `key`, or with the table itself."""
        pointer = self._pointer if key is None else self._below(key)
        self._errors.append({"pointer": pointer, "code": str(mistake), "detail": detail})

    @property
    def mistaken(self) -> bool:
        """Whether reading has noted a mistake since it came to this table."""
        return len(self._errors) > self._earlier

    def table(self, key: str, keys: Sequence[str] = (), unknown: Mistake | None = None) -> "Table":
        """The table at `key`; an absent one is empty."""
        return Table(self.content.get(key, {}), self._below(key), self._errors, keys, unknown)

    def entries(self, key: str, keys: Sequence[str]) -> Iterator[tuple[str, "Table"]]:
        """The tables in the table at `key`, by their codes; one with a bad code is read too, for its own mistakes."""
        parent = self.table(key)
        for code in parent.content:
            if not CODE.fullmatch(code):
                parent.wrong(code, Mistake.BAD_CODE, _BAD_CODE)
            yield code, parent.table(code, keys)

    def positions(self, key: str) -> "Table":
        """The list at `key` as a table by position; an absent one is empty."""
        content = self.content.get(key, [])
        if not isinstance(content, list):
            self.wrong(key, Mistake.WRONG_TYPE, f"must be a list, not {what(content)}")
            content = []
        by_position = {str(position): value for position, value in enumerate(content)}
        return Table(by_position, self._below(key), self._errors)

    def text(self, key: str, default: str | None = None) -> str:
        """One line of 1 to 200 characters. It must be there unless there is a default."""
        value = self.content.get(key, default)
        if value is None:
            self.wrong(key, Mistake.MISSING, "is missing: write one line of text")
        elif not isinstance(value, str):
            self.wrong(key, Mistake.WRONG_TYPE, f"must be text, not {what(value)}")
        elif value is not default and not (0 < len(value) <= 200 and value.isprintable()):
            self.wrong(key, Mistake.TEXT_OUT_OF_FORM, "must be one line of 1 to 200 printable characters")
        else:
            return value
        return ""

    def code(self, key: str) -> str:
        """A code; it must be there."""
        value = self.text(key)
        if value and not CODE.fullmatch(value):
            self.wrong(key, Mistake.BAD_CODE, _BAD_CODE)
        return value

    def whole(self, key: str, default: int | None, least: int, most: int, unit: str) -> int:
        """A whole number of `unit`, from `least` to `most`. It must be there unless there is a default."""
        value = self.content.get(key, default)
        wanted = f"a whole number of {unit} from {least} to {most}"
        if value is None:
            self.wrong(key, Mistake.MISSING, f"is missing: write {wanted}")
        elif not isinstance(value, int) or isinstance(value, bool):
            self.wrong(key, Mistake.WRONG_TYPE, f"must be {wanted}, not {what(value)}")
        elif not least <= value <= most:
            self.wrong(key, Mistake.OUT_OF_RANGE, f"must be {wanted}")
        else:
            return value
        return least

    def choice(self, key: str, default: _Choice) -> _Choice:
        """One of the values of the default's enumeration."""
        members = {str(member): member for member in type(default)}
        value = self.content.get(key, default)
        if isinstance(value, str) and value in members:
            return members[value]
        choices = ", ".join(map(quoted, members))
        self.wrong(key, self._unknown or Mistake.UNKNOWN_CHOICE, f"must be one of {choices}, not {what(value)}")
        return default

    def _below(self, key: str) -> str:
        # A lone surrogate, possible in JSON, could not be sent back as UTF-8.
        sendable = key.encode("utf-8", "backslashreplace").decode()
        return f"{self._pointer}/{sendable.replace('~', '~0').replace('/', '~1')}"


_BAD_CODE = "a code has 1 to 63 lower-case letters, digits, - and _, and begins with a letter or digit"


def quoted(text: str) -> str:
    """The text in double quotes, in plain ASCII and not too long."""
    return json.dumps(text if len(text) <= 40 else f"{text[:40]}…")


def what(value: object) -> str:
    """What a wrong value is, for "must be …, not …"."""
    if isinstance(value, str):
        return quoted(value)
    for kinds, name in _NAMES:
        if isinstance(value, kinds):
            return name
    return "nothing"


_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (Mapping, "a table"),
    (list, "a list"),
    ((date, time), "a date or time"),
)


def _hint(key: str, keys: Sequence[str]) -> str:
    near = get_close_matches(key, keys, 1)
    return f"did you mean {near[0]}?" if near else f"known here are {', '.join(keys)}"
