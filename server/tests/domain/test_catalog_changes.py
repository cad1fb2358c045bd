"""What publishing a catalog says it changes."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tollhouse_server.domain.catalog_changes import differences
from tollhouse_server.domain.catalog_file import parse_catalog
from tollhouse_server.domain.kept_openings import Existing, kept_through

DOCUMENT: dict[str, Any] = {
    "project": "app",
    "name": "App",
    "redirect_origins": ["https://app.example"],
    "features": {"export": {}, "pages": {"kind": "limit"}},
    "products": {
        "pro": {
            "opens": {"export": True, "pages": 5},
            "prices": {
                "monthly": {"amount": 900, "currency": "eur", "interval": "month", "trial_days": 14},
                "once": {"amount": 9900, "currency": "eur"},
            },
        }
    },
}


def test_a_first_catalog_is_all_new() -> None:
    """The first publish lists what there is; a policy that is the usual one is not news."""
    assert differences(None, parse_catalog(DOCUMENT, 1)) == [
        "Project: customers may be sent back to https://app.example.",
        "New feature export: export, a switch.",
        "New feature pages: pages, a limit (the largest of several counts).",
        "New product pro: pro opens export on, pages 5.",
        "New price app.pro.monthly: 9.00 EUR every month after a trial of 14 days.",
        "New price app.pro.once: 99.00 EUR once.",
    ]


def test_the_same_catalog_changes_nothing() -> None:
    """Publishing the same again has nothing to say, whatever its version."""
    assert differences(parse_catalog(DOCUMENT, 1), parse_catalog(DOCUMENT, 2)) == []


def _(change: Callable[[dict[str, Any]], object], *said: str) -> tuple[Callable[[dict[str, Any]], object], list[str]]:
    return change, list(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        _(lambda d: d.update(name="Apple"), "Project: the name App becomes Apple."),
        _(
            lambda d: d.update(redirect_origins=["https://new.example"]),
            "Project: customers may be sent back to https://new.example.",
            "Project: customers may no longer be sent back to https://app.example.",
        ),
        _(
            lambda d: d.update(policy={"grace_days": 1, "on_pause": "end"}),
            "Policy: grace 7 days becomes 1 day.",
            "Policy: on pause keep paid becomes end.",
        ),
        _(
            lambda d: (d.update(default_product="free"), d["products"].update(free={"policy": {"grace_days": 3}})),
            "Project: everybody has the product free without buying it.",
            "New product free: free opens nothing, with a policy of its own.",
        ),
        _(
            lambda d: d["products"]["pro"].update(policy={"grace_days": 1, "on_pause": "keep_paid"}),
            "Product pro: policy: grace the project's becomes 1 day.",
            "Product pro: policy: on pause the project's becomes keep paid.",
        ),
        _(
            lambda d: d["features"].update(pages={"kind": "limit", "combine": "sum"}),
            "Feature pages: pages, a limit (the largest of several counts), "
            "becomes pages, a limit (the sum of several counts).",
        ),
        _(
            lambda d: (d["features"].pop("export"), d["products"]["pro"]["opens"].pop("export")),
            "Feature export is gone: nothing opens it any more, and asking for it is an error.",
            "Product pro: no longer opens export.",
        ),
        _(
            lambda d: d["products"]["pro"].update(opens={"export": False, "pages": {"limit": 5, "per_seat": True}}),
            "Product pro: export on becomes off.",
            "Product pro: pages 5 becomes 5 per seat.",
        ),
        _(
            lambda d: d["products"]["pro"].update(name="Pro", plan_group="plan", lasts={"days": 30}),
            "Product pro: the name pro becomes Pro.",
            "Product pro: plan group none becomes plan.",
            "Product pro: purchases, past ones too, last 30 days instead of for ever.",
        ),
        _(
            lambda d: (d.update(automatic_tax=True), d["products"]["pro"].update(tax_code="txcd_10103001")),
            "Project: Stripe adds tax to new sales.",
            "Product pro: tax code none becomes txcd_10103001.",
        ),
        _(
            lambda d: d["products"]["pro"]["prices"]["monthly"].update(
                currency_options={"usd": 1000}, tax_behavior="inclusive", trial_card=False
            ),
            "Price app.pro.monthly: 9.00 EUR every month after a trial of 14 days becomes 9.00 EUR or 10.00 USD "
            "(inclusive of tax) every month after a trial of 14 days without a card for new customers; those who pay "
            "it keep theirs.",
        ),
        _(
            lambda d: d["products"]["pro"].update(stripe_prices=["price_1Old", "price_2Old"]),
            "Product pro: whoever has Stripe's price_1Old holds it.",
            "Product pro: whoever has Stripe's price_2Old holds it.",
        ),
        _(
            lambda d: d["products"].update(basic={}),
            "New product basic: basic opens nothing.",
        ),
        _(
            lambda d: d["products"].pop("pro"),
            "Product pro is gone: whoever holds it loses what it opened.",
            "Price app.pro.monthly is gone: it can no longer be bought; those who pay it keep it.",
            "Price app.pro.once is gone: it can no longer be bought; those who pay it keep it.",
        ),
        _(
            lambda d: d["products"]["pro"]["prices"]["monthly"].update(interval_count=3),
            "Price app.pro.monthly: 9.00 EUR every month after a trial of 14 days becomes 9.00 EUR every 3 months "
            "after a trial of 14 days for new customers; those who pay it keep theirs.",
        ),
    ],
)
def test_each_change_is_a_sentence(change: Callable[[dict[str, Any]], object], said: list[str]) -> None:
    """A publish tells each thing that becomes otherwise, and nothing else."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    assert differences(parse_catalog(DOCUMENT, 1), parse_catalog(document, 2)) == said


