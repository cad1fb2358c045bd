"""The project that is sold from in every run: plans that exclude each other, and things that add up."""

from typing import Any

SHOP: dict[str, Any] = {
    "project": "shop",
    "name": "Shop",
    "redirect_origins": ["https://app.test"],
    "policy": {"on_trial_again": "allow"},  # everybody pays with the same card
    "features": {
        "export": {"name": "Export"},
        "pages": {"name": "Pages per day", "kind": "limit"},
    },
    "products": {
        "pro": {
            "name": "Pro",
            "plan_group": "plan",
            "opens": {"export": True, "pages": {"limit": 500, "per_seat": True}},
            "prices": {
                "monthly": {"amount": 900, "currency": "eur", "interval": "month"},
                "yearly": {"amount": 9000, "currency": "eur", "interval": "year"},
                "trial": {"amount": 900, "currency": "eur", "interval": "month", "trial_days": 14},
            },
        },
        "basic": {
            "name": "Basic",
            "plan_group": "plan",
            "opens": {"pages": 50},
            "prices": {"monthly": {"amount": 300, "currency": "eur", "interval": "month"}},
        },
        "extra": {
            "name": "Extra pages",
            "opens": {"pages": 100},
            "prices": {"monthly": {"amount": 200, "currency": "eur", "interval": "month"}},
        },
        "lifetime": {
            "name": "Lifetime",
            "opens": {"export": True, "pages": "unlimited"},
            "prices": {"once": {"amount": 19900, "currency": "eur"}},
        },
    },
}
MONTHLY = "shop.pro.monthly"
