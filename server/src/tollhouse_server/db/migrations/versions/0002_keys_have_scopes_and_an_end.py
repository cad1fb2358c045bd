"""Keys have scopes and an end, and operators' machines have keys"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_key",
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{check,checkout,manage}'"),
            nullable=False,
        ),
    )
    op.add_column("api_key", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("api_key", "project_id", nullable=True)
    op.create_check_constraint(
        op.f("api_key_operator_has_no_project_check"),
        "api_key",
        "(project_id IS NULL) = ('operator' = ANY (scopes))",
    )
