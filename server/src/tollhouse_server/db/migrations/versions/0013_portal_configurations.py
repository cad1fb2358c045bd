"""The portal is configured for each plan group, so that plans are changed within it only"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "portal_configuration",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("request", JSONB(), nullable=False),
        sa.Column("stripe_configuration_id", sa.Text(), unique=True),
        sa.Column("features", JSONB()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("project_id", "group"),
    )
