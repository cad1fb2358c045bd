"""Alembic's entry point: runs the revisions on the connection that db/migrate.py hands over."""

from alembic import context
from tollhouse_server.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, compare_server_default=True, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
