"""Notifications: the endpoints of projects, the outbox and its deliveries"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notification_endpoint",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_because IS NULL)",
            name=op.f("notification_endpoint_disabled_for_a_reason_check"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("notification_endpoint_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("notification_endpoint_pkey")),
    )
    op.create_index(op.f("notification_endpoint_project_id_idx"), "notification_endpoint", ["project_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(customer_id IS NULL) = (version IS NULL)", name=op.f("outbox_customer_has_version_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("outbox_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("outbox_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
        sa.UniqueConstraint("customer_id", "version", name=op.f("outbox_customer_id_version_key")),
    )
    op.create_index(op.f("outbox_created_at_idx"), "outbox", ["created_at"], unique=False)
    op.create_index(op.f("outbox_project_id_created_at_idx"), "outbox", ["project_id", "created_at"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (next_attempt_at IS NOT NULL)", name=op.f("delivery_pending_has_next_attempt_check")
        ),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name=op.f("delivery_settled_has_time_check")),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'given_up')", name=op.f("delivery_state_check")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["notification_endpoint.id"], name=op.f("delivery_endpoint_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["message_id"], ["outbox.id"], name=op.f("delivery_message_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("delivery_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("delivery_pkey")),
        sa.UniqueConstraint("endpoint_id", "message_id", name=op.f("delivery_endpoint_id_message_id_key")),
    )
    op.create_index(
        "delivery_due_idx",
        "delivery",
        ["endpoint_id", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(op.f("delivery_endpoint_id_id_idx"), "delivery", ["endpoint_id", "id"], unique=False)
    op.create_index(
        "delivery_leased_idx",
        "delivery",
        ["endpoint_id", "lease_until"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index(op.f("delivery_message_id_idx"), "delivery", ["message_id"], unique=False)
    op.create_index(
        "delivery_order_idx",
        "delivery",
        ["endpoint_id", "customer_id", "version"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "delivery_settled_idx",
        "delivery",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
