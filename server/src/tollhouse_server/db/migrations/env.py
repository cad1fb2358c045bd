"""Alembic's entry point: runs the revisions on the connection that db/migrate.py hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from tollhouse_server.db.columns import Value
from tollhouse_server.db.tables import metadata


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """A revision names PostgreSQL's types, not ours: it must run when our classes have gone elsewhere."""
    if kind == "type" and isinstance(item, Value):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB(none_as_null=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_server_default=True,
    transaction_per_migration=True,
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
