"""The tables of reconciliation: its runs with the place where each goes on, and the differences they found."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from .columns import Instant, Json
from .tables import metadata

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("project_id", Uuid, ForeignKey("project.id")),  # null: all of them
    Column("dry_run", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("started_at", Instant, nullable=False),  # by the clock that decides access, as is `finished_at`
    Column("finished_at", Instant),
    # Where it goes on after a kill.
    Column("stage", Text, nullable=False),
    Column("cursor", Text),
    Column("since", Instant),  # a catch-up: the list of events is read from here
    Column("reached", Instant),  # ... and was read up to here
    Column("counts", Json, nullable=False, server_default=text("'{}'")),
    Column("requests", Integer, nullable=False, server_default=text("0")),
    Column("stripe_seconds", Double, nullable=False, server_default=text("0")),
    Column("paced_seconds", Double, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("lease", Uuid),
    Column("lease_until", Instant),
    CheckConstraint("kind IN ('catch-up', 'sweep')", name="kind"),
    CheckConstraint("trigger IN ('schedule', 'operator', 'cli')", name="trigger"),
    CheckConstraint("state IN ('waiting', 'running', 'finished', 'failed')", name="state"),
    CheckConstraint("(state IN ('finished', 'failed')) = (finished_at IS NOT NULL)", name="over_has_finished_at"),
    # One run of a kind at a time, whoever starts it wherever.
    Index("reconciliation_one_at_a_time_key", "kind", unique=True, postgresql_where=text("finished_at IS NULL")),
    Index(None, "kind", "started_at"),
)

reconciliation_seen = Table(
    "reconciliation_seen",
    metadata,
    # What a run's lists have shown so far, of what we hold; the rest Stripe no longer shows.
    Column("run_id", Text, ForeignKey("reconciliation.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
)

reconciliation_suspect = Table(
    "reconciliation_suspect",
    metadata,
    # Stripe customers (`cus_…`) in whom a run's lists and our rows differ, until they have been read again.
    Column("run_id", Text, ForeignKey("reconciliation.id", ondelete="CASCADE"), primary_key=True),
    Column("stripe_customer_id", Text, primary_key=True),
)

drift = Table(
    "drift",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("run_id", Text, ForeignKey("reconciliation.id", ondelete="CASCADE"), nullable=False),
    # Null while nobody knows whose it is: an event of a charge, a customer who cannot be read.
    Column("project_id", Uuid, ForeignKey("project.id")),
    Column("customer_id", Uuid, ForeignKey("customer.id")),
    Column("stripe_customer_id", Text),
    Column("object_id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("ours", Json),
    Column("stripes", Json),
    Column("event_id", Text),  # the event that would have told, and was missing
    Column("verdict", Text),
    Column("since", Instant),  # since when the verdict was wrong
    Column("found_at", Instant, nullable=False),
    Column("repaired", Boolean, nullable=False, server_default=text("false")),
    Column("closed_at", Instant),  # repaired, or found to be right again later; null: open
    Column("error", Text),
    CheckConstraint("verdict IN ('paid_but_locked_out', 'unpaid_but_allowed')", name="verdict"),
    CheckConstraint("NOT repaired OR closed_at IS NOT NULL", name="repaired_is_closed"),
    Index(None, "run_id", "id"),
    Index("drift_open_idx", "customer_id", postgresql_where=text("closed_at IS NULL")),
    Index("drift_event_id_idx", "event_id", postgresql_where=text("closed_at IS NULL")),
    Index("drift_closed_at_idx", "closed_at", postgresql_where=text("verdict IS NOT NULL")),
)