def test_a_default_product_that_goes() -> None:
    """Whoever has not bought it loses it; and what has a policy of its own no longer, has the project's."""
    before = copy.deepcopy(DOCUMENT)
    before["default_product"], before["products"]["free"] = "free", {}
    before["products"]["pro"]["policy"] = {"on_dispute": "keep", "grace_days": 1}
    after = copy.deepcopy(before)
    after["default_product"] = "pro"
    del after["products"]["pro"]["policy"]["on_dispute"], after["products"]["pro"]["prices"]
    said = differences(parse_catalog(before, 1), parse_catalog(after, 2))
    assert said[:2] == [
        "Project: everybody has the product pro without buying it.",
        "Project: nobody has the product free any more unless they bought it.",
    ]
    assert [one for one in said if "policy" in one] == ["Product pro: policy: on dispute keep becomes the project's."]
    del after["default_product"]
    assert differences(parse_catalog(before, 1), parse_catalog(after, 2))[0] == said[1]


def test_tax_is_no_longer_added() -> None:
    """The other way round too."""
    taxed = parse_catalog({**DOCUMENT, "automatic_tax": True}, 1)
    assert differences(taxed, parse_catalog(DOCUMENT, 2)) == ["Project: Stripe no longer adds tax to new sales."]


def test_a_stripe_price_counts_no_longer() -> None:
    """Who holds it loses what the product opens, and the publish says so."""
    before = copy.deepcopy(DOCUMENT)
    before["products"]["pro"]["stripe_prices"] = ["price_1Old"]
    said = ["Product pro: whoever has Stripe's price_1Old holds it no longer."]
    assert differences(parse_catalog(before, 1), parse_catalog(DOCUMENT, 2)) == said


def test_a_feature_newly_opened() -> None:
    """A product that opens more says so."""
    before = copy.deepcopy(DOCUMENT)
    del before["products"]["pro"]["opens"]["pages"]
    assert differences(parse_catalog(before, 1), parse_catalog(DOCUMENT, 2)) == ["Product pro: now opens pages 5."]


def test_what_is_kept_is_told() -> None:
    """Of products that change and of those that are gone; and so is what is kept no longer."""
    at = datetime(2026, 5, 3, tzinfo=UTC)
    old = parse_catalog(DOCUMENT, 1)
    document = copy.deepcopy(DOCUMENT)
    document["products"]["pro"].update(opens={"pages": 3}, lasts={"days": 30})
    kept = kept_through(old, parse_catalog(document, 2), Existing.KEEP, at)
    assert differences(old, kept) == [
        "Product pro: purchases last 30 days instead of for ever.",
        "Product pro: pages 5 becomes 3.",
        "Product pro: no longer opens export.",
        "Product pro: who has it from before 3 May 2026 keeps export on, pages 5.",
    ]
    assert differences(kept, parse_catalog(document, 3)) == [
        "Product pro: who has it from before 3 May 2026 no longer keeps export on, pages 5."
    ]
    gone = parse_catalog(DOCUMENT | {"products": {}}, 3)
    assert differences(kept, kept_through(kept, gone, Existing.KEEP, at + timedelta(days=1)))[:2] == [
        "Product pro is gone: it can no longer be bought.",
        "Product pro: who has it from before 4 May 2026 keeps pages 3, for 30 days.",
    ]
    empty = parse_catalog(DOCUMENT | {"products": {"pro": {}}}, 1)
    said = differences(empty, kept_through(empty, old, Existing.KEEP, at))
    assert "Product pro: who has it from before 3 May 2026 keeps nothing." in said
