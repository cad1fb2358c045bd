"""Money as integer minor units (cents) with its currency."""

from dataclasses import dataclass
from typing import Final

_WHOLE_UNITS: Final = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
_THOUSANDTHS: Final = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""Currencies whose amounts at Stripe are not in hundredths."""


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` in the currency's minor unit (cents; whole yen), `currency` as three lower-case letters."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isalpha() or not self.currency.islower():
            raise ValueError(f"currency {self.currency!r}: three lower-case letters (ISO 4217), as in 'eur'")

    def __str__(self) -> str:
        """For people, in major units: 9.00 EUR, 500 JPY."""
        decimals = 0 if self.currency in _WHOLE_UNITS else 3 if self.currency in _THOUSANDTHS else 2
        whole, rest = divmod(abs(self.amount), 10**decimals)
        sign = "-" if self.amount < 0 else ""
        fraction = f".{rest:0{decimals}}" if decimals else ""
        return f"{sign}{whole}{fraction} {self.currency.upper()}"
