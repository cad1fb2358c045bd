"""A grant may override: in its time the feature has exactly its value, whatever else gives it"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("access_grant", sa.Column("override", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_check_constraint(
        op.f("access_grant_override_of_feature_check"), "access_grant", "feature IS NOT NULL OR NOT override"
    )
