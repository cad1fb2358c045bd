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
)


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999, in UTC") from None


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _feature_value(value: object) -> object:
    if isinstance(value, bool) or value == "unlimited" or (isinstance(value, int) and value >= 0):
        return value
    raise ValueError('must be true, false, a whole number from 0 on, or "unlimited"')


Text = Annotated[str, AfterValidator(_storable)]
"""Text that PostgreSQL can store."""

TextInPath = Annotated[Text, BeforeValidator(_decoded)]
"""Percent-encoded in the path: the service routes by the raw path, so that a segment may hold a slash."""

UserId = Annotated[
    Text,
    Field(min_length=1, max_length=255, description="The app's own id of its user; never parsed.", examples=["ada"]),
]
UserIdInPath = Annotated[UserId, BeforeValidator(_decoded)]

FeatureCode = Annotated[Text, Field(min_length=1, max_length=63, examples=["premium_export"])]
FeatureCodeInPath = Annotated[FeatureCode, BeforeValidator(_decoded)]

Instant = Annotated[AwareDatetime, AfterValidator(_utc), PlainSerializer(_rfc3339, return_type=str, when_used="json")]
"""RFC 3339, in UTC."""

FeatureValue = Annotated[bool | int | Literal["unlimited"], BeforeValidator(_feature_value)]
"""`true` for a switch, a whole number or `"unlimited"` for a limit; `false` and 0 where not allowed."""


class Body(BaseModel):
    """A request body: what is not known is refused, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)
