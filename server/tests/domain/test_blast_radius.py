"""Whom a change of the catalog touches."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tollhouse_server.domain.blast_radius import BlastRadius, Touched
from tollhouse_server.domain.catalog import Value
from tollhouse_server.domain.entitlements import Entitlement
from tollhouse_server.domain.time import Period

AT = datetime(2026, 12, 1, tzinfo=UTC)


def held(feature: str, value: Value, days: int = 30) -> Entitlement:
    return Entitlement(feature, value, Period(AT - timedelta(days=1), AT + timedelta(days=days)), ())


def test_customers_are_counted_by_what_happens_to_them() -> None:
    """Who loses comes first; each effect has its customers, payers and MRR, and the whole counts a customer once."""
    radius = BlastRadius()
    euros, trial = {"eur": Fraction(900)}, {"eur": Fraction(0)}
    radius.add([held("pages", 500), held("export", True)], [held("pages", 100)], AT, euros)
    radius.add([held("pages", 500)], [held("pages", 100)], AT, {"eur": Fraction(1, 3), "usd": Fraction(500)})
    radius.add([held("seats", 3)], [held("seats", "unlimited"), held("extra", True)], AT, trial)
    radius.add([], [held("pages", 7)], AT, {})
    radius.add([held("seats", "unlimited", days=3)], [held("seats", "unlimited")], AT, {})
    radius.add([held("storage", 5)], [], AT, {})
    radius.add([held("pages", 500)], [held("pages", 500)], AT, euros)
    assert radius.looked_at == 7
    assert str(radius.whole) == "6 customers (2 paying, MRR 9.00 EUR + 5.00 USD)"
    assert [f"{touched}: {effect}" for effect, touched in radius.effects] == [
        "2 customers (2 paying, MRR 9.00 EUR + 5.00 USD): pages 500 → 100",
        "1 customer (1 paying, MRR 9.00 EUR): lose export",
        "1 customer (0 paying): lose storage: 5",
        "1 customer (0 paying): gain extra",
        "1 customer (0 paying): gain pages: 7",
        "1 customer (0 paying): seats 3 → unlimited",
        "1 customer (0 paying): seats as now, until another time",
    ]
    assert [(effect.takes, effect.gives) for effect, _ in radius.effects] == (
        [(True, False)] * 3 + [(False, True)] * 3 + [(False, False)]
    )


def test_who_pays_nothing_pays_in_no_currency() -> None:
    """A trial, or a plan for nothing, is no payer and has no MRR to be touched."""
    touched = Touched()
    touched.add({"eur": Fraction(0)})
    assert (touched.customers, touched.paying, touched.mrr) == (1, 0, ())
