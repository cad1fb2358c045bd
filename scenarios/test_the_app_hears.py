"""An app that keeps a copy of what its users may do, from nothing but what it is told."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tollhouse import Customer, Tollhouse
from tollhouse.notifications import Notification, verify
from tollhouse_server.testing import Receiver, World, answering

HOOK = "/tollhouse"


class App:
    """What an app does with its notifications: verifies each, and keeps the newest state of each user."""

    def __init__(self, receiver: Receiver, secret: str) -> None:
        self.receiver, self.secret = receiver, secret
        self.states: dict[str, Customer] = {}
        self.heard: list[Notification] = []
        receiver.answers[HOOK] = self.hears

    def hears(self, handler: Any) -> None:
        request = self.receiver.received[-1]
        notification = verify(request.body, request.headers, self.secret)
        self.heard.append(notification)
        state = notification.customer
        if state is not None and state.version > getattr(self.states.get(state.user_id), "version", 0):
            self.states[state.user_id] = state
        answering(204)(handler)

    def told(self) -> list[tuple[int | None, dict[str, str]]]:
        """Version and kinds of change of each message, in the order in which they came."""
        return [(one.version, {change.feature: change.kind for change in one.changes}) for one in self.heard]


@pytest.fixture
def listens(world: World, pdf_tool: Tollhouse, receiver: Receiver) -> Callable[[], App]:
    """Has the PDF tool hear of changes from now on."""

    def listen() -> App:
        path = "/v1/admin/projects/pdf-tool/notification-endpoints"
        made = world.operator.post(path, json={"url": receiver.url + HOOK}).raise_for_status().json()
        return App(receiver, made["secret"])

    return listen


def same(told: Customer, asked: Customer) -> bool:
    """Whether the two say the same, each at its own instant."""
    return (
        (told.user_id, told.version, told.subscriptions, told.purchases, told.grants)
        == (asked.user_id, asked.version, asked.subscriptions, asked.purchases, asked.grants)
        and {code: (one.allowed, one.value, one.valid_until) for code, one in told.entitlements.items()}
        == {code: (one.allowed, one.value, one.valid_until) for code, one in asked.entitlements.items()}
    )  # fmt: skip


def test_purchase_renewal_refund(world: World, pdf_tool: Tollhouse, listens: Callable[[], App]) -> None:
    """Each is heard in order, with the state that the API told at that version; the copy is always what a call says."""
    app = listens()
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    assert same(app.states["ada"], ada.state())
    assert app.told() == [(1, {"premium_export": "opened", "pages_per_day": "opened"})]

    world.passes(days=32)
    assert same(app.states["ada"], ada.state()) and app.states["ada"].version > 1
    assert all(kind == "valid-until" for _, changes in app.told()[1:] for kind in changes.values())

    [subscription] = ada.state().subscriptions
    invoice = world.stripe.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice.payments"]})
    payment = invoice.latest_invoice.payments.data[0].payment  # type: ignore[union-attr]
    world.stripe.v1.refunds.create({"payment_intent": str(payment.payment_intent)})
    world.arrive()
    assert same(app.states["ada"], ada.state())
    assert not app.states["ada"].entitlements["premium_export"]
    assert app.told()[-1][1] == {"premium_export": "closed", "pages_per_day": "closed"}

    versions = [version for version, _ in app.told()]
    assert versions == list(range(1, ada.state().version + 1))
    assert len({one.id for one in app.heard}) == len(versions)


def test_time_alone_is_heard_too(world: World, pdf_tool: Tollhouse, listens: Callable[[], App]) -> None:
    """A grant that ends is told when it ends, with nobody having done anything."""
    app = listens()
    ends = world.service.clock.now() + timedelta(days=3)
    given = {
        "project": "pdf-tool",
        "user_id": "bob",
        "product": "pro",
        "ends_at": ends.isoformat(),
        "reason": "a trial",
    }
    assert world.operator.post("/v1/admin/grants", json=given).is_success
    world.arrive()
    assert app.states["bob"].entitlements["premium_export"].valid_until == ends
    world.passes_until(ends)
    assert not app.states["bob"].entitlements["premium_export"]
    assert [one.timestamp for one in app.heard][-1] == ends


def test_an_app_that_was_away_catches_up(world: World, pdf_tool: Tollhouse, receiver: Receiver, listens: Any) -> None:
    """What came while it had no endpoint is sent on asking, in order; an old message never undoes a newer one."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    bob = world.customer("bob")
    bob.buys("pdf-tool.pro.monthly")
    app = listens()
    world.stripe.v1.subscriptions.update(bob.state().subscriptions[0].id, {"cancel_at_period_end": True})
    world.arrive()
    assert set(app.states) == {"bob"}
    path = "/v1/admin/projects/pdf-tool/notification-endpoints"
    [endpoint] = world.operator.get(path).json()["data"]
    missed = world.operator.post(f"{path}/{endpoint['id']}/resend", json={"since": "2020-01-01T00:00:00Z"}).json()
    world.arrive()
    assert missed == {"messages": 2}
    assert [(one.user_id, one.version) for one in app.heard if one.user_id == "bob"] == [("bob", 2), ("bob", 1)]
    assert same(app.states["ada"], ada.state()) and same(app.states["bob"], bob.state())
