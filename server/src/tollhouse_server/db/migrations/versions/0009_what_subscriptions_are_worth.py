"""Bills, what subscriptions are worth a month, and what was paid: the facts of the metrics"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _of_a_customer(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f(f"{table}_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f(f"{table}_project_id_fkey")),
    )


def upgrade() -> None:
    op.create_table(
        "billing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("billing", postgresql.JSONB(none_as_null=True), nullable=False),
        *_of_a_customer("billing"),
        sa.PrimaryKeyConstraint("id", name=op.f("billing_pkey")),
    )
    op.create_table(
        "seen_worth",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worth", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        *_of_a_customer("seen_worth"),
        sa.PrimaryKeyConstraint("id", name=op.f("seen_worth_pkey")),
    )
    op.create_table(
        "stretch",
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("monthly", sa.Text(), nullable=False),
        *_of_a_customer("stretch"),
        sa.CheckConstraint("ends_at IS NULL OR ends_at > starts_at", name=op.f("stretch_not_empty_check")),
        sa.PrimaryKeyConstraint("subscription_id", "starts_at", name=op.f("stretch_pkey")),
    )
    op.create_table(
        "money_fact",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        *_of_a_customer("money_fact"),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("money_fact_pkey")),
    )
    for table in ("billing", "seen_worth", "stretch", "money_fact"):
        op.create_index(op.f(f"{table}_customer_id_idx"), table, ["customer_id"])
    op.create_index(op.f("stretch_project_id_ends_at_idx"), "stretch", ["project_id", "ends_at"])
    op.create_index(op.f("money_fact_project_id_at_idx"), "money_fact", ["project_id", "at"])
