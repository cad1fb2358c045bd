"""What many calls take and answer: ids, instants, values."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
)


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    return text


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


Text = Annotated[str, AfterValidator(_no_nul)]
"""Text that PostgreSQL can store."""

UserId = Annotated[
    Text,
    Field(min_length=1, max_length=255, description="The app's own id of its user; never parsed.", examples=["ada"]),
]
UserIdInPath = Annotated[UserId, BeforeValidator(unquote)]
"""Percent-encoded in the path (the service routes by the raw path), so that it may hold a slash."""

FeatureCode = Annotated[Text, Field(min_length=1, max_length=63, examples=["premium_export"])]
FeatureCodeInPath = Annotated[FeatureCode, BeforeValidator(unquote)]

Instant = Annotated[AwareDatetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]
"""RFC 3339, in UTC."""

FeatureValue = StrictBool | Annotated[StrictInt, Field(ge=0)] | Literal["unlimited"]
"""`true` for a switch, a whole number or `"unlimited"` for a limit; `false` and 0 where not allowed."""


class Body(BaseModel):
    """A request body: what is not known is refused, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)
