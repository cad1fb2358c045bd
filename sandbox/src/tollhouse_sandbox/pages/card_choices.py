"""The test payment methods as a page offers them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

USUAL = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_threeDSecure2Required",
    "pm_card_chargeCustomerFail",
    "pm_sepaDebit",
    "pm_sepaDebit_insufficientFunds",
)
"""One for each thing that can happen, in the order of the page; the others are folded away."""


class CardChoice(NamedTuple):
    """A radio button: the magic id it stands for, what becomes of a payment with it, its number in groups of four."""

    card: str
    label: str
    number: str


class CardChoices(NamedTuple):
    usual: list[CardChoice]
    more: list[CardChoice]


def card_choices(cards: Sequence[Mapping[str, Any]]) -> CardChoices:
    """Sorts a view's `cards` into the usual ones and the rest."""
    by_id = {
        card["card"]: CardChoice(card["card"], card["label"], " ".join(textwrap.wrap(card["number"], 4)))
        for card in cards
    }
    usual = [by_id.pop(card) for card in USUAL if card in by_id]
    return CardChoices(usual, list(by_id.values()))
