"""What the service does at Stripe by itself, and the trials it remembers; `tables` has them too."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, Uuid, text

from .columns import Instant, Json, customer_column, project_column
from .isolation import project_may
from .metadata import metadata

correction = Table(
    "correction",
    metadata,
    Column("id", Text, primary_key=True),  # what Stripe is asked to do carries it, so that it is done once
    project_column(),
    customer_column(),
    Column("kind", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),  # the one it acts on
    Column("beside", Text, nullable=False),  # the one because of which it does
    Column("reason", Text, nullable=False),  # in a sentence
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("retries", Integer, nullable=False, server_default=text("0")),  # by operators
    Column("next_attempt_at", Instant),
    Column("lease", Uuid),
    Column("error", Text),
    Column("outcome", Json),  # what was done at Stripe
    Column("found_at", Instant, nullable=False),
    Column("settled_at", Instant),
    CheckConstraint("kind IN ('double', 'trial-again')", name="kind"),
    CheckConstraint("action IN ('cancel', 'cancel-and-refund', 'end-trial')", name="action"),
    CheckConstraint("state IN ('reported', 'pending', 'done', 'given-up')", name="state"),
    CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_has_next_attempt"),
    # Found again at every read, and made once.
    UniqueConstraint("subscription_id", "kind"),
    Index(None, "customer_id"),
    Index(None, "found_at", "id"),
    Index("correction_due_idx", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    info=project_may("SELECT"),
)

trial_use = Table(
    "trial_use",
    metadata,
    # Never deleted, not with the customer either: the first trial of a plan that was begun with this, for ever.
    project_column(),
    Column("plan", Text, nullable=False),
    Column("used_by", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # keyed: neither the address nor the card lies here
    Column("subscription_id", Text, nullable=False),
    Column("began_at", Instant, nullable=False),
    CheckConstraint("used_by IN ('user', 'email', 'card')", name="used_by"),
    UniqueConstraint("project_id", "plan", "used_by", "hash"),
    info=project_may("SELECT"),
)
