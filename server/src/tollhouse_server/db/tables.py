"""Every table, as SQLAlchemy Core. Each tenant table has `project_id`; each timestamp is `timestamptz`.

`info=project_may(…)` says what a project's call may do with a table; of those without it, nothing (see isolation.py).
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ..domain.evidence import Bundled, Purchase, Subscription
from .columns import Instant, Json, Value, customer_column, project_column, uuid_key
from .isolation import project_may
from .metadata import metadata as metadata
from .tables_of_buying import checkout as checkout
from .tables_of_buying import plan_change as plan_change
from .tables_of_buying import portal_configuration as portal_configuration
from .tables_of_corrections import correction as correction
from .tables_of_corrections import trial_use as trial_use
from .tables_of_money import billing as billing
from .tables_of_money import money_fact as money_fact
from .tables_of_money import seen_worth as seen_worth
from .tables_of_money import stretch as stretch

read_number = Sequence("read_number", metadata=metadata)
"""Numbers the reads of Stripe in the order in which they began: no two machines' clocks could."""

project = Table(
    "project",
    metadata,
    uuid_key(),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("redirect_origins", ARRAY(Text), nullable=False),
    Column("catalog_version", Integer, nullable=False, server_default=text("0")),
    # Grows by itself, by a trigger, with every change of the project and of its keys.
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    info=project_may("SELECT"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),  # the public part of the key
    Column("project_id", Uuid, ForeignKey("project.id")),  # NULL: an operator key
    Column("name", Text, nullable=False),
    # The default is what a key may do that was issued before there were scopes.
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{check,checkout,manage}'")),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("expires_at", Instant),  # NULL: never
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
    CheckConstraint("(project_id IS NULL) = ('operator' = ANY (scopes))", name="operator_has_no_project"),
    Index(None, "project_id"),
)

catalog = Table(
    "catalog",
    metadata,
    project_column(),
    Column("version", Integer, nullable=False),
    Column("document", JSON, nullable=False),  # not jsonb, which forgets the order in which products were written
    # By product: what those open who have it from before an instant; domain/kept_openings.py writes and reads it.
    Column("kept", Json, nullable=False, server_default=text("'{}'")),
    Column("published_by", Text, nullable=False),
    Column("published_at", Instant, nullable=False, server_default=func.now()),
    UniqueConstraint("project_id", "version"),
    info=project_may("SELECT"),
)

