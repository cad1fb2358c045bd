"""Whose a Stripe customer is, in an account that others have filled."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse_server.domain.adoption import (
    AccountCustomer,
    Held,
    Judged,
    Linking,
    Outcome,
    PastOutcome,
    PastPayment,
    judge,
    judge_payment,
    same_address,
)
from tollhouse_server.domain.catalog import Product

ADA = AccountCustomer("cus_a", " Ada@Example.com", {"uid": "ada"})


def outcomes(judged: tuple[Judged, ...]) -> dict[str, Outcome]:
    return {one.customer: one.outcome for one in judged}


def test_nothing_links_without_being_told() -> None:
    """Neither metadata nor an address says anything until the operator says what it means."""
    (one,) = judge("pdf-tool", [ADA], Linking(), {})
    assert (one.outcome, one.user_id, one.to_do) == (Outcome.UNMATCHED, None, False)


def test_the_id_map_goes_before_metadata_and_that_before_the_address() -> None:
    """Each way links by itself; of several the most exact decides."""
    ways = [
        (Linking({"cus_a": "by id"}, "uid", {"ada@example.com": "by address"}), ("by id", "id map")),
        (Linking({}, "uid", {"ada@example.com": "by address"}), ("ada", "metadata")),
        (Linking({}, "other", {"ada@example.com": "by address"}), ("by address", "e-mail map")),
    ]
    for linking, said in ways:
        (one,) = judge("pdf-tool", [ADA], linking, {})
        assert (one.outcome, (one.user_id, one.said_by)) == (Outcome.LINK, said)


def test_several_of_one_user_are_left_alone_until_one_is_named() -> None:
    """Two Stripe customers of one user: neither is taken; the one that the id map names is, and the other is not."""
    twin = AccountCustomer("cus_b", None, {"uid": "ada"})
    judged = judge("pdf-tool", [ADA, twin], Linking(metadata_key="uid"), {})
    assert outcomes(judged) == {"cus_a": Outcome.SEVERAL, "cus_b": Outcome.SEVERAL}
    assert [one.others for one in judged] == [("cus_b",), ("cus_a",)]
    judged = judge("pdf-tool", [ADA, twin], Linking({"cus_b": "ada"}, "uid"), {})
    assert outcomes(judged) == {"cus_a": Outcome.SEVERAL, "cus_b": Outcome.LINK}


def test_what_is_held_is_not_linked_again() -> None:
    """Done where it was read, gone on with where it was not, never taken from another project or beside another."""
    linking = Linking(metadata_key="uid")

    def judged(held: dict[str, Held]) -> Outcome:
        return judge("pdf-tool", [ADA], linking, held)[0].outcome

    assert judged({"cus_a": Held("pdf-tool", "ada", read=True)}) is Outcome.DONE
    assert judged({"cus_a": Held("pdf-tool", "ada", read=False)}) is Outcome.RESUME
    assert judged({"cus_a": Held("guild-bot", "ada", read=True)}) is Outcome.ELSEWHERE
    assert judged({"cus_x": Held("pdf-tool", "ada", read=True)}) is Outcome.TAKEN
    assert judged({"cus_x": Held("guild-bot", "ada", read=True)}) is Outcome.LINK


def test_a_user_id_must_be_one() -> None:
    """Empty, too long or with NUL it is none."""
    for wrong in ("", "x" * 256, "a\x00b"):
        customer = AccountCustomer("cus_a", None, {"uid": wrong})
        assert judge("pdf-tool", [customer], Linking(metadata_key="uid"), {})[0].outcome is Outcome.UNUSABLE


ids = st.sampled_from([f"cus_{letter}" for letter in "abcdef"])
users = st.sampled_from(["ada", "bob", "cyd"])
customers = st.lists(
    st.builds(
        AccountCustomer,
        ids,
        st.none() | st.sampled_from(["ada@x.test", "BOB@x.test "]),
        st.fixed_dictionaries({}, optional={"uid": users}),
    ),
    unique_by=lambda one: one.id,
)
linkings = st.builds(
    Linking,
    st.dictionaries(ids, users, max_size=2),
    st.sampled_from([None, "uid"]),
    st.dictionaries(st.sampled_from(["ada@x.test", "bob@x.test"]), users),
)
held = st.dictionaries(
    ids, st.builds(Held, st.sampled_from(["pdf-tool", "guild-bot"]), users, st.booleans()), max_size=2
)


@given(customers, linkings, held)
def test_one_user_one_customer(listed: list[AccountCustomer], linking: Linking, ours: dict[str, Held]) -> None:
    """Whatever is said: each is judged once, nobody gets two, and nobody's is taken; the order does not matter."""
    judged = judge("pdf-tool", listed, linking, ours)
    assert [one.customer for one in judged] == [one.id for one in listed]
    new = [one.user_id for one in judged if one.outcome is Outcome.LINK]
    assert len(new) == len(set(new))
    assert not {one.user_id for one in ours.values() if one.project == "pdf-tool"} & set(new)
    assert not {one.customer for one in judged if one.outcome is Outcome.LINK} & set(ours)
    backwards = judge("pdf-tool", listed[::-1], linking, ours)
    assert outcomes(backwards) == outcomes(judged)


def test_capitals_and_blanks_in_addresses() -> None:
    """They mean nothing; what stands between does."""
    assert same_address(" Ada@Example.COM ") == same_address("ada@example.com") != same_address("a.da@example.com")


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("paid", "lasts", "outcome"),
    [
        (None, None, PastOutcome.UNKNOWN),
        (PastPayment(NOON, paid=False), None, PastOutcome.UNPAID),
        (PastPayment(NOON, paid=True, given_back=True), None, PastOutcome.GIVEN_BACK),
        (PastPayment(NOON, paid=True, disputed=True), None, PastOutcome.DISPUTED),
        (PastPayment(NOON - timedelta(30), paid=True), timedelta(30), PastOutcome.OVER),
        (PastPayment(NOON - timedelta(29), paid=True), timedelta(30), PastOutcome.GIVE),
        (PastPayment(NOON - timedelta(3000), paid=True), None, PastOutcome.GIVE),
    ],
)
def test_a_payment_gives_what_is_still_bought(
    paid: PastPayment | None, lasts: timedelta | None, outcome: PastOutcome
) -> None:
    """Paid, kept, undisputed, and not over to the second."""
    assert judge_payment(paid, Product("pass", "Pass", {}, lasts=lasts), NOON) is outcome
    assert judge_payment(paid, None, NOON) is PastOutcome.UNSOLD
