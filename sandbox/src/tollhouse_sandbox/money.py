"""Amounts in minor units: proportional shares and how people read them."""

from decimal import ROUND_HALF_UP, Decimal

ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)  # https://docs.stripe.com/currencies#zero-decimal
_SIGNS = {"eur": "€", "usd": "$", "gbp": "£"}


def share(amount: int, part: int, whole: int) -> int:
    """`amount · part / whole`, rounded half away from zero to a whole minor unit."""
    exact = Decimal(amount) * part / whole
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def rounded(amount: Decimal) -> int:
    """A decimal amount of minor units as a whole number, half away from zero."""
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def written(amount: int, currency: str) -> str:
    """For people: `€9.00`, `¥500` as `500 JPY`."""
    number = str(amount) if currency in ZERO_DECIMAL else f"{Decimal(amount) / 100:,.2f}"
    sign = _SIGNS.get(currency)
    if sign is None:
        return f"{number} {currency.upper()}"
    return f"-{sign}{number[1:]}" if number.startswith("-") else f"{sign}{number}"
