"""What each call sends and what it answers, through both clients and a real connection."""

import inspect
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tollhouse import (
    ApiError,
    AsyncTollhouse,
    Check,
    Entitlements,
    InsufficientScope,
    Invalid,
    NotFound,
    RateLimited,
    ServerError,
    Tollhouse,
    Unauthenticated,
)

LATER = datetime(2026, 12, 22, 10, tzinfo=UTC)
PAY = {"success_url": "https://app.test/thanks", "cancel_url": "https://app.test/pricing"}


def test_check_says_what_a_user_may_do(service: Any, client: Any, examples: Any, key: str) -> None:
    """A first check is one GET with the key, and a value that is true exactly when allowed."""
    service.answer(examples["snapshot"])
    check = client.check("ada", "premium_export")
    assert check
    assert (check.value, check.valid_until, check.source, check.version) == (True, LATER, "sub_1", 7)
    assert check.checked_at.utcoffset() == timedelta(0)
    (request,) = service.seen
    assert (request.method, request.path) == ("GET", "/v1/customers/ada/snapshot")
    assert request.headers["Authorization"] == f"Bearer {key}"
    assert request.headers["User-Agent"].startswith("tollhouse-python/")


def test_a_denied_check_is_false(service: Any, client: Any, examples: Any) -> None:
    """`if check:` must not let a denied user through although the answer is an object."""
    service.answer(examples["snapshot"])
    denied = client.check("ada", "api")
    assert not denied
    assert (denied.value, denied.reason, denied.freshness) == (False, "no-source", "live")


def test_an_unlimited_value_compares_as_infinite(service: Any, client: Any, examples: Any) -> None:
    """`used < check.value` works without a special case for unlimited."""
    service.answer(examples["snapshot"])
    check = client.check("ada", "pages_per_day")
    assert check.value == math.inf
    used = 10**9
    assert used < check.value


def test_entitlements_are_a_mapping_of_checks(service: Any, client: Any, examples: Any) -> None:
    """Each feature is a full Check, so code can take either call's answer."""
    service.answer(examples["snapshot"])
    entitlements = client.entitlements("ada")
    assert isinstance(entitlements, Entitlements)
    assert list(entitlements) == ["premium_export", "pages_per_day", "api"]
    assert len(entitlements) == 3
    check = entitlements["premium_export"]
    assert check == Check("premium_export", True, True, LATER, "subscription-active", "sub_1", 7, check.checked_at)
    assert (entitlements.version, entitlements.freshness) == (7, "live")
    assert not entitlements["api"]
    assert entitlements.get("no_such_feature") is None


def test_customer_tells_everything_known(service: Any, client: Any, examples: Any) -> None:
    """Subscriptions, purchases and grants come typed, with aware times and integer cents."""
    service.answer(examples["customer"])
    customer = client.customer("ada")
    assert customer.entitlements["pages_per_day"].value == math.inf
    assert customer.subscriptions[0].renews
    assert customer.subscriptions[0].current_period_end == LATER
    assert (customer.purchases[0].amount, customer.purchases[0].refunded) == (19900, 500)
    assert (customer.grants[0].product, customer.grants[0].value) == (None, 50)


