"""Server-sent events, however they are cut into pieces."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tollhouse.sse import Event, EventParser, Malformed

TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(st.tuples(TEXT.filter(bool), st.lists(TEXT, min_size=1, max_size=3), TEXT), max_size=5)


@settings(max_examples=60)
@given(EVENTS, st.sampled_from(["\n", "\r", "\r\n"]), st.integers(1, 7), st.booleans())
def test_the_pieces_do_not_matter(
    events: list[tuple[str, list[str], str]], newline: str, size: int, marked: bool
) -> None:
    """Any line's end, any cut, even within a character, with or without a byte-order mark."""
    text, expected = "\ufeff" if marked else "", []
    for kind, data, position in events:
        lines = [f"event: {kind}", *(f"data: {line}" for line in data), f"id: {position}", ": a comment", "", ""]
        text += newline.join(lines)
        expected.append(Event(kind, "\n".join(data), position))
    parser, sent = EventParser(), (text + ":").encode()
    found = [event for i in range(0, len(sent), size) for event in parser.feed(sent[i : i + size])]
    assert found == expected


def test_the_standards_odd_corners() -> None:
    """No space after the colon, no colon, no name, no data, an id that stays, and ids and retries that are none."""
    parser = EventParser()
    sent = b"data:a\ndata\ndata:  b\n\nid: 7\n\ndata: c\n\nid: x\0y\n"
    sent += b"retry: 1500\nretry: soon\nevent: k\ndata: d\n\ndata: e"
    assert list(parser.feed(sent)) == [
        Event("message", "a\n\n b", None),
        Event("message", "c", "7"),
        Event("k", "d", "7"),
    ]
    assert parser.retry == 1.5


@pytest.mark.parametrize("sent", [b"\xff", b"data: " + b"x" * 1_100_000, b"data: xxxxxxxxx\n" * 120_000])
def test_what_is_no_stream_is_told(sent: bytes) -> None:
    """Bytes that are no text, and an event that does not end."""
    with pytest.raises(Malformed):
        list(EventParser().feed(sent))
