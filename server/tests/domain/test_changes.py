"""What a customer gained or lost between two computations."""

from types import SimpleNamespace

from tollhouse_server.domain.catalog import Policy
from tollhouse_server.domain.changes import Change, ChangeKind, diff
from tollhouse_server.domain.entitlements import Entitlement, compute
from tollhouse_server.domain.evidence import Evidence


def granted(make: SimpleNamespace, at: float = 0, **changes: object) -> tuple[Entitlement, ...]:
    return compute(make.catalog(), Evidence(grants=(make.grant(**changes),)), Policy(), make.day(at))


def test_opened_and_closed(make: SimpleNamespace) -> None:
    """A feature that appears has opened, one that disappears has closed."""
    some = granted(make, ends_at=make.day(9))
    assert diff((), some, make.day(1)) == (Change("export", ChangeKind.OPENED, None, True, make.day(9)),)
    assert diff(some, (), make.day(1)) == (Change("export", ChangeKind.CLOSED, True, None, None),)


def test_value(make: SimpleNamespace) -> None:
    """Another value of an open feature is a change of value."""
    before, after = (granted(make, feature="pages", value=value) for value in (5, "unlimited"))
    assert diff(before, after, make.day(1)) == (Change("pages", ChangeKind.VALUE, 5, "unlimited", None),)


def test_valid_until(make: SimpleNamespace) -> None:
    """A renewal or a cancellation changes only until when; so does a grant that is still to begin."""
    before, after = granted(make, ends_at=make.day(9)), granted(make, ends_at=make.day(39))
    assert diff(before, after, make.day(1)) == (Change("export", ChangeKind.VALID_UNTIL, True, True, make.day(39)),)
    later = granted(make, starts_at=make.day(5))
    assert diff((), later, make.day(1)) == (Change("export", ChangeKind.VALID_UNTIL, None, None, make.day(5)),)


def test_time_alone_is_a_change_when_asked_since(make: SimpleNamespace) -> None:
    """What expired since the last telling is told, though the evidence is the same."""
    before, after = granted(make, 0, ends_at=make.day(9)), granted(make, 10, ends_at=make.day(9))
    assert diff(before, after, make.day(10)) == ()
    told = diff(before, after, make.day(10), since=make.day(0))
    assert told == (Change("export", ChangeKind.CLOSED, True, None, None),)


def test_another_reason_alone_is_no_change(make: SimpleNamespace) -> None:
    """An app sees value and validity; who gave them is for explain."""
    assert diff(granted(make), granted(make, id="gr_2"), make.day(1)) == ()
