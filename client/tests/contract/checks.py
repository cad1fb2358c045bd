"""What `check` promises, whoever answers it: each case is a function of a World, named for what it shows."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tollhouse import allow, deny, last_known_good

from .stage import World

Case = Callable[[Any], None]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


@case
def a_first_check_is_answered_by_the_service(on: World) -> None:
    on.allow("ada", "premium_export")
    check = on.open().check("ada", "premium_export")
    assert (check.allowed, check.value, check.freshness, check.version) == (True, True, "live", 1)


@case
def a_stranger_is_denied_and_that_is_no_error(on: World) -> None:
    check = on.open().check("nobody", "premium_export")
    assert (check.allowed, check.value, check.reason, check.version) == (False, False, "no-source", 0)


@case
def what_is_allowed_later_is_not_hidden(on: World) -> None:
    client = on.open()
    assert not client.check("ada", "premium_export")
    on.allow("ada", "premium_export")
    on.eventually(lambda: client.check("ada", "premium_export"))


@case
def what_is_taken_away_ends(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.deny("ada", "premium_export")
    on.pass_time(40)
    on.eventually(lambda: not client.check("ada", "premium_export"))


@case
def a_limit_is_a_number(on: World) -> None:
    on.allow("ada", "pages_per_day", 500)
    assert on.open().check("ada", "pages_per_day").value == 500


@case
def unlimited_is_infinite(on: World) -> None:
    on.allow("ada", "pages_per_day", "unlimited")
    assert on.open().check("ada", "pages_per_day").value == math.inf


@case
def access_ends_at_its_instant(on: World) -> None:
    ends = on.now() + timedelta(hours=1)
    on.allow("ada", "premium_export", until=ends)
    client = on.open()
    assert client.check("ada", "premium_export").valid_until == ends
    on.pass_time(3599 - 30)
    assert client.check("ada", "premium_export")
    on.pass_time(31)
    assert not client.check("ada", "premium_export")


@case
def access_ends_at_its_instant_with_nobody_to_ask(on: World) -> None:
    on.allow("ada", "premium_export", until=on.now() + timedelta(hours=1))
    client = on.open()
    assert client.check("ada", "premium_export")
    on.away()
    on.pass_time(3599 - 30)
    assert client.check("ada", "premium_export").freshness == "stale"
    on.pass_time(31)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.reason) == (False, "no-source")


@case
def a_mistyped_feature_is_told_and_denied(on: World) -> None:
    check = on.open().check("ada", "premium_exprot")
    assert (check.allowed, check.value, check.reason, check.freshness) == (
        False,
        False,
        "feature-not-found",
        "fallback",
    )


@case
def a_mistyped_feature_is_not_allowed_by_a_policy(on: World) -> None:
    assert not on.open(outage=allow).check("ada", "premium_exprot")


@case
def what_is_known_stands_in_an_outage(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    known = client.check("ada", "premium_export")
    assert known
    on.away()
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.freshness) in ((True, "cached"), (True, "live"))
    on.pass_time(90)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.reason, check.freshness) == (True, known.reason, "stale")


@case
def what_is_known_stands_for_a_day(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.away()
    on.pass_time(24 * 3600 - 60)
    assert client.check("ada", "premium_export")
    on.pass_time(120)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.reason, check.freshness) == (False, "outage-deny", "fallback")


@case
def a_known_denial_stands_in_an_outage(on: World) -> None:
    on.allow("ada", "pages_per_day", 5)
    client = on.open(outage=last_known_good(otherwise=allow))
    assert not client.check("ada", "premium_export")
    on.away()
    on.pass_time(90)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.reason, check.freshness) == (False, "no-source", "stale")


@case
def who_was_never_seen_is_denied_in_an_outage(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.allow("bob", "premium_export")
    on.away()
    for user_id in ("carol", "dave"):
        check = client.check(user_id, "premium_export")
        assert (check.allowed, check.reason, check.freshness) == (False, "outage-deny", "fallback")


@case
def an_outage_at_the_very_beginning_is_no_error(on: World) -> None:
    on.away()
    check = on.open().check("ada", "premium_export")
    assert (check.allowed, check.reason, check.freshness, check.version) == (False, "outage-deny", "fallback", 0)


@case
def allow_lets_everybody_in(on: World) -> None:
    on.away()
    check = on.open(outage=allow).check("ada", "premium_export")
    assert (check.allowed, check.value, check.reason, check.freshness) == (True, True, "outage-allow", "fallback")


@case
def allow_says_how_much(on: World) -> None:
    on.away()
    check = on.open(outage={"pages_per_day": allow(value=20)}).check("ada", "pages_per_day")
    assert (check.allowed, check.value) == (True, 20)


@case
def a_limit_that_is_allowed_without_a_value_is_unlimited(on: World) -> None:
    client = on.open(outage=allow)
    assert not client.check("ada", "pages_per_day")
    on.away()
    on.pass_time(90)
    assert client.check("bob", "pages_per_day").value == math.inf
    assert client.check("ada", "pages_per_day").value == math.inf


@case
def a_limit_that_is_denied_is_0(on: World) -> None:
    client = on.open()
    assert client.check("ada", "pages_per_day").value == 0
    on.away()
    check = client.check("bob", "pages_per_day")
    assert (check.value, check.value is False, check.allowed) == (0, False, False)


@case
def deny_denies_what_was_known_once_it_is_no_longer_fresh(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open(outage=deny)
    assert client.check("ada", "premium_export")
    on.away()
    assert client.check("ada", "premium_export")
    on.pass_time(90)
    assert client.check("ada", "premium_export").reason == "outage-deny"


@case
def each_feature_has_its_policy(on: World) -> None:
    policies = {"premium_export": allow, "pages_per_day": last_known_good(timedelta(minutes=5)), "*": deny}
    on.allow("ada", "pages_per_day", 7)
    client = on.open(outage=policies)
    assert client.check("ada", "pages_per_day").value == 7
    on.away()
    on.pass_time(240)
    assert client.check("ada", "premium_export").reason == "outage-allow"
    assert client.check("ada", "pages_per_day").value == 7
    on.pass_time(120)
    assert client.check("ada", "pages_per_day").reason == "outage-deny"


@case
def a_shorter_max_age_than_a_minute_is_kept(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open(outage=last_known_good(timedelta(seconds=20)))
    assert client.check("ada", "premium_export")
    on.away()
    on.pass_time(70)
    assert client.check("ada", "premium_export").reason == "outage-deny"


@case
def when_the_service_is_back_it_is_asked_again(on: World) -> None:
    client = on.open()
    on.away()
    assert client.check("ada", "premium_export").freshness == "fallback"
    on.allow("ada", "premium_export")
    on.back()
    on.pass_time(40)
    on.eventually(lambda: client.check("ada", "premium_export"))


@case
def entitlements_are_all_features(on: World) -> None:
    on.allow("ada", "premium_export")
    found = on.open().entitlements("ada")
    assert {code: check.allowed for code, check in found.items()} == {"premium_export": True, "pages_per_day": False}
    assert (found.version, found.freshness, found.user_id) == (1, "live", "ada")


@case
def entitlements_stand_in_an_outage(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.entitlements("ada")["premium_export"]
    on.away()
    on.pass_time(90)
    assert client.entitlements("ada")["premium_export"]
    assert client.entitlements("ada").freshness == "stale"
    strange = client.entitlements("bob")
    assert (strange["premium_export"].reason, strange.freshness) == ("outage-deny", "fallback")


@case
def nobody_is_no_user(on: World) -> None:
    client = on.open()
    for nobody in ("", None, 7):
        with pytest.raises(ValueError, match="user_id"):
            client.check(nobody, "premium_export")
    with pytest.raises(ValueError, match="feature"):
        client.check("ada", "")


@case
def odd_ids_are_ids(on: World) -> None:
    client = on.open()
    for user_id in ("guild/42", "..", "a b?c#d", "Łukasz", "x" * 255):
        on.allow(user_id, "premium_export")
        assert client.check(user_id, "premium_export")


@case
def versions_grow(on: World) -> None:
    client = on.open()
    on.allow("ada", "premium_export")
    first = client.check("ada", "premium_export").version
    on.allow("ada", "pages_per_day", 3)
    on.pass_time(40)
    on.eventually(lambda: client.check("ada", "premium_export").version == first + 1)


@case
def a_version_that_must_be_known_is_asked_for(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export").version == 1
    on.deny("ada", "premium_export")
    check = client.check("ada", "premium_export", at_least=2)
    assert (check.allowed, check.version) == (False, 2)


@case
def a_version_that_cannot_be_had_is_no_error(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.away()
    assert client.check("ada", "premium_export", at_least=99).version == 1


@case
def whom_to_forget_is_asked_about_again(on: World) -> None:
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    client.forget("ada")
    assert client.check("ada", "premium_export")
    client.forget("ada")
    on.away()
    assert client.check("ada", "premium_export").freshness == "fallback"


@case
def what_a_sync_tells_is_known_at_once(on: World) -> None:
    client = on.open()
    assert not client.check("ada", "premium_export")
    on.allow("ada", "premium_export")
    assert client.sync_customer("ada").version == 1
    on.away()
    assert client.check("ada", "premium_export")
