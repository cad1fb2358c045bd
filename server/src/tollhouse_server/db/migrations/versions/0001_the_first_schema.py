"""The first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE read_number")
    op.create_table(
        "project",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("redirect_origins", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("catalog_version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("project_pkey")),
        sa.UniqueConstraint("slug", name=op.f("project_slug_key")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_pkey")),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("api_key_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
    )
    op.create_index(op.f("api_key_project_id_idx"), "api_key", ["project_id"], unique=False)
    op.create_table(
        "catalog",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("catalog_project_id_fkey")),
        sa.UniqueConstraint("project_id", "version", name=op.f("catalog_project_id_version_key")),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("customer_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_pkey")),
        sa.UniqueConstraint("project_id", "user_id", name=op.f("customer_project_id_user_id_key")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("customer_stripe_customer_id_key")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'settled') = (outcome IS NOT NULL)", name=op.f("inbox_settled_has_outcome_check")),
        sa.CheckConstraint(
            "(state IN ('received', 'deferred')) = (next_attempt_at IS NOT NULL)",
            name=op.f("inbox_pending_has_next_attempt_check"),
        ),
        sa.CheckConstraint("state IN ('received', 'settled', 'deferred', 'buried')", name=op.f("inbox_state_check")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("inbox_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("inbox_pkey")),
        sa.UniqueConstraint("event_id", name=op.f("inbox_event_id_key")),
    )
    op.create_index("inbox_buried_idx", "inbox", ["id"], unique=False, postgresql_where=sa.text("state = 'buried'"))
    op.create_index(
        "inbox_pending_idx",
        "inbox",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "inbox_pending_subject_idx",
        "inbox",
        ["subject"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_table(
        "price",
        sa.Column("stripe_price_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("lookup_key", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("stripe_product_id", sa.Text(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("price_project_id_fkey")),
        sa.PrimaryKeyConstraint("stripe_price_id", name=op.f("price_pkey")),
    )
    op.create_index(
        "price_current_lookup_key_key", "price", ["lookup_key"], unique=True, postgresql_where=sa.text("current")
    )
    op.create_index(op.f("price_project_id_idx"), "price", ["project_id"], unique=False)
    op.create_table(
        "access_grant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=True),
        sa.Column("value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoke_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(feature IS NULL) <> (product IS NULL)", name=op.f("access_grant_one_target_check")),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoke_reason IS NULL)", name=op.f("access_grant_revoked_with_reason_check")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("access_grant_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("access_grant_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("access_grant_pkey")),
    )
    op.create_index(op.f("access_grant_customer_id_idx"), "access_grant", ["customer_id"], unique=False)
    op.create_index(
        op.f("access_grant_project_id_created_at_idx"), "access_grant", ["project_id", "created_at"], unique=False
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("audit_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("audit_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_customer_id_id_idx"), "audit", ["customer_id", "id"], unique=False)
    op.create_table(
        "checkout",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("lookup_key", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("asked", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("request", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment_status", sa.Text(), server_default=sa.text("'unpaid'"), nullable=False),
        sa.Column("stripe_session_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('opening', 'open', 'complete', 'expired')", name=op.f("checkout_state_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("checkout_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("checkout_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("checkout_pkey")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("checkout_stripe_session_id_key")),
    )
    op.create_index(op.f("checkout_customer_id_idx"), "checkout", ["customer_id"], unique=False)
    op.create_table(
        "purchase",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("payment_status", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("purchase_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("purchase_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("purchase_pkey")),
    )
    op.create_index(op.f("purchase_customer_id_idx"), "purchase", ["customer_id"], unique=False)
    op.create_table(
        "snapshot",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("catalog_version", sa.Integer(), nullable=False),
        sa.Column("entitlements", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_change_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("snapshot_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("snapshot_project_id_fkey")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("snapshot_pkey")),
        sa.UniqueConstraint("customer_id", name=op.f("snapshot_customer_id_key")),
    )
    op.create_index(
        "snapshot_next_change_at_idx",
        "snapshot",
        ["next_change_at"],
        unique=False,
        postgresql_where=sa.text("next_change_at IS NOT NULL"),
    )
    op.create_table(
        "subscription",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("subscription_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("subscription_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("subscription_pkey")),
    )
    op.create_index(op.f("subscription_customer_id_idx"), "subscription", ["customer_id"], unique=False)
