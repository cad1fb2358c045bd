"""What many calls take and answer: ids, instants, values."""

from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ..state import Answer as Answer
from ..state import FeatureValue as FeatureValue
from ..state import Instant as Instant
from ..state import feature_value


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


def _given_value(value: object) -> object:
    if isinstance(value, int) and value < 0:
        return value
    return feature_value(value)


GivenValue = Annotated[bool | int | Literal["unlimited"], BeforeValidator(_given_value)]
"""A value that somebody asks for; one below zero comes through, to be told as the mistake that it is."""

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


def _address(text: str) -> str:
    local, at, domain = text.partition("@")
    if not (local and at and domain) or "@" in domain or not text.isprintable() or " " in text:
        raise ValueError("must be an e-mail address, as in ada@example.com")
    return text


def _visible(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be a name: no line breaks or control characters, and not only blanks")
    return text.strip()


Email = Annotated[Text, Field(max_length=320, description="Where Stripe sends bills to."), AfterValidator(_address)]
PersonName = Annotated[
    Text, Field(max_length=256, description="As it is on bills.", examples=["Ada Lovelace"]), AfterValidator(_visible)
]


class Body(BaseModel):
    """A request body: what is not known is refused, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")
