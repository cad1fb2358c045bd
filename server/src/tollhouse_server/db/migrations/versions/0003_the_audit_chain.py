"""The audit trail is append-only and hash-chained

The chain is made here and not in Python: then whatever inserts an entry has it sealed, older code too, and the lock on
the chain is taken last, when the transaction commits, so it can wait for no lock that another holder waits for.
docs/explanation/audit.md tells the form that is hashed; audit/chain.py computes it again without these functions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NETSTRING = """
CREATE FUNCTION audit_netstring(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL THEN '-' ELSE length(value) || ':' || value END
"""

# The lock lasts to the end of the transaction, so a chain has neither gap nor fork: whoever comes next sees this end.
# A transaction that records in two chains locks them in the order in which it recorded. Ordered by both columns, or the
# index would not serve where project_id is NULL.
SEAL = """
CREATE FUNCTION audit_seal_entry(entry audit) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, "{schema}", pg_temp AS $$
DECLARE
  last record;
BEGIN
  PERFORM pg_advisory_xact_lock(7263003, hashtext(coalesce(entry.project_id::text, 'fleet')));
  IF entry.project_id IS NULL THEN
    SELECT position, hash INTO last FROM audit_seal
      WHERE project_id IS NULL ORDER BY project_id DESC, position DESC LIMIT 1;
  ELSE
    SELECT position, hash INTO last FROM audit_seal
      WHERE project_id = entry.project_id ORDER BY project_id DESC, position DESC LIMIT 1;
  END IF;
  INSERT INTO audit_seal (audit_id, project_id, position, hash) VALUES (
    entry.id,
    entry.project_id,
    coalesce(last.position, 0) + 1,
    sha256(coalesce(last.hash, decode(repeat('00', 32), 'hex')) || convert_to(
      audit_netstring(entry.id::text)
      || audit_netstring(entry.project_id::text)
      || audit_netstring(entry.customer_id::text)
      || audit_netstring((extract(epoch FROM entry.at) * 1000000)::bigint::text)
      || audit_netstring(entry.action)
      || audit_netstring(entry.actor)
      || audit_netstring(entry.cause)
      || audit_netstring(entry.reason)
      || audit_netstring(entry."before"::text)
      || audit_netstring(entry."after"::text),
      'UTF8'
    ))
  );
END
$$
"""

ON_COMMIT = """
CREATE FUNCTION audit_seal_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, "{schema}", pg_temp AS $$
BEGIN
  PERFORM audit_seal_entry(NEW);
  RETURN NULL;
END
$$
"""

REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'The audit trail is append-only: % of table % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege',
    HINT = 'What was recorded wrongly is set right by a further entry.';
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "audit_seal",
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("audit_seal_project_id_fkey")),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("audit_seal_pkey")),
        sa.UniqueConstraint(
            "project_id",
            "position",
            name=op.f("audit_seal_project_id_position_key"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    # After the table, whose foreign key locks `project`: publishing locks it before it records.
    op.create_index(op.f("audit_project_id_id_idx"), "audit", ["project_id", "id"], unique=False)
    schema = op.get_bind().scalar(sa.text("SELECT current_schema()"))
    op.execute(NETSTRING)
    op.execute(SEAL.format(schema=schema))
    op.execute(ON_COMMIT.format(schema=schema))
    op.execute(REFUSE)
    # First the trigger, whose lock keeps older code from inserting meanwhile; then what was recorded before it.
    op.execute(
        "CREATE CONSTRAINT TRIGGER audit_seals AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION audit_seal_inserted()"
    )
    op.execute("DO $$ BEGIN PERFORM audit_seal_entry(audit) FROM audit ORDER BY id; END $$")
    for table in ("audit", "audit_seal"):
        op.execute(
            f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        )
    op.execute("REVOKE ALL ON FUNCTION audit_seal_entry(audit) FROM PUBLIC")
