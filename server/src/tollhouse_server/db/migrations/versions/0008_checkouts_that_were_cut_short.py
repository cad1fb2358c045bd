"""Checkouts whose opening was cut short are found without reading all"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("checkout_opening_idx", "checkout", ["created_at"], postgresql_where=sa.text("state = 'opening'"))
