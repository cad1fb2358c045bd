"""The column types of every table."""

from sqlalchemy import Column, DateTime, ForeignKey, Uuid
from sqlalchemy.dialects.postgresql import JSONB

Instant = DateTime(timezone=True)
Json = JSONB(none_as_null=True)


def uuid_key() -> Column[object]:
    """A primary key that the service makes, so that it may leave the database as an idempotency key."""
    return Column("id", Uuid, primary_key=True)


def project_column() -> Column[object]:
    return Column("project_id", Uuid, ForeignKey("project.id"), nullable=False)


def customer_column() -> Column[object]:
    return Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False)
