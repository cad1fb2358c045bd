"""Access that nobody paid for, and exceptions for one user."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Row, select

from ..commands.give_grant import give_grant
from ..commands.revoke_grant import revoke_grant
from ..db.tables import customer, grant
from ..domain.catalog import UNLIMITED, Value
from ..domain.giving import GrantRequest
from .common import (
    INSTANTS,
    ProjectArgument,
    Records,
    UserArgument,
    acting_operator,
    fail,
    find_project,
    out,
    print_table,
    ready_settings,
    with_records,
    with_resources,
)

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="Access that nobody paid for, and exceptions for one user.")

Reason = Annotated[str, typer.Option(help="Why: it is kept in the audit trail.")]


def _value(written: str | None) -> Value | None:
    if written is None:
        return None
    if written == UNLIMITED:
        return UNLIMITED
    if written in ("true", "false"):
        return written == "true"
    try:
        return int(written)
    except ValueError:
        fail('A value is true, false, a whole number or "unlimited".')


def _utc(given: datetime | None) -> datetime | None:
    return given and given.replace(tzinfo=UTC)


@app.command("give")
def give(
    project: ProjectArgument,
    user: UserArgument,
    reason: Reason,
    feature: Annotated[str | None, typer.Option(help="The feature's code; or give a product.")] = None,
    value: Annotated[str | None, typer.Option(help='true, false, a whole number or "unlimited".')] = None,
    product: Annotated[str | None, typer.Option(help="The product's code; or give a feature.")] = None,
    starts_at: Annotated[
        datetime | None, typer.Option(formats=INSTANTS, help="From when, in UTC; now if absent.")
    ] = None,
    ends_at: Annotated[
        datetime | None, typer.Option(formats=INSTANTS, help="Until when, in UTC; for good if absent.")
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="The feature has exactly this value, also false or 0, whatever else is.")
    ] = False,
) -> None:
    """Give a user a feature or a product, or with --override a feature's exact value; print the grant's id."""
    wanted = GrantRequest(
        user, reason, feature, _value(value), product, _utc(starts_at), _utc(ends_at), override=override
    )  # fmt: skip

    async def run(resources: "Resources") -> str:
        why = replace(acting_operator("grants give"), reason=reason)
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
            return await give_grant(tx, resources.refresh, owner, wanted, why, at=resources.clock.now())

    out.print(with_resources(ready_settings(), run), markup=False)


@app.command("revoke")
def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="Its id, as `tollhouse grants list` shows it.")],
    reason: Reason,
) -> None:
    """Take a grant back at once: what else opens the feature stands."""

    async def run(resources: "Resources") -> None:
        why = replace(acting_operator("grants revoke"), reason=reason)
        async with resources.database.transaction() as tx:
            if not await revoke_grant(tx, resources.refresh, grant_id, why, at=resources.clock.now()):
                fail(f"There is no grant {grant_id}.")
        out.print(f"{grant_id} is revoked.", markup=False)

    with_resources(ready_settings(), run)


@app.command("list")
def list_grants(project: ProjectArgument, user: UserArgument) -> None:
    """List a user's grants, newest first, revoked ones too."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            query = (
                select(grant)
                .join(customer, customer.c.id == grant.c.customer_id)
                .where(customer.c.project_id == owner.id, customer.c.user_id == user)
                .order_by(grant.c.created_at.desc(), grant.c.id)
            )
            rows = (await tx.execute(query)).all()
        print_table(("id", "gives", "from", "until", "by", "reason"), [_line(row) for row in rows])

    with_records(ready_settings(), run)


def _line(row: Row[Any]) -> tuple[str, ...]:
    value = str(row.value).lower() if isinstance(row.value, bool) else row.value
    gives = row.product or f"{row.feature} {'exactly ' * row.override}{value}"
    ends = f"{row.ends_at:%Y-%m-%d %H:%M}" if row.ends_at else "for good"
    until = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else ends
    return row.id, gives, f"{row.starts_at:%Y-%m-%d %H:%M}", until, row.operator, row.reason
