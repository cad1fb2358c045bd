"""The column types of every table."""

from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, DateTime, Dialect, ForeignKey, Text, TypeDecorator, Uuid
from sqlalchemy.dialects.postgresql import JSONB

Instant = DateTime(timezone=True)
Json = JSONB(none_as_null=True)


class Value(TypeDecorator[Any]):
    """A value of the domain, a frozen dataclass, stored as jsonb and read back as itself."""

    impl = JSONB
    cache_ok = True

    def __init__(self, type_: type) -> None:
        super().__init__(none_as_null=True)
        self.type_ = type_
        self._adapter: TypeAdapter[Any] = TypeAdapter(type_)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else self._adapter.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else self._adapter.validate_python(value)


class Exact(TypeDecorator[Fraction]):
    """A fraction, stored as text: no type of the database holds a third."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Fraction | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Fraction | None:  # noqa: ARG002
        return None if value is None else Fraction(value)


def uuid_key() -> Column[Any]:
    """A primary key that the service makes, so that it may leave the database as an idempotency key."""
    return Column("id", Uuid, primary_key=True)


def project_column() -> Column[Any]:
    return Column("project_id", Uuid, ForeignKey("project.id"), nullable=False)


def customer_column() -> Column[Any]:
    return Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False)
