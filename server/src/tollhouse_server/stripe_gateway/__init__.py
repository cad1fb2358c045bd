"""Stripe at the other end of the wire: the only code that imports `stripe`."""

from .client import StripeClient, StripeRefused, StripeUnavailable

__all__ = ["StripeClient", "StripeRefused", "StripeUnavailable"]
