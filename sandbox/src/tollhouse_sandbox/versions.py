"""The API versions that can be asked for. Pure."""

from tollhouse_sandbox.errors import StripeError

API_VERSION = "2026-10-28.endive"
"""The version in whose shape every object is stored: the one stripe-python 16.1 pins."""

OLDEST = "2024-06-20"
"""The last version before they had names: what the fault `old_shape` sends."""

VERSIONS = (
    OLDEST,
    *(f"{day}.acacia" for day in ("2024-09-30", "2024-10-28", "2024-11-20", "2024-12-18", "2025-01-27", "2025-02-24")),
    *(f"{day}.basil" for day in ("2025-03-31", "2025-04-30", "2025-05-28", "2025-06-30", "2025-07-30", "2025-08-27")),
    *(f"{day}.clover" for day in ("2025-09-30", "2025-10-29", "2025-11-17", "2025-12-15", "2026-01-28", "2026-02-25")),
    *(f"{day}.dahlia" for day in ("2026-03-25", "2026-04-22", "2026-05-27", "2026-06-24", "2026-07-29", "2026-08-26")),
    *(f"{day}.endive" for day in ("2026-09-30", "2026-10-28")),
)
"""Oldest first. Those of one name are rendered alike: their months only added things."""


def known(version: str, param: str | None = None) -> str:
    """The version itself. Raises 400 for one that there is not, or that is older than what the sandbox renders."""
    if version not in VERSIONS:
        raise StripeError(
            f"Invalid Stripe API version: {version}. The sandbox has {OLDEST} and those since, to {API_VERSION}.",
            param=param,
        )
    return version
