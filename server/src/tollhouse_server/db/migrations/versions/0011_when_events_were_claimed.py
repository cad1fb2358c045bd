"""When a subject was last claimed can be told: it is not read from Stripe again within a second"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inbox", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "inbox_claimed_idx", "inbox", ["subject", "claimed_at"], postgresql_where=sa.text("claimed_at IS NOT NULL")
    )
