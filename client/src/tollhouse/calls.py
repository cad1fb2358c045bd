"""The calls of the API, each described once for both clients: what is sent, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from .answers import (
    Catalog,
    Checkout,
    CheckoutStatus,
    Contact,
    Customer,
    Entitlements,
    Metrics,
    PlanChange,
    Portal,
    Synced,
)
from .explanations import Explanation
from .snapshots import Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: `path` is percent-encoded, `answer` the class its JSON is read as."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    answer: type[T]
    body: Mapping[str, object] | None = None
    quick: bool = False
    """Bound by the shorter `check_timeout`."""
    headers: Mapping[str, str] = field(default_factory=dict)


def snapshot(user_id: str, headers: Mapping[str, str]) -> Call[Snapshot]:
    """What the local copy is made of."""
    return Call("GET", f"{_customer(user_id)}/snapshot", Snapshot, quick=True, headers=headers)


def entitlements(user_id: str) -> Call[Entitlements]:
    """The same for one instant: what a service that is older than this client can tell."""
    return Call("GET", f"{_customer(user_id)}/entitlements", Entitlements, quick=True)


def customer(user_id: str) -> Call[Customer]:
    """All that is known of a user, for an account page: entitlements, subscriptions, purchases, grants."""
    return Call("GET", _customer(user_id), Customer)


def explain(user_id: str, feature: str, *, at: datetime | None = None) -> Call[Explanation]:
    """Why a user may or may not use a feature, now or at an aware instant. Raises NotFound for an unknown feature."""
    query = {"feature": feature}
    if at is not None:
        if at.tzinfo is None:
            raise ValueError("at must be an aware datetime")
        query["at"] = at.isoformat()
    return Call("GET", f"{_customer(user_id)}/explain?{urlencode(query)}", Explanation)


def catalog() -> Call[Catalog]:
    """What this project sells: features, products, prices."""
    return Call("GET", "/v1/catalog", Catalog)


def metrics(
    *,
    start: date | None = None,
    end: date | None = None,
    interval: Literal["day", "week", "month", "year", "total"] = "total",
) -> Call[Metrics]:
    """What this project earns, from `start` up to, not including, `end`: dates in UTC or aware instants.

    The last 30 days where nothing is said; at most 400 intervals. The key needs the scope `manage`: an app's own key
    usually has not got it. Raises Invalid (`intervals-invalid`), InsufficientScope.
    """
    query: dict[str, str] = {"interval": interval}
    for name, moment in (("from", start), ("to", end)):
        if isinstance(moment, datetime) and moment.tzinfo is None:
            raise ValueError("start and end must be dates or aware datetimes")
        if moment is not None:
            query[name] = moment.isoformat()
    return Call("GET", f"/v1/metrics?{urlencode(query)}", Metrics)


def open_checkout(
    user_id: str,
    price: str,
    *,
    success_url: str,
    cancel_url: str,
    quantity: int = 1,
    trial_days: int | None = None,
    allow_promotion_codes: bool = False,
    email: str | None = None,
    name: str | None = None,
    currency: str | None = None,
    coupon: str | None = None,
    promotion_code: str | None = None,
) -> Call[Checkout]:
    """Open Stripe's payment page for a price (its lookup key, `project.product.price`); send the user to `.url`.

    Asking again while one is open answers with the same page (`pending`). `.url` is None when the user already owns it,
    and, rarely, when Stripe did not say whether it opened the page (`.outcome` is `opening`): ask again in a moment.
    The user comes back to `success_url` with `checkout_id=chk_…` added to its query: give that to `sync_checkout`.
    `currency` is one that the price is sold in. A `coupon` (its id) or `promotion_code` (as people type it) takes
    something off at once; `allow_promotion_codes` lets people type one on the page: one of the three at most.
    Raises NotFound (`price-not-found`, `price-of-another-project`, `discount-not-found`), Invalid (`url-not-allowed`,
    `currency-not-sold`, `discount-conflict`, `validation-failed`), ApiError (`currency-conflict`).
    """
    wish: dict[str, object] = {
        "user_id": known("user_id", user_id),
        "price": price,
        "quantity": quantity,
        "success_url": success_url,
        "cancel_url": cancel_url,
        "allow_promotion_codes": allow_promotion_codes,
    }
    optional: dict[str, object] = {"trial_days": trial_days, "email": email, "name": name, "currency": currency}
    discount = {"coupon": coupon, "promotion_code": promotion_code}
    optional["discount"] = {kind: code for kind, code in discount.items() if code is not None} or None
    wish |= {field: value for field, value in optional.items() if value is not None}
    return Call("POST", "/v1/checkouts", Checkout, wish)


def checkout(checkout_id: str) -> Call[CheckoutStatus]:
    """What became of a checkout, as far as Tollhouse has heard. Raises NotFound (`checkout-not-found`)."""
    return Call("GET", f"/v1/checkouts/{_segment('checkout_id', checkout_id)}", CheckoutStatus)


def sync_checkout(checkout_id: str) -> Call[Synced]:
    """The same, read afresh from Stripe, with the customer's new state: for the page that users return to after paying.

    Raises NotFound (`checkout-not-found`).
    """
    return Call("POST", f"/v1/checkouts/{_segment('checkout_id', checkout_id)}/sync", Synced)


def contact(user_id: str) -> Call[Contact]:
    """The e-mail address and name that the user's bills go to, as far as Tollhouse has heard."""
    return Call("GET", f"{_customer(user_id)}/contact", Contact)


