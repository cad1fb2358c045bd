"""What the service does at Stripe by itself, and the trials it remembers"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkout", sa.Column("trial_refused", sa.Text(), nullable=True))
    op.create_table(
        "correction",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("beside", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("outcome", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('double', 'trial-again')", name=op.f("correction_kind_check")),
        sa.CheckConstraint(
            "action IN ('cancel', 'cancel-and-refund', 'end-trial')", name=op.f("correction_action_check")
        ),
        sa.CheckConstraint("state IN ('reported', 'pending', 'done', 'given-up')", name=op.f("correction_state_check")),
        sa.CheckConstraint(
            "(state = 'pending') = (next_attempt_at IS NOT NULL)",
            name=op.f("correction_pending_has_next_attempt_check"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("correction_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("correction_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("correction_pkey")),
        sa.UniqueConstraint("subscription_id", "kind", name=op.f("correction_subscription_id_kind_key")),
    )
    op.create_index(op.f("correction_customer_id_idx"), "correction", ["customer_id"], unique=False)
    op.create_index(op.f("correction_found_at_id_idx"), "correction", ["found_at", "id"], unique=False)
    op.create_index(
        "correction_due_idx",
        "correction",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_table(
        "trial_use",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("used_by", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("used_by IN ('user', 'email', 'card')", name=op.f("trial_use_used_by_check")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("trial_use_project_id_fkey")),
        sa.UniqueConstraint(
            "project_id", "plan", "used_by", "hash", name=op.f("trial_use_project_id_plan_used_by_hash_key")
        ),
    )
