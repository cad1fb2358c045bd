"""Stripe's lists of a whole account, a page at a time: only as much of each object as can be compared with ours."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import stripe
from pydantic import ValidationError

from ..domain.adoption import AccountCustomer
from ..domain.errors import UnknownStatus
from ..domain.evidence import PaymentStatus, Subscription
from .client import stripe_errors
from .fetch import PAGE
from .parse import CHECKOUT, PROJECT, STANDING_REFUNDS, USER, UnexpectedShape, parse_listed_subscription

Raw = Mapping[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list, newest first. Give `last` for the next; None: this is the last page."""

    items: tuple[Item, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class ListedEvent:
    id: str
    type: str
    api_version: str | None
    created: int
    """Unix seconds."""
    body: Raw


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a list, and the Stripe customer (`cus_…`) it belongs to; None for nobody's."""

    id: str
    customer: str | None


@dataclass(frozen=True, slots=True)
class Unreadable(Listed):
    """An object that lacks what it must have, or says what nobody knows: only its customer can be read."""


@dataclass(frozen=True, slots=True)
class ListedCustomer(Listed):
    project: str | None
    user_id: str | None
    """What Tollhouse stamped on the customer; None on one that is not ours."""


@dataclass(frozen=True, slots=True)
class ListedSubscription(Listed):
    evidence: Subscription
    """Without what only its invoices tell."""
    owed: bool | None
    """Whether its latest invoice waits for its money; None for a draft, or a voided one."""


@dataclass(frozen=True, slots=True)
class ListedSession(Listed):
    state: str
    payment_status: PaymentStatus
    sells_once: bool
    """A completed one-time sale; we hold a purchase of its id."""
    settling: bool


@dataclass(frozen=True, slots=True)
class ListedCharge(Listed):
    checkout: str | None
    """The checkout of ours that it paid for, stamped on it; None for a subscription's, or none of ours."""
    succeeded: bool
    refunded: int
    """Minor units."""
    disputed: bool


@dataclass(frozen=True, slots=True)
class ListedReturn(Listed):
    """A refund or a dispute. `status` is None where it takes no money off the charge: a refund that failed."""

    charge: str
    status: str | None


async def list_events(
    client: stripe.StripeClient, *, since: datetime, after: str | None, types: tuple[str, ...] = ()
) -> Page[ListedEvent]:
    """Events from `since` on; Stripe keeps them for 30 days. At most twenty types can be asked for."""
    asked: dict[str, Any] = {"created": {"gte": int(since.timestamp())}} | ({"types": list(types)} if types else {})
    rows, last = await _page(client, "/v1/events", after, asked)
    return Page(
        tuple(ListedEvent(one["id"], one["type"], one["api_version"], one["created"], one) for one in rows), last
    )


async def list_customers(client: stripe.StripeClient, after: str | None) -> Page[Listed]:
    """Those that are not deleted."""
    rows, last = await _page(client, "/v1/customers", after)
    return Page(tuple(_read(one, _listed_customer) for one in rows), last)


async def list_account_customers(client: stripe.StripeClient, after: str | None) -> Page[AccountCustomer]:
    """The same, with what may say whose they are."""
    rows, last = await _page(client, "/v1/customers", after)
    return Page(tuple(AccountCustomer(one["id"], one["email"], one["metadata"]) for one in rows), last)


async def list_subscriptions(client: stripe.StripeClient, after: str | None) -> Page[Listed]:
    """Of every status, the ended ones too."""
    rows, last = await _page(client, "/v1/subscriptions", after, {"status": "all", "expand": ["data.latest_invoice"]})
    return Page(tuple([_read(await _with_all_items(client, one), _subscription) for one in rows]), last)


async def _with_all_items(client: stripe.StripeClient, raw: Raw) -> Raw:
    """Stripe embeds ten items and says `has_more`."""
    items = raw["items"]
    rows, more = list(items["data"]), bool(items["has_more"])
    while more:
        further, last = await _page(client, "/v1/subscription_items", rows[-1]["id"], {"subscription": raw["id"]})
        rows, more = rows + further, last is not None
    return {**raw, "items": rows}


async def list_sessions(client: stripe.StripeClient, after: str | None) -> Page[Listed]:
    """Checkout sessions of every state."""
    rows, last = await _page(client, "/v1/checkout/sessions", after, {"expand": ["data.payment_intent"]})
    return Page(tuple(_read(one, _session) for one in rows), last)


async def list_charges(client: stripe.StripeClient, after: str | None, *, since: datetime) -> Page[Listed]:
    """Those made from `since` on: what becomes of older ones the lists of refunds and disputes show."""
    rows, last = await _page(client, "/v1/charges", after, {"created": {"gte": int(since.timestamp())}})
    return Page(tuple(_read(one, _charge) for one in rows), last)


async def list_refunds(client: stripe.StripeClient, after: str | None) -> Page[Listed]:
    rows, last = await _page(client, "/v1/refunds", after, {"expand": ["data.charge"]})
    return Page(
        tuple(
            _read(one, lambda raw: _return(raw, raw["status"] if raw["status"] in STANDING_REFUNDS else None))
            for one in rows
            if one["charge"] is not None
        ),
        last,
    )


async def list_disputes(client: stripe.StripeClient, after: str | None) -> Page[Listed]:
    rows, last = await _page(client, "/v1/disputes", after, {"expand": ["data.charge"]})
    return Page(tuple(_read(one, lambda raw: _return(raw, raw["status"])) for one in rows), last)


async def _page(
    client: stripe.StripeClient, path: str, after: str | None, asked: Raw | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """As the plain JSON they came as: to make the library's objects of them takes longer than all the rest."""
    told = {**(asked or {}), "limit": PAGE} | ({"starting_after": after} if after else {})
    with stripe_errors():
        answer = await client.raw_request_async("get", path, **told)
    listed = json.loads(answer.body)
    rows: list[dict[str, Any]] = listed["data"]
    return rows, str(rows[-1]["id"]) if listed["has_more"] and rows else None


def _read(raw: Raw, parse: Callable[[Raw], Listed]) -> Listed:
    """One object that nobody understands must not keep all the others from being compared."""
    try:
        return parse(raw)
    except (UnexpectedShape, UnknownStatus, ValidationError, KeyError, TypeError):
        return Unreadable(str(raw["id"]), _customer(raw))


def _listed_customer(raw: Raw) -> Listed:
    return ListedCustomer(raw["id"], raw["id"], raw["metadata"].get(PROJECT), raw["metadata"].get(USER))


def _subscription(raw: Raw) -> Listed:
    latest = raw["latest_invoice"]
    owed = None if latest is None else {"paid": False, "open": True, "uncollectible": True}.get(latest["status"])
    return ListedSubscription(raw["id"], raw["customer"], parse_listed_subscription(raw), owed)


def _session(raw: Raw) -> Listed:
    intent = raw["payment_intent"]
    return ListedSession(
        raw["id"],
        raw["customer"],
        raw["status"],
        PaymentStatus.parse(raw["payment_status"]),
        sells_once=raw["mode"] == "payment" and raw["status"] == "complete",
        settling=intent is not None and intent["status"] == "processing",
    )


def _charge(raw: Raw) -> Listed:
    return ListedCharge(
        raw["id"],
        raw["customer"],
        raw["metadata"].get(CHECKOUT),
        raw["status"] == "succeeded",
        raw["amount_refunded"],
        raw["disputed"],
    )


def _return(raw: Raw, status: str | None) -> Listed:
    return ListedReturn(raw["id"], _customer(raw["charge"]), raw["charge"]["id"], status)


def _customer(raw: Raw) -> str | None:
    found = raw["id"] if raw.get("object") == "customer" else raw.get("customer")
    if isinstance(found, Mapping):
        found = found.get("id")
    return found if isinstance(found, str) else None