price = Table(
    "price",
    metadata,
    # A Stripe price never changes its amount: a changed price is a new row, and the old one keeps its customers.
    Column("stripe_price_id", Text, primary_key=True),
    project_column(),
    Column("lookup_key", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("stripe_product_id", Text, nullable=False),
    Column("current", Boolean, nullable=False),  # the one that the catalog sells under its lookup key
    Column("active", Boolean, nullable=False),  # as Stripe has it: an archived price or product cannot be bought
    Index("price_current_lookup_key_key", "lookup_key", unique=True, postgresql_where=text("current")),
    Index(None, "project_id"),
    info=project_may("SELECT"),
)

customer = Table(
    "customer",
    metadata,
    uuid_key(),
    project_column(),
    Column("user_id", Text, nullable=False),
    Column("stripe_customer_id", Text, unique=True),
    Column("email", Text),
    Column("name", Text),
    # By charge: what was refunded or disputed, as last read, so that Stripe's lists can be compared with it.
    Column("given_back", Json),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    # The read of Stripe whose result stands in the projection; one that began earlier is refused.
    Column("read_number", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    UniqueConstraint("project_id", "user_id"),
    info=project_may("SELECT", "INSERT", "UPDATE (stripe_customer_id, email, name)"),
)

subscription = Table(
    "subscription",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("status", Text, nullable=False),
    Column("evidence", Value(Subscription), nullable=False),
    Index(None, "customer_id"),
    info=project_may("SELECT"),
)

purchase = Table(
    "purchase",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("payment_status", Text, nullable=False),
    Column("evidence", Value(Purchase), nullable=False),
    Index(None, "customer_id"),
    info=project_may("SELECT"),
)

grant = Table(
    "access_grant",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    customer_column(),
    Column("feature", Text),
    Column("value", Json),
    Column("product", Text),
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant),
    Column("reason", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("revoked_at", Instant),
    Column("revoked_by", Text),
    Column("revoke_reason", Text),
    Column("override", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("(feature IS NULL) <> (product IS NULL)", name="one_target"),
    CheckConstraint("(revoked_at IS NULL) = (revoke_reason IS NULL)", name="revoked_with_reason"),
    CheckConstraint("feature IS NOT NULL OR NOT override", name="override_of_feature"),
    Index(None, "customer_id"),
    Index(None, "project_id", "created_at"),
    info=project_may("SELECT"),
)

bundled = Table(
    "bundled",
    metadata,
    # What a customer of another project brings this one through bundles, as that project judged it (bundles.py).
    project_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), primary_key=True),
    Column("source_customer_id", Uuid, ForeignKey("customer.id"), primary_key=True),
    Column("lines", Value(tuple[Bundled, ...]), nullable=False),
    Index(None, "source_customer_id"),
    Index(None, "project_id"),
    info=project_may("SELECT"),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("project_id", Uuid, ForeignKey("project.id"), primary_key=True),
    Column("user_id", Text, primary_key=True),
    customer_column(),
    Column("version", BigInteger, nullable=False),
    Column("catalog_version", Integer, nullable=False),
    Column("entitlements", Json, nullable=False),
    Column("computed_at", Instant, nullable=False),
    # When time alone changes an answer; the timetable then refreshes so that the change has a version and an audit row.
    Column("next_change_at", Instant),
    # The number of the transaction that changed it last, which a trigger sets: streams go on from it.
    Column("changed_in", BigInteger, nullable=False, server_default=text("0")),
    Index(None, "project_id", "changed_in"),
    Index("snapshot_next_change_at_idx", "next_change_at", postgresql_where=text("next_change_at IS NOT NULL")),
    UniqueConstraint("customer_id"),
    info=project_may("SELECT"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("api_version", Text),
    # What is dirty: a Stripe customer, charge, price or product. NULL: nothing of ours can be.
    Column("subject", Text),
    Column("project_id", Uuid, ForeignKey("project.id")),  # known once it has been applied
    # Text, not jsonb: jsonb refuses \u0000, and what we cannot store Stripe would send for ever.
    Column("body", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False, server_default=func.now()),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Instant),
    Column("lease", Uuid),
    Column("lease_until", Instant),
    Column("claimed_at", Instant),  # last; the subject's next claim is no sooner than the pause after it
    Column("error", Text),
    Column("settled_at", Instant),
    Column("found_by", Text),  # the reconciliation that found it missing; null: its webhook came
    CheckConstraint("state IN ('received', 'settled', 'deferred', 'buried')", name="state"),
    CheckConstraint(
        "(state IN ('received', 'deferred')) = (next_attempt_at IS NOT NULL)", name="pending_has_next_attempt"
    ),
    CheckConstraint("(state = 'settled') = (outcome IS NOT NULL)", name="settled_has_outcome"),
    Index("inbox_pending_idx", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    Index("inbox_pending_subject_idx", "subject", postgresql_where=text("next_attempt_at IS NOT NULL")),
    Index("inbox_claimed_idx", "subject", "claimed_at", postgresql_where=text("claimed_at IS NOT NULL")),
    Index("inbox_buried_idx", "id", postgresql_where=text("state = 'buried'")),
)

notification_endpoint = Table(
    "notification_endpoint",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    # Its signing secret is derived from it and from SECRET_KEY; none is stored.
    Column("generation", Integer, nullable=False, server_default=text("1")),
    Column("previous_until", Instant),  # until when messages are signed with the generation before, too
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    # domain/endpoint_health.py
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("first_failed_at", Instant),
    Column("failing_since", Instant),
    Column("disabled_at", Instant),
    Column("disabled_because", Text),
    CheckConstraint("(disabled_at IS NULL) = (disabled_because IS NULL)", name="disabled_for_a_reason"),
    Index(None, "project_id"),
    info=project_may("SELECT", "INSERT", "UPDATE", "DELETE"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    project_column(),
    # NULL: the message is about an endpoint, not about a customer.
    Column("customer_id", Uuid, ForeignKey("customer.id")),
    Column("version", BigInteger),
    Column("type", Text, nullable=False),
    # Text, not jsonb: these are the very bytes that are signed and sent, at each attempt and to each endpoint.
    Column("body", Text, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    CheckConstraint("(customer_id IS NULL) = (version IS NULL)", name="customer_has_version"),
    UniqueConstraint("customer_id", "version"),
    Index(None, "project_id", "created_at"),
    Index(None, "created_at"),
    info=project_may("SELECT", "INSERT"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    project_column(),
    Column("endpoint_id", Text, ForeignKey("notification_endpoint.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Text, ForeignKey("outbox.id"), nullable=False),
    # As in the message: what is sent to an endpoint about one customer goes in the order of its versions.
    Column("customer_id", Uuid),
    Column("version", BigInteger),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Instant, server_default=func.now()),
    Column("lease", Uuid),
    Column("lease_until", Instant),
    Column("status", Integer),  # the HTTP status of the last answer
    Column("error", Text),
    Column("queued_at", Instant, nullable=False, server_default=func.now()),  # made, or last asked for again
    Column("settled_at", Instant),
    CheckConstraint("state IN ('pending', 'delivered', 'given_up')", name="state"),
    CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_has_next_attempt"),
    CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_has_time"),
    UniqueConstraint("endpoint_id", "message_id"),
    Index(None, "message_id"),
    Index(None, "endpoint_id", "id"),
    Index("delivery_due_idx", "endpoint_id", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    Index(
        "delivery_order_idx",
        "endpoint_id",
        "customer_id",
        "version",
        postgresql_where=text("next_attempt_at IS NOT NULL"),
    ),
    Index("delivery_leased_idx", "endpoint_id", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
    Index("delivery_settled_idx", "settled_at", postgresql_where=text("settled_at IS NOT NULL")),
    info=project_may("SELECT", "INSERT", "UPDATE"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("project_id", Uuid, ForeignKey("project.id")),
    Column("customer_id", Uuid, ForeignKey("customer.id")),
    Column("at", Instant, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("before", Json),
    Column("after", Json),
    Column("reason", Text),
    Index(None, "customer_id", "id"),
    Index(None, "project_id", "id"),
    info=project_may("SELECT", "INSERT"),
)
"""Append-only: triggers refuse to change it, and to delete from it."""

audit_seal = Table(
    "audit_seal",
    metadata,
    # No foreign key: a seal whose entry was taken away must remain and tell.
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False),
    Column("project_id", Uuid, ForeignKey("project.id")),
    Column("position", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "position", postgresql_nulls_not_distinct=True),
)
"""The audit trail's hash chains, written by a trigger when the entries are committed: one for each project, and one
for the entries of no project."""

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("id", LargeBinary, primary_key=True),  # a hash of the caller and the key: neither lies here
    Column("project_id", Uuid, ForeignKey("project.id")),  # NULL: an operator's
    Column("request", LargeBinary, nullable=False),  # a hash of method, path and body
    Column("lease", Uuid, nullable=False),
    Column("lease_until", Instant, nullable=False),
    Column("sealed", Boolean, nullable=False, server_default=text("false")),  # done, and not to be done again
    Column("status", Integer),  # of the answer; NULL until there is one
    Column("headers", Json),
    Column("body", LargeBinary),  # NULL with a status: it held a secret
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Index(None, "created_at"),
)

operator = Table(
    "operator",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password_hash", Text, nullable=False),  # argon2id, with its costs
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant),
    Column("disabled_at", Instant),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen_at", Instant, nullable=False),
)
