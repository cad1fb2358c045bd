"""Changes of subscriptions that are asked for: a row before Stripe hears of it"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plan_change",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("wanted", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("request", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('opening', 'done', 'refused')", name=op.f("plan_change_state_check")),
        sa.CheckConstraint(
            "(state = 'opening') = (settled_at IS NULL)", name=op.f("plan_change_settled_has_time_check")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("plan_change_project_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("plan_change_customer_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("plan_change_pkey")),
    )
    op.create_index(op.f("plan_change_customer_id_idx"), "plan_change", ["customer_id"])
    op.create_index(
        "plan_change_opening_idx",
        "plan_change",
        ["customer_id"],
        unique=True,
        postgresql_where=sa.text("state = 'opening'"),
    )
