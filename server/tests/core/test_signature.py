"""Only what Stripe signed, and lately, is an event."""

import hashlib
import hmac
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollhouse_server.stripe_gateway.signature import BadSignature, verify

BODY = b'{"id": "evt_1", "name": "\xe2\x82\xac"}'
SECRET = "whsec_0123456789abcdef01234567"
BEFORE = "whsec_the_secret_before_rotation"
SENT = 1_800_000_000


def header(body: bytes = BODY, secret: str = SECRET, sent: int = SENT) -> str:
    """The header as Stripe documents it, made without the library that checks it."""
    signature = hmac.new(secret.encode(), f"{sent}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={sent},v1={signature},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"


@pytest.mark.parametrize("late", [0, 300, -300])
def test_a_signature_is_good_for_300_seconds_either_way(late: int) -> None:
    """Delivery takes time and clocks differ: up to 300 s are accepted."""
    verify(BODY, header(), (SECRET,), wall=SENT + late)


@pytest.mark.parametrize("late", [301, -301])
def test_an_old_and_a_future_signature_are_refused(late: int) -> None:
    """Later it could be a replay; one from the future could be replayed until then."""
    with pytest.raises(BadSignature, match="300 s"):
        verify(BODY, header(), (SECRET,), wall=SENT + late)


def test_without_being_told_the_time_it_is_now() -> None:
    """The machine's own clock decides: what was signed now is good, what was signed an hour ago is not."""
    verify(BODY, header(sent=int(time.time())), (SECRET,))
    with pytest.raises(BadSignature):
        verify(BODY, header(sent=int(time.time()) - 3600), (SECRET,))


def test_both_secrets_count_during_a_rotation() -> None:
    """While both are set, what either signed is accepted; afterwards the old one is worth nothing."""
    for secret in (SECRET, BEFORE):
        verify(BODY, header(secret=secret), (SECRET, BEFORE), wall=SENT)
    with pytest.raises(BadSignature):
        verify(BODY, header(secret=BEFORE), (SECRET,), wall=SENT)


@pytest.mark.parametrize("secrets", [(SECRET,), (SECRET, BEFORE), ()])
def test_another_secret_is_refused(secrets: tuple[str, ...]) -> None:
    """Also where no secret is configured at all."""
    with pytest.raises(BadSignature):
        verify(BODY, header(secret="whsec_of_somebody_else_entirely"), secrets, wall=SENT)


@pytest.mark.parametrize("secret", ["", "   "])
def test_an_empty_secret_verifies_nothing(secret: str) -> None:
    """Anybody can sign with it."""
    with pytest.raises(BadSignature):
        verify(BODY, header(secret=secret), (secret,), wall=SENT)


@given(position=st.integers(0, len(BODY) - 1), other=st.integers(0, 255))
def test_a_body_changed_after_signing_is_refused(position: int, other: int) -> None:
    """One byte is enough, whether or not the result is still UTF-8."""
    changed = BODY[:position] + bytes([other]) + BODY[position + 1 :]
    if changed != BODY:
        with pytest.raises(BadSignature):
            verify(changed, header(), (SECRET,), wall=SENT)


GOOD = header()
PIECES = st.sampled_from(
    ["t=", f"t={SENT}", "v1=", "v0=", ",", "=", "é", "\x00", GOOD[:40], GOOD[20:], "१", "9" * 5000]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
@example("")
@example(f"t={SENT},v1=é")
@example(GOOD.replace("t=1", "t= 1"))
@example(GOOD.replace("t=", "t=-"))
@example(GOOD.replace(f"t={SENT}", "t=" + "9" * 400))
def test_no_header_breaks_the_check(malformed: str) -> None:
    """Whatever is sent as a signature is accepted or refused; nothing else comes of it."""
    try:
        verify(BODY, malformed, (SECRET,), wall=SENT)
    except BadSignature:
        return
    assert GOOD.split(",")[1] in malformed


def test_a_signed_header_with_more_in_it_breaks_nothing() -> None:
    """A captured header with something added to its time is read as the library reads it."""
    verify(BODY, GOOD.replace(f"t={SENT}", f"t={SENT}=x"), (SECRET,), wall=SENT)


def test_an_absent_header_is_refused() -> None:
    """Who sends none is told that only Stripe may post here."""
    with pytest.raises(BadSignature, match="missing"):
        verify(BODY, None, (SECRET,), wall=SENT)