def change_contact(user_id: str, *, email: str | None = None, name: str | None = None) -> Call[Contact]:
    """Change them, here and at Stripe; None leaves one as it is. Kept for later where the user bought nothing yet.

    The last to write wins: this, or the user in the portal. Raises Invalid (`validation-failed`).
    """
    said = {field: value for field, value in (("email", email), ("name", name)) if value is not None}
    return Call("PUT", _customer(user_id), Contact, said)


def sync_customer(user_id: str) -> Call[Customer]:
    """The customer, read afresh from Stripe: for the page that users return to from the portal."""
    return Call("POST", f"{_customer(user_id)}/sync", Customer)


def open_portal(user_id: str, *, return_url: str) -> Call[Portal]:
    """Open Stripe's page where users change cards, cancel and find invoices; send the user to `.url`.

    Raises NotFound (`customer-not-found`) for a user who never opened a checkout, Invalid (`url-not-allowed`).
    """
    wish = {"user_id": known("user_id", user_id), "return_url": return_url}
    return Call("POST", "/v1/portal-sessions", Portal, wish)


def change_plan(
    user_id: str,
    price: str,
    *,
    quantity: int | None = None,
    when: Literal["now", "period_end"] = "now",
    preview: bool = False,
    proration_date: datetime | None = None,
) -> Call[PlanChange]:
    """Change a subscriber's plan to another price of its plan group, or to another quantity of the same price.

    With `preview=True` nothing changes, and `.cost` says what it would cost; give its `.proration_date` to the real
    change, and that is charged to the cent. `when="period_end"` plans it for the renewal: asked again it is replaced,
    and asking for the plan the user has withdraws it. A declined card changes nothing.
    Raises ApiError with status 402 (`payment-declined`, `authentication-needed`: send the user to the portal) or 409
    (`no-subscription`, `subscription-not-live`, `subscription-ends`, `several-subscriptions`, `several-items`,
    `change-in-progress`), NotFound (`customer-not-found`, `price-not-found`), Invalid (`price-not-recurring`,
    `other-plan-group`, `other-currency`).
    """
    wish: dict[str, object] = {"price": price, "when": when, "preview": preview}
    if quantity is not None:
        wish["quantity"] = quantity
    if proration_date is not None:
        if proration_date.tzinfo is None:
            raise ValueError("proration_date must be aware: give that of a preview")
        wish["proration_date"] = proration_date.isoformat()
    return Call("POST", f"{_customer(user_id)}/plan-change", PlanChange, wish)


def cancel(
    user_id: str, *, when: Literal["now", "period_end"] = "period_end", subscription: str | None = None
) -> Call[Customer]:
    """End the user's subscription, with its period or now, which gives nothing back. Twice is no error.

    `subscription` says which (`sub_…`), where there are several. Raises NotFound (`customer-not-found`,
    `subscription-not-found`), ApiError with status 409 (`no-subscription`, `several-subscriptions`).
    """
    wish = {"when": when} if subscription is None else {"when": when, "subscription": subscription}
    return Call("POST", f"{_customer(user_id)}/cancel", Customer, wish)


def resume(user_id: str, *, subscription: str | None = None) -> Call[Customer]:
    """Let the user's subscription go on: takes back a scheduled end and a planned change, and ends a pause.

    Twice is no error. Raises what `cancel` does, and ApiError with status 409 (`subscription-not-live`) for one that is
    over.
    """
    wish = {} if subscription is None else {"subscription": subscription}
    return Call("POST", f"{_customer(user_id)}/resume", Customer, wish)


def _customer(user_id: str) -> str:
    return f"/v1/customers/{_segment('user_id', user_id)}"


def _segment(name: str, value: str) -> str:
    """One path segment, whatever the app's ids look like: slashes are encoded, and `..` may not climb."""
    encoded = quote(known(name, value), safe="")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def known(name: str, value: str) -> str:
    """An empty id is nearly always a user who is not signed in: better told here than by a 404."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty str, not {value!r}")
    return value
