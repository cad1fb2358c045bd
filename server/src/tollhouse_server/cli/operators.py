"""The people who run the fleet, each under a name of their own."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import select

from ..audit import Cause
from ..commands.add_operator import add_operator
from ..commands.change_operator import disable_operator, enable_operator, set_password
from ..db.engine import Tx
from ..db.tables import operator
from ..passwords import generate_password
from .common import Records, acting_operator, err, fail, out, print_table, ready_settings, with_records, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer(no_args_is_help=True, help="The people who run the fleet, each under a name of their own.")

Name = Annotated[str, typer.Argument(help="The operator's name, in lower case: the audit trail shows it.")]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make a password and print it, this once, instead of asking for one.")
]


@app.command("add")
def add(name: Name, generate: Generate = False) -> None:
    """Name an operator, who may then call /v1/admin with name and password."""
    password = _password(generate)

    async def change(tx: Tx, why: Cause, at: datetime) -> bool:
        await add_operator(tx, name, password, why, at=at)
        return True

    _change("add", name, change)
    _show(f"{name} is an operator.", password if generate else None)


@app.command("list")
def list_operators() -> None:
    """List the operators, with when each was last seen."""

    async def run(records: Records) -> None:
        async with records.database.transaction() as tx:
            rows = (await tx.execute(select(operator).order_by(operator.c.name))).all()
        print_table(
            ("name", "since", "last seen", "disabled"),
            [(one.name, *map(_when, (one.created_at, one.last_seen_at, one.disabled_at))) for one in rows],
        )

    with_records(ready_settings(), run)


def _when(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else "never"


@app.command("disable")
def disable(name: Name) -> None:
    """Shut an operator out at once; what they did stays in the audit trail under their name."""
    _change("disable", name, lambda tx, why, at: disable_operator(tx, name, why, at=at))
    _show(f"{name} is shut out.")


@app.command("enable")
def enable(name: Name) -> None:
    """Let a disabled operator in again, with the password they had."""
    _change("enable", name, lambda tx, why, at: enable_operator(tx, name, why, at=at))
    _show(f"{name} is an operator again.")


@app.command("set-password")
def change_password(name: Name, generate: Generate = False) -> None:
    """Set an operator's password; the old one ends at once."""
    password = _password(generate)
    _change("set-password", name, lambda tx, why, at: set_password(tx, name, password, why, at=at))
    _show(f"{name} has a new password.", password if generate else None)


def _change(command: str, name: str, change: Callable[[Tx, Cause, datetime], Awaitable[bool]]) -> None:
    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            if not await change(tx, acting_operator(f"operators {command}"), resources.clock.now()):
                fail(f"There is no operator {name} of whom this could be said: see `tollhouse operators list`.")

    with_resources(ready_settings(), run)


def _password(generate: bool) -> str:
    if generate:
        return generate_password()
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True))


def _show(sentence: str, password: str | None = None) -> None:
    """The password alone goes to standard output, for whoever pipes it into a safe."""
    err.print(sentence, markup=False)
    if password is not None:
        out.print(password, markup=False)
