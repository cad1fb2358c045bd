"""The test payment methods as a page offers them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

USUAL = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequiredOnSetup",
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


def card_choices(cards: Sequence[Mapping[str, Any]], debit_arrives: str = "") -> CardChoices:
    """Sorts a view's `cards` into the usual ones and the rest; of a debit it says when the bank will have decided."""
    by_id = {}
    for card in cards:
        number = " ".join(textwrap.wrap(card["number"], 4))
        decided = f", decided on {debit_arrives}" if debit_arrives and card["type"] != "card" else ""
        by_id[card["card"]] = CardChoice(card["card"], card["label"], number + decided)
    usual = [by_id.pop(card) for card in USUAL if card in by_id]
    return CardChoices(usual, list(by_id.values()))
