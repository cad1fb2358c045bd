"""Beside a catalog's document stands what existing customers keep of earlier ones"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("catalog", sa.Column("kept", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'")))
