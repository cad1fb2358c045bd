"""The pages that people are led to, and how they are configured; `tables` has them too."""

from sqlalchemy import CheckConstraint, Column, Index, Table, Text, UniqueConstraint, text

from .columns import Instant, Json, customer_column, project_column
from .isolation import project_may
from .metadata import metadata

checkout = Table(
    "checkout",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("lookup_key", Text, nullable=False),
    # Checkouts of one group exclude each other, as the plans do that they sell.
    Column("group", Text, nullable=False),
    Column("asked", Json, nullable=False),  # by the app
    # Everything Stripe is asked with: a request that is tried again must be the same to the letter.
    Column("request", Json, nullable=False),
    Column("trial_refused", Text),  # why its trial was left out
    Column("state", Text, nullable=False),
    Column("payment_status", Text, nullable=False, server_default=text("'unpaid'")),
    Column("stripe_session_id", Text, unique=True),
    Column("url", Text),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    CheckConstraint("state IN ('opening', 'open', 'complete', 'expired')", name="state"),
    Index(None, "customer_id"),
    Index("checkout_opening_idx", "created_at", postgresql_where=text("state = 'opening'")),
    info=project_may("SELECT", "INSERT", "UPDATE (state, stripe_session_id, url, expires_at)"),
)

portal_configuration = Table(
    "portal_configuration",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    # As of a checkout: what excludes each other. Empty: for who has no subscription, or several.
    Column("group", Text, nullable=False),
    # What Stripe is asked to make it with: a request that is tried again must be the same to the letter.
    Column("request", Json, nullable=False),
    Column("stripe_configuration_id", Text, unique=True),
    Column("features", Json),  # as Stripe was last told; NULL: not made yet
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("project_id", "group"),
    info=project_may("SELECT", "INSERT", "UPDATE (stripe_configuration_id, features)"),
)

plan_change = Table(
    "plan_change",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("subscription_id", Text, nullable=False),
    Column("verb", Text, nullable=False),  # domain/changing.py
    Column("wanted", Json),  # the line that a change of plan leads to
    # Everything Stripe is asked with: a request that is tried again must be the same to the letter.
    Column("request", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text),
    Column("created_at", Instant, nullable=False),
    Column("settled_at", Instant),
    CheckConstraint("state IN ('opening', 'done', 'refused')", name="state"),
    CheckConstraint("(state = 'opening') = (settled_at IS NULL)", name="settled_has_time"),
    Index(None, "customer_id"),
    Index("plan_change_opening_idx", "customer_id", unique=True, postgresql_where=text("state = 'opening'")),
    info=project_may("SELECT", "INSERT", "UPDATE (state, error, settled_at)"),
)