@pytest.mark.parametrize(
    ("user_id", "path"),
    [
        ("guild/42?x#y %", "guild%2F42%3Fx%23y%20%25"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.b@c", "a.b%40c"),
        ("Łukasz", "%C5%81ukasz"),
    ],
)
def test_user_ids_are_opaque(service: Any, client: Any, examples: Any, user_id: str, path: str) -> None:
    """Whatever an app's ids look like, they stay one path segment: none can climb to another resource."""
    service.answer(examples["customer"])
    client.customer(user_id)
    assert service.seen[0].path == f"/v1/customers/{path}"


def test_an_empty_user_id_is_refused_before_anything_is_sent(service: Any, client: Any) -> None:
    """A user who is not signed in must not become a request for another resource."""
    for user_id in ("", None, 7):
        with pytest.raises(ValueError, match="user_id must be a non-empty str"):
            client.check(user_id, "premium_export")
    assert service.seen == []


def test_explain_asks_about_an_instant(service: Any, client: Any, examples: Any) -> None:
    """The instant travels with its zone, percent-encoded; the answer lists every source."""
    service.answer(examples["explanation"])
    explanation = client.explain("ada", "premium_export", at=LATER)
    assert explanation
    assert explanation.policy["grace_days"] == 7
    assert explanation.sources[0].since == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert explanation.sources[0].stripe_ids == ("sub_1", "in_1")
    query = "feature=premium_export&at=2026-12-22T10%3A00%3A00%2B00%3A00"
    assert service.seen[0].path == f"/v1/customers/ada/explain?{query}"
    with pytest.raises(ValueError, match="aware"):
        client.explain("ada", "premium_export", at=LATER.replace(tzinfo=None))


def test_catalog_lists_what_is_sold(service: Any, client: Any, examples: Any) -> None:
    """Prices are in cents and carry the lookup key that open_checkout takes."""
    service.answer(examples["catalog"])
    (product,) = client.catalog().products
    assert product.opens == {"premium_export": True, "pages_per_day": math.inf}
    assert (product.prices[0].lookup_key, product.prices[0].amount) == ("pdf-tool.pro.monthly", 900)


def test_metrics_ask_for_a_time_in_intervals(service: Any, client: Any, examples: Any) -> None:
    """Dates and aware instants; what is not said is left to the service. Rates are numbers, whole ones too."""
    service.answer(examples["metrics"])
    service.answer(examples["metrics"])
    told = client.metrics(start=date(2026, 11, 22), end=LATER, interval="month")
    (row,) = told.rows
    assert (told.definitions, told.ends_at, row.ends_at, row.complete) == (1, LATER, LATER, False)
    assert (row.mrr_end, row.arpu, row.customer_churn_rate, row.revenue_churn_rate) == (900, None, 0.25, 1.0)
    client.metrics()
    query = "interval=month&from=2026-11-22&to=2026-12-22T10%3A00%3A00%2B00%3A00"
    assert [one.path for one in service.seen] == [f"/v1/metrics?{query}", "/v1/metrics?interval=total"]
    with pytest.raises(ValueError, match="aware"):
        client.metrics(start=LATER.replace(tzinfo=None))


def test_open_checkout_sends_the_whole_wish(service: Any, client: Any, examples: Any) -> None:
    """What is not said is left to the service's defaults; what is said arrives as said."""
    service.answer(examples["checkout"], 201)
    checkout = client.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    assert (checkout.id, checkout.outcome, checkout.expires_at) == ("chk_1", "new", LATER)
    client.open_checkout(
        "ada", "pdf-tool.pro.monthly", **PAY, quantity=3, trial_days=14, allow_promotion_codes=True, email="ada@x.test"
    )
    plain, full = (request.body for request in service.seen)
    asked = {"user_id": "ada", "price": "pdf-tool.pro.monthly", **PAY}
    assert plain == asked | {"quantity": 1, "allow_promotion_codes": False}
    assert full == asked | {"quantity": 3, "allow_promotion_codes": True, "trial_days": 14, "email": "ada@x.test"}
    assert service.seen[0].headers["Content-Type"] == "application/json"


def test_who_owns_it_already_gets_no_url(service: Any, client: Any) -> None:
    """`already_owned` is an answer, not an error: nothing was opened."""
    service.answer({"id": None, "url": None, "outcome": "already_owned", "expires_at": None})
    checkout = client.open_checkout("ada", "pdf-tool.lifetime.once", **PAY)
    assert (checkout.id, checkout.url, checkout.outcome) == (None, None, "already_owned")


def test_checkout_and_sync_tell_what_became_of_it(service: Any, client: Any, examples: Any) -> None:
    """The return page reads the new state of both in one call; a completed checkout may still be unpaid."""
    service.answer(examples["status"])
    service.answer(examples["synced"] | {"checkout": examples["status"] | {"state": "complete"}})
    assert client.checkout("chk_1").state == "open"
    synced = client.sync_checkout("chk_1")
    assert (synced.checkout.state, synced.checkout.paid) == ("complete", False)
    assert synced.customer.entitlements["premium_export"]
    assert [(r.method, r.path) for r in service.seen] == [
        ("GET", "/v1/checkouts/chk_1"),
        ("POST", "/v1/checkouts/chk_1/sync"),
    ]


def test_the_portals_return_page_reads_the_customer_afresh(service: Any, client: Any, examples: Any) -> None:
    """`sync_customer` answers with the customer as Stripe has it now, in one call."""
    service.answer(examples["synced"]["customer"])
    assert client.sync_customer("ada").entitlements["premium_export"]
    assert [(r.method, r.path) for r in service.seen] == [("POST", "/v1/customers/ada/sync")]


@pytest.mark.parametrize("payment_status", ["paid", "no_payment_required"])
def test_a_free_order_counts_as_paid(service: Any, client: Any, examples: Any, payment_status: str) -> None:
    """A checkout that a coupon made free is as good as a paid one."""
    service.answer(examples["status"] | {"state": "complete", "payment_status": payment_status})
    assert client.checkout("chk_1").paid


def test_open_portal(service: Any, client: Any, examples: Any) -> None:
    """The portal's link comes back as it is."""
    service.answer(examples["portal"], 201)
    assert client.open_portal("ada", return_url="https://app.test/").url == "https://portal.test/1"
    assert service.seen[0].body == {"user_id": "ada", "return_url": "https://app.test/"}


def test_fields_of_a_newer_service_are_ignored(service: Any, client: Any, examples: Any) -> None:
    """An app need not upgrade its client when the service says more, at any depth."""
    grown = examples["customer"] | {
        "loyalty": 3,
        "subscriptions": [examples["customer"]["subscriptions"][0] | {"x": 1}],
    }
    service.answer(grown)
    assert client.customer("ada").subscriptions[0].id == "sub_1"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", Unauthenticated),
        (403, "insufficient-scope", InsufficientScope),
        (404, "feature-not-found", NotFound),
        (422, "url-not-allowed", Invalid),
        (500, "internal", ServerError),
        (409, "project-exists", ApiError),
    ],
)
def test_a_problem_becomes_its_error(service: Any, client: Any, status: int, code: str, kind: type) -> None:
    """An app can tell the causes apart by class, status and code; none of these is tried again."""
    service.problem(status, code, "Do this.", X_Request_Id="req-9")
    with pytest.raises(kind) as raised:
        client.explain("ada", "premium_export")
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, code, "Do this.", "req-9")
    assert len(service.seen) == 1


