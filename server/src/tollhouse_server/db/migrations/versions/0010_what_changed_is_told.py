"""Every change of what is cached is numbered and told, whoever makes it

PostgreSQL does it and not Python: then older code, the command line and a person with psql tell it too. The channel is
`tollhouse_changes`; each message is JSON: `project` (its id), `version`, and `user`, null where it is the project that
changed: its keys, its catalog, its origins.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# `changed_in` is the transaction's own number: a reader who knows the oldest one still under way
# (pg_snapshot_xmin(pg_current_snapshot())) goes on from there and misses nothing.
OF_CUSTOMER = """
CREATE FUNCTION snapshot_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND (NEW.version, NEW.entitlements) IS NOT DISTINCT FROM (OLD.version, OLD.entitlements) THEN
    RETURN NEW;
  END IF;
  NEW.changed_in := pg_current_xact_id()::text::bigint;
  PERFORM pg_notify('tollhouse_changes',
    json_build_object('project', NEW.project_id, 'user', NEW.user_id, 'version', NEW.version)::text);
  RETURN NEW;
END
$$
"""
OF_PROJECT = """
CREATE FUNCTION project_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.version := OLD.version + 1;
  PERFORM pg_notify('tollhouse_changes',
    json_build_object('project', NEW.id, 'user', NULL, 'version', NEW.version)::text);
  RETURN NEW;
END
$$
"""
OF_KEY = """
CREATE FUNCTION api_key_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, "{schema}", pg_temp AS $$
BEGIN
  UPDATE project SET version = version WHERE id = NEW.project_id;
  RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.add_column("project", sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("snapshot", sa.Column("changed_in", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_index(op.f("snapshot_project_id_changed_in_idx"), "snapshot", ["project_id", "changed_in"])
    schema = op.get_bind().scalar(sa.text("SELECT current_schema()"))
    for function in (OF_CUSTOMER, OF_PROJECT, OF_KEY.format(schema=schema)):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER snapshot_changes BEFORE INSERT OR UPDATE ON snapshot"
        " FOR EACH ROW EXECUTE FUNCTION snapshot_changed()"
    )
    op.execute(
        "CREATE TRIGGER project_changes BEFORE UPDATE ON project FOR EACH ROW EXECUTE FUNCTION project_changed()"
    )
    # A key that is new opens nothing that was cached.
    op.execute(
        "CREATE TRIGGER api_key_changes AFTER UPDATE OF scopes, hash, expires_at, revoked_at ON api_key"
        " FOR EACH ROW WHEN (NEW.project_id IS NOT NULL) EXECUTE FUNCTION api_key_changed()"
    )
