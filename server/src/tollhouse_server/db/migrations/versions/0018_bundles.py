"""What customers of one project are brought in others is stored there"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bundled",
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("customer_id", sa.Uuid(), sa.ForeignKey("customer.id"), primary_key=True),
        sa.Column("source_customer_id", sa.Uuid(), sa.ForeignKey("customer.id"), primary_key=True),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
    )
    op.create_index("bundled_source_customer_id_idx", "bundled", ["source_customer_id"])
    op.create_index("bundled_project_id_idx", "bundled", ["project_id"])