def test_the_faulty_fields_are_named(service: Any, client: Any) -> None:
    """A refused value is found without reading the service's log."""
    faults = [{"pointer": "/quantity", "detail": "must be at least 1"}]
    service.answer({"code": "validation-failed", "detail": "No.", "errors": faults}, 422)
    with pytest.raises(Invalid, match="/quantity: must be at least 1") as raised:
        client.open_checkout("ada", "p", **PAY, quantity=0)
    assert list(raised.value.errors) == faults


@pytest.mark.parametrize("body", [b"<h1>Not Found</h1>", b"[]", b'{"errors": 3}', b"\xff"])
def test_an_error_page_of_a_proxy_still_is_an_error(service: Any, client: Any, body: bytes) -> None:
    """Whatever stands between, the status decides the class, and our own request id is named."""
    service.raw(body, 404)
    with pytest.raises(NotFound) as raised:
        client.explain("ada", "premium_export")
    assert raised.value.code == "http-404"
    assert raised.value.request_id == service.seen[0].headers["X-Request-Id"]


def test_a_redirect_is_not_followed(service: Any, client: Any) -> None:
    """The key goes to the configured address and nowhere else."""
    service.raw(b"", 307, Location=f"{service.url}/elsewhere")
    with pytest.raises(ApiError) as raised:
        client.explain("ada", "premium_export")
    assert raised.value.status == 307
    assert len(service.seen) == 1


def test_both_clients_have_the_same_calls() -> None:
    """Signatures and docstrings are those of the call, with its answer; only awaiting differs."""
    names = {name for name in vars(Tollhouse) if not name.startswith("_")} - {"close", "after_fork"}
    assert names == {name for name in vars(AsyncTollhouse) if not name.startswith("_")} - {"aclose", "after_fork"}
    for name in names:
        blocking, awaited = getattr(Tollhouse, name), getattr(AsyncTollhouse, name)
        assert inspect.signature(blocking) == inspect.signature(awaited)
        assert blocking.__doc__ == awaited.__doc__ is not None
        assert inspect.iscoroutinefunction(awaited)
    signature = "(self, /, user_id: str, feature: str, *, at: datetime.datetime | None = None)"
    assert str(inspect.signature(Tollhouse.explain)) == f"{signature} -> tollhouse.explanations.Explanation"


def test_rate_limited_without_retries(service: Any, connect: Any) -> None:
    """429 has its own class when the retries are used up."""
    service.problem(429, "rate-limited")
    with pytest.raises(RateLimited):
        connect(retries=0).explain("ada", "premium_export")
