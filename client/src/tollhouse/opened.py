"""What an app's test finds in the fake of the pages that the app opened."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenedCheckout:
    """What an app asked of `open_checkout`, and the checkout it got."""

    id: str
    url: str
    user_id: str
    price: str
    quantity: int
    success_url: str
    cancel_url: str
    trial_days: int | None
    allow_promotion_codes: bool
    email: str | None
    name: str | None
    currency: str | None
    discount: Mapping[str, str] | None
    """`{"coupon": …}` or `{"promotion_code": …}`."""


@dataclass(frozen=True, slots=True)
class OpenedPortal:
    """What an app asked of `open_portal`."""

    user_id: str
    return_url: str


@dataclass(frozen=True, slots=True)
class OpenedPlanChange:
    """What an app asked of `open_checkout` for who has another plan of the group, and the page it got."""

    url: str
    user_id: str
    before: str
    """The price they have."""
    price: str
    success_url: str
    cancel_url: str
