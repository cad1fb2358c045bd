"""What every parser reads with: plain dictionaries in, strictly typed values out."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

Raw = Mapping[str, Any]
"""A Stripe object as plain dictionaries, its lists already paged to the end."""


class UnexpectedShape(Exception):
    """Stripe sent an object that lacks what the pinned API version promises."""


class Shape(BaseModel):
    """What of an object is needed, strictly typed; fields that are not needed may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
