"""The tables that the metrics are told from; `tables` has them too."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Identity, Index, Table, Text

from ..domain.billing import Billing
from .columns import Exact, Instant, Value, customer_column, project_column
from .isolation import project_may
from .metadata import metadata

billing = Table(
    "billing",
    metadata,
    Column("id", Text, primary_key=True),  # the subscription's
    project_column(),
    customer_column(),
    Column("billing", Value(Billing), nullable=False),
    Index(None, "customer_id"),
    info=project_may("SELECT"),
)

seen_worth = Table(
    "seen_worth",
    metadata,
    # Never altered: what Stripe keeps no instant of, as it was first seen.
    Column("id", BigInteger, Identity(), primary_key=True),
    project_column(),
    customer_column(),
    Column("subscription_id", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("worth", Exact, nullable=False),
    Column("paused", Boolean, nullable=False),
    Index(None, "customer_id"),
)

stretch = Table(
    "stretch",
    metadata,
    # When a subscription counted and what it was worth a month: made by refresh, as the snapshot is.
    Column("subscription_id", Text, primary_key=True),
    Column("starts_at", Instant, primary_key=True),
    Column("ends_at", Instant),
    project_column(),
    customer_column(),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("monthly", Exact, nullable=False),
    CheckConstraint("ends_at IS NULL OR ends_at > starts_at", name="not_empty"),
    Index(None, "customer_id"),
    Index(None, "project_id", "ends_at"),
    info=project_may("SELECT"),
)

money_fact = Table(
    "money_fact",
    metadata,
    # What was paid, given back, failed and recovered, and the trials: each by its kind and Stripe's id.
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("stripe_customer_id", Text, nullable=False),  # whose whole read it came with
    Column("at", Instant, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index(None, "customer_id"),
    Index(None, "project_id", "at"),
    info=project_may("SELECT"),
)
