"""Reconciliation: its runs, the differences they found, and what a comparison needs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("customer", sa.Column("given_back", postgresql.JSONB(none_as_null=True), nullable=True))
    op.add_column("inbox", sa.Column("found_by", sa.Text(), nullable=True))
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reached", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", postgresql.JSONB(none_as_null=True), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("requests", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stripe_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("paced_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('catch-up', 'sweep')", name=op.f("reconciliation_kind_check")),
        sa.CheckConstraint("trigger IN ('schedule', 'operator', 'cli')", name=op.f("reconciliation_trigger_check")),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'finished', 'failed')", name=op.f("reconciliation_state_check")
        ),
        sa.CheckConstraint(
            "(state IN ('finished', 'failed')) = (finished_at IS NOT NULL)",
            name=op.f("reconciliation_over_has_finished_at_check"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("reconciliation_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("reconciliation_pkey")),
    )
    op.create_index(
        "reconciliation_one_at_a_time_key",
        "reconciliation",
        ["kind"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(op.f("reconciliation_kind_started_at_idx"), "reconciliation", ["kind", "started_at"], unique=False)
    for name, column in (("reconciliation_seen", "id"), ("reconciliation_suspect", "stripe_customer_id")):
        op.create_table(
            name,
            sa.Column("run_id", sa.Text(), nullable=False),
            sa.Column(column, sa.Text(), nullable=False),
            sa.ForeignKeyConstraint(
                ["run_id"], ["reconciliation.id"], name=op.f(f"{name}_run_id_fkey"), ondelete="CASCADE"
            ),
            sa.PrimaryKeyConstraint("run_id", column, name=op.f(f"{name}_pkey")),
        )
    _create_drift()


def _create_drift() -> None:
    op.create_table(
        "drift",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("ours", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("stripes", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repaired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "verdict IN ('paid_but_locked_out', 'unpaid_but_allowed')", name=op.f("drift_verdict_check")
        ),
        sa.CheckConstraint("NOT repaired OR closed_at IS NOT NULL", name=op.f("drift_repaired_is_closed_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("drift_customer_id_fkey")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("drift_project_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["reconciliation.id"], name=op.f("drift_run_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("drift_pkey")),
    )
    op.create_index(op.f("drift_run_id_id_idx"), "drift", ["run_id", "id"], unique=False)
    for name, column, where in (
        ("drift_open_idx", "customer_id", "closed_at IS NULL"),
        ("drift_event_id_idx", "event_id", "closed_at IS NULL"),
        ("drift_closed_at_idx", "closed_at", "verdict IS NOT NULL"),
    ):
        op.create_index(name, "drift", [column], unique=False, postgresql_where=sa.text(where))
