"""What a price costs in its currencies: its own, and those of its `currency_options`."""

from decimal import Decimal

from tollhouse_sandbox import money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.store import Json


def amount(given: Json, param: str = "unit_amount") -> tuple[int | None, str]:
    """What a parameter says a price costs, in minor units; None where it is no whole number of them, and exactly."""
    if "unit_amount" in given:
        return given["unit_amount"], str(given["unit_amount"])
    exact: Decimal | None = given.get("unit_amount_decimal")
    if exact is None:
        raise StripeError(
            "You must specify either unit_amount or unit_amount_decimal.", code="parameter_missing", param=param
        )
    whole = money.rounded(exact)
    return (whole if whole == exact else None), str(exact)


def checked(given: Json, currency: str) -> Json:
    """What a price of this currency costs in others, as it is stored. Raises 400 for its own, or one without amount."""
    if currency in given:
        raise StripeError(
            "The keys of `currency_options` must be different from `currency`.", param=f"currency_options[{currency}]"
        )
    return {name: _option(option, f"currency_options[{name}]") for name, option in given.items()}


def _option(given: Json, param: str) -> Json:
    whole, exact = amount(given, f"{param}[unit_amount]")
    return {
        "custom_unit_amount": None,
        "tax_behavior": given.get("tax_behavior", "unspecified"),
        "unit_amount": whole,
        "unit_amount_decimal": exact,
    }


def others(price: Json) -> Json:
    """What a price costs in currencies that are not its own; a desk's file may hold one from before there were any."""
    return dict(price.get("_currency_options") or {})


def options(price: Json) -> Json:
    """What a price costs in each of its currencies, as Stripe shows it when asked: its own is among them."""
    own = {name: price[name] for name in ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")}
    return {price["currency"]: own, **others(price)}


def charges_in(price: Json, currency: str) -> bool:
    return currency == price["currency"] or currency in others(price)


def in_currency(price: Json, currency: str, *, param: str) -> Json:
    """The price as it is charged in a currency. Raises 400 where it has no amount in it."""
    if currency == price["currency"]:
        return price
    if not charges_in(price, currency):
        only = ", ".join(f"`{name}`" for name in options(price))
        raise StripeError(
            f"The price specified only supports {only}. This doesn't match the expected currency: `{currency}`.",
            param=param,
        )
    return {**price, **others(price)[currency], "currency": currency}


def charged(account: Account, price_id: str, currency: str) -> Json:
    """A price as a subscription, a page or an invoice in this currency charges it."""
    return in_currency(account.require("price", price_id), currency, param="currency")
