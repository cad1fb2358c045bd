"""In which currency a checkout sells, and what it costs less: decided before Stripe is asked, as far as we can know."""

import uuid
from dataclasses import dataclass

from sqlalchemy import select

from ..db.engine import Tx
from ..db.tables import billing, subscription
from ..domain.catalog import Price
from ..domain.errors import Problem
from ..domain.owning import OVER
from ..stripe_gateway import StripeClient
from ..stripe_gateway.discounts import find_coupon, find_promotion_code


class CurrencyNotSold(Problem):
    """The price is not sold in this currency.

    Ask for one of those that GET /v1/catalog lists, or add it to the price's currency_options and publish the catalog.
    """

    status = 422
    code = "currency-not-sold"


class CurrencyConflict(Problem):
    """The customer's subscriptions are billed in another currency, and Stripe bills one customer in one.

    Sell in that currency, or let the subscriptions end first; one-time prices can be bought in any.
    """

    status = 409
    code = "currency-conflict"


class DiscountNotFound(Problem):
    """There is no such coupon or promotion code, or it can no longer be redeemed."""

    status = 404
    code = "discount-not-found"


class DiscountConflict(Problem):
    """A checkout takes one discount: a coupon, or a promotion code, or codes that are typed on the page.

    Leave out all but one of them.
    """

    status = 422
    code = "discount-conflict"


@dataclass(frozen=True, slots=True)
class Discount:
    """Exactly one of the coupon's id, and the promotion code as people type it (`promo_…` once it was found)."""

    coupon: str | None = None
    promotion_code: str | None = None

    @property
    def at_stripe(self) -> dict[str, str]:
        if self.coupon is not None:
            return {"coupon": self.coupon}
        return {"promotion_code": self.promotion_code or ""}


def check_discount(wanted: Discount | None, *, allow_promotion_codes: bool) -> None:
    """Raises DiscountConflict where more than one, or none, is said."""
    if wanted is None:
        return
    if (wanted.coupon is None) == (wanted.promotion_code is None) or allow_promotion_codes:
        raise DiscountConflict(
            "A checkout takes one discount: discount with coupon or promotion_code, or allow_promotion_codes.",
            errors=[{"pointer": "/discount", "detail": "Say one of coupon and promotion_code, and allow no codes."}],
        )


async def find_discount(stripe: StripeClient, wanted: Discount, stripe_customer_id: str) -> Discount:
    """The discount by Stripe's id. Raises DiscountNotFound, StripeUnavailable, StripeRefused."""
    if wanted.coupon is not None:
        found = Discount(coupon=await find_coupon(stripe, wanted.coupon))
    else:
        found = Discount(
            promotion_code=await find_promotion_code(stripe, wanted.promotion_code or "", stripe_customer_id)
        )
    if found == Discount():
        kind, said = (
            ("coupon", wanted.coupon) if wanted.coupon is not None else ("promotion code", wanted.promotion_code)
        )
        raise DiscountNotFound(f"There is no {kind} {(said or '')[:100]!r} that can be redeemed now.")
    return found


def check_currency(price: Price, asked: str | None) -> None:
    """Raises CurrencyNotSold where the price has no amount in it."""
    if asked is not None and asked not in price.currencies:
        raise CurrencyNotSold(
            f"{price.lookup_key} is sold in {', '.join(price.currencies)}, not in {asked}.",
            errors=[{"pointer": "/currency", "detail": f"It can be {', '.join(price.currencies)}."}],
        )


async def currency_for(tx: Tx, customer_id: uuid.UUID, price: Price, asked: str | None) -> str | None:
    """The currency of a new page, where there is a choice: asked for, else that of what runs, else the price's own.

    None: the price has but one. Raises CurrencyConflict where Stripe would refuse to mix.
    """
    running = await _running_currency(tx, customer_id) if price.interval is not None else None
    chosen = asked or (running if running in price.currencies else price.money.currency)
    if running not in (None, chosen):
        raise CurrencyConflict(
            f"The customer's subscriptions are billed in {running}, and this would be in {chosen}: Stripe bills one "
            "customer in one currency."
        )
    return chosen if price.currency_options else None


async def _running_currency(tx: Tx, customer_id: uuid.UUID) -> str | None:
    running = (
        select(billing.c.billing)
        .join(subscription, subscription.c.id == billing.c.id)
        .where(subscription.c.customer_id == customer_id, subscription.c.status.not_in([str(one) for one in OVER]))
        .order_by(billing.c.id)
        .limit(1)
    )
    found = (await tx.execute(running)).scalar_one_or_none()
    return None if found is None else str(found.currency)
