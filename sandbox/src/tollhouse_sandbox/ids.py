"""Object ids with Stripe's prefixes."""

import string
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random

_ALPHABET = string.ascii_letters + string.digits

PREFIXES = {
    "balance_transaction": "txn_",
    "billing.meter": "mtr_",
    "billing.meter_event": "",
    "billing_portal.configuration": "bpc_",
    "billing_portal.session": "bps_",
    "charge": "ch_",
    "checkout.session": "cs_test_",
    "coupon": "",
    "credit_note": "cn_",
    "credit_note_line_item": "cnli_",
    "customer": "cus_",
    "discount": "di_",
    "dispute": "dp_",
    "entitlements.active_entitlement": "ent_",
    "entitlements.feature": "feat_",
    "event": "evt_",
    "invoice": "in_",
    "invoice_payment": "inpay_",
    "invoiceitem": "ii_",
    "item": "li_",
    "line_item": "il_",
    "payment_intent": "pi_",
    "payment_method": "pm_",
    "price": "price_",
    "product": "prod_",
    "product_feature": "prodft_",
    "promotion_code": "promo_",
    "refund": "re_",
    "setup_intent": "seti_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_",
    "test_helpers.test_clock": "clock_",
    "webhook_endpoint": "we_",
}
"""Kind (an object's `object` field) → the prefix of its ids."""

_LENGTHS = {"checkout.session": 60, "coupon": 8, "customer": 14, "product": 14, "subscription_item": 14}


_source: ContextVar[Random] = ContextVar("source", default=Random())  # noqa: B039, S311 - nothing worth guessing


@contextmanager
def drawn_from(source: Random) -> Iterator[None]:
    """Within it, this is where chance comes from: of a sandbox with a seed, always the same."""
    before = _source.set(source)
    try:
        yield
    finally:
        _source.reset(before)


def token(length: int) -> str:
    """Random letters and digits."""
    return "".join(_source.get().choices(_ALPHABET, k=length))


def new(kind: str) -> str:
    """A fresh id for an object of this kind."""
    return PREFIXES[kind] + token(_LENGTHS.get(kind, 24))


def kind_of(object_id: str) -> str | None:
    """The kind whose prefix an id has."""
    return _KINDS.get(object_id[: object_id.rfind("_") + 1])


_KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}
