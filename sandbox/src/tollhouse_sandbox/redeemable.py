"""Whether a coupon or a promotion code can still be redeemed. Pure; times are Unix seconds."""

from collections.abc import Mapping
from typing import Any


def coupon_is_valid(coupon: Mapping[str, Any], now: int) -> bool:
    """Neither deleted, nor past its last day, nor used up."""
    return not coupon.get("deleted") and not _over(coupon["redeem_by"], now) and not _used_up(coupon)


def code_is_active(code: Mapping[str, Any], coupon: Mapping[str, Any], now: int) -> bool:
    """Switched on, neither expired nor used up, and its coupon is valid."""
    usable = code["active"] and not _over(code["expires_at"], now) and not _used_up(code)
    return bool(usable and coupon_is_valid(coupon, now))


def _over(end: int | None, now: int) -> bool:
    return end is not None and end < now


def _used_up(body: Mapping[str, Any]) -> bool:
    return body["max_redemptions"] is not None and body["times_redeemed"] >= body["max_redemptions"]
