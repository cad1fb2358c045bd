"""Money as integer minor units (cents) with its currency."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` in the currency's minor unit (cents; whole yen), `currency` as three lower-case letters."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isalpha() or not self.currency.islower():
            raise ValueError(f"currency {self.currency!r}: three lower-case letters (ISO 4217), as in 'eur'")
