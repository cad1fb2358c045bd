"""What looks at every call to Stripe in the tests sees what is wrong with one."""

from typing import Any

import pytest
from conformance import Watch
from conformance.requests import request_faults

from tollhouse_sandbox.testing import running_sandbox
from tollhouse_sandbox.versions import API_VERSION


@pytest.mark.parametrize(
    ("call", "sent", "fault"),
    [
        ("POST /v1/refunds", {"charge": "ch_1", "amount": "900"}, None),
        ("POST /v1/refunds", {"amount": "9.5"}, "amount: '9.5' is no <class 'int'>"),
        ("POST /v1/refunds", {"sum": "9"}, "sum is unknown to the SDK"),
        ("POST /v1/refunds", {"reason": "no reason"}, "reason: 'no reason' is none of"),
        ("POST /v1/products", {}, "name is missing"),
        ("POST /v1/webhook_endpoints", {"url": "http://x", "enabled_events": {"0": "*"}, "description": "Ours"}, None),
        (
            "POST /v1/checkout/sessions",
            {"line_items": {"0": {"price": "price_1", "amount": "9"}}},
            "line_items[0].amount",
        ),
        ("GET /v1/subscriptions", {"created": {"gte": "1"}, "status": "all"}, None),
        ("GET /v1/subscriptions", {"created": {"gte": "yesterday"}}, "created"),
        ("POST /v1/tollhouses", {}, "the SDK knows no POST /v1/tollhouses"),
    ],
)
def test_requests(call: str, sent: dict[str, Any], fault: str | None) -> None:
    faults = request_faults(*call.split(" "), sent)
    assert len(faults) == (0 if fault is None else 1)
    assert not fault or fault in faults[0]


def test_a_running_sandbox_shows_its_calls(connect: Any) -> None:
    shown = []
    with running_sandbox(watch=shown.append) as desk:
        connect(desk.url).products.create(params={"name": "Pro"})
    (exchange,) = shown
    assert (exchange.method, exchange.path, exchange.sent) == ("POST", "/v1/products", "name=Pro")
    assert (exchange.version, exchange.status) == (API_VERSION, 200)
    watch = Watch()
    watch(exchange)
    assert watch.told() == []
    watch(exchange._replace(body=exchange.body.replace('"active":true', '"active":"yes"')))
    assert watch.told() == ["POST /v1/products: product.active: 'yes' is no <class 'bool'>"]
    assert watch.told() == []
