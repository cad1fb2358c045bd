"""The shape of a catalog document as JSON Schema, for editors and for whoever writes one by program.

It says what a schema can say; `parse_catalog` is the judge, and also knows what one part asks of another.
"""

from enum import StrEnum

from .catalog import (
    CODE,
    UNLIMITED,
    Combine,
    Kind,
    OnDispute,
    OnDouble,
    OnPause,
    OnRefund,
    OnTrialAgain,
    Policy,
    TaxBehavior,
)
from .catalog_file import (
    LARGEST_AMOUNT,
    LARGEST_LIMIT,
    LONGEST_ACCESS,
    LONGEST_INTERVAL,
    LONGEST_POLICY,
    LONGEST_TRIAL,
    TAX_CODE,
)

_Schema = dict[str, object]


def json_schema() -> _Schema:
    """The schema of a catalog document, JSON Schema draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tollhouse catalog",
        "description": "What one project sells, what each product opens, and the project's policies.",
        **_table(
            {
                "project": {**_CODE, "description": "The project's slug; lookup keys begin with it."},
                "name": _TEXT,
                "redirect_origins": {
                    "type": "array",
                    "items": {"type": "string", "pattern": r"^https?://[^/?#@\s]+$"},
                    "description": "Where a checkout or portal may send a customer back to.",
                },
                "default_product": {**_CODE, "description": "The product that everybody has without buying it."},
                "automatic_tax": {
                    "type": "boolean",
                    "default": False,
                    "description": "Whether Stripe works out tax and adds it.",
                },
                "policy": _policy(),
                "features": _by_code(_feature()),
                "products": _by_code(_product()),
            },
            "project",
            "name",
        ),
    }


def _table(properties: dict[str, _Schema], *required: str) -> _Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _by_code(entry: _Schema) -> _Schema:
    return {"type": "object", "propertyNames": _CODE, "additionalProperties": entry}


def _whole(least: int, most: int, description: str, **more: object) -> _Schema:
    return {"type": "integer", "minimum": least, "maximum": most, "description": description, **more}


def _choice(default: StrEnum, description: str) -> _Schema:
    return {"enum": [str(member) for member in type(default)], "default": str(default), "description": description}


_CODE: _Schema = {"type": "string", "pattern": f"^{CODE.pattern}$"}
_TEXT: _Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_LIMIT: _Schema = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": LARGEST_LIMIT}, {"const": UNLIMITED}]}


def _policy() -> _Schema:
    usual = Policy()
    return _table(
        {
            "grace_days": _whole(
                0, LONGEST_POLICY, "How long an unpaid subscription keeps access, from the start of the unpaid period.",
                default=usual.grace.days,
            ),
            "renewal_leeway_days": _whole(
                0, LONGEST_POLICY, "How long access outlasts a paid period while the renewal is awaited.",
                default=usual.renewal_leeway.days,
            ),
            "on_pause": _choice(
                OnPause(usual.on_pause), "Whether a paused subscription keeps what was paid for; keep: nothing changes."
            ),
            "on_full_refund": _choice(OnRefund(usual.on_full_refund), "Whether a full refund ends what it paid for."),
            "on_partial_refund": _choice(OnRefund(usual.on_partial_refund), "Whether a partial refund ends it."),
            "on_dispute": _choice(OnDispute(usual.on_dispute), "Whether an open dispute suspends what it paid for."),
            "on_double": _choice(
                OnDouble(usual.on_double), "Whether the newer of two live subscriptions of one plan is cancelled."
            ),
            "on_trial_again": _choice(
                OnTrialAgain(usual.on_trial_again), "What becomes of a second trial of one plan by the same person."
            ),
        }
    )  # fmt: skip


def _feature() -> _Schema:
    return _table(
        {
            "name": _TEXT,
            "kind": _choice(Kind.SWITCH, "A switch is on or off; a limit is a number or unlimited."),
            "combine": _choice(Combine.MAX, "Limits only: whether the largest of several counts, or their sum."),
        }
    )


def _product() -> _Schema:
    per_seat: _Schema = {"type": "boolean", "default": False, "description": "Multiply by the quantity bought."}
    value: _Schema = {"anyOf": [{"type": "boolean"}, _LIMIT, _table({"limit": _LIMIT, "per_seat": per_seat}, "limit")]}
    days = _table({"days": _whole(1, LONGEST_ACCESS, "From the purchase.")}, "days")
    return _table(
        {
            "name": _TEXT,
            "plan_group": {**_CODE, "description": "Products of one group exclude each other for one customer."},
            "opens": {
                **_by_code(value),
                "description": "The value of each feature: true, a limit, or a limit per seat.",
            },
            "lasts": {
                "anyOf": [{"const": "forever"}, days],
                "default": "forever",
                "description": "How long a one-time purchase gives access.",
            },
            "tax_code": {
                "type": "string",
                "pattern": f"^{TAX_CODE.pattern}$",
                "description": "Stripe's code of what this is to the taxman.",
            },
            "bundles": {
                "type": "array",
                "items": {"type": "string", "pattern": rf"^{CODE.pattern}\.{CODE.pattern}$"},
                "description": "Products of other projects, as project.product, that it brings the same user id.",
            },
            "prices": _by_code(_price()),
            "policy": {**_policy(), "description": "What is otherwise than the project's for what is bought of this."},
            "stripe_prices": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,255}$"},
                "description": "Stripe prices that count as this product and are not sold by this catalog.",
            },
        }
    )


def _price() -> _Schema:
    return _table(
        {
            "amount": _whole(0, LARGEST_AMOUNT, "In minor units: 900 is 9.00 EUR."),
            "currency": {"type": "string", "pattern": "^[a-z]{3}$", "description": "ISO 4217, as in eur."},
            "currency_options": {
                "type": "object",
                "propertyNames": {"pattern": "^[a-z]{3}$"},
                "additionalProperties": _whole(0, LARGEST_AMOUNT, "In minor units."),
                "description": "What it costs in other currencies.",
            },
            "interval": {"enum": [*LONGEST_INTERVAL], "description": "Absent: a one-time price."},
            "interval_count": _whole(1, max(LONGEST_INTERVAL.values()), "Bill every so many intervals.", default=1),
            "trial_days": _whole(1, LONGEST_TRIAL, "Days before the first charge."),
            "trial_card": {
                "type": "boolean",
                "default": True,
                "description": "Whether a trial asks for a card; without one it ends cancelled.",
            },
            "tax_behavior": {
                "enum": [str(member) for member in TaxBehavior],
                "description": "Whether the amount has its tax in it; absent: as the Stripe account is set.",
            },
        },
        "amount",
        "currency",
    )
