"""The `tollhouse` command: the processes, and what an operator does from a shell.

What only one command needs it imports itself: the others start the sooner.
"""

import typer
from sqlalchemy.exc import OperationalError

from ..db.isolation import CannotIsolate
from ..domain.errors import Problem
from ..settings import SettingsInvalid
from . import (
    access,
    audit,
    backup,
    catalog,
    doctor,
    events,
    keys,
    metrics,
    notifications,
    operators,
    processes,
    reconcile,
    webhook,
)
from .common import err, fail

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="One place for money and access of a fleet of apps."
)
app.add_typer(processes.app)
app.add_typer(events.app)
app.add_typer(doctor.app)
app.add_typer(reconcile.app)
app.add_typer(access.app)
app.add_typer(backup.app)
app.add_typer(metrics.app)
app.add_typer(catalog.app, name="catalog")
app.add_typer(keys.app, name="keys")
app.add_typer(operators.app, name="operators")
app.add_typer(webhook.app, name="webhook")
app.add_typer(audit.app, name="audit")
app.add_typer(notifications.app, name="notifications")


def main() -> None:
    """Runs the command; what a person can mend is said in a sentence and exits with 1."""
    try:
        app()
    except (CannotIsolate, SettingsInvalid, Problem) as problem:
        for error in getattr(problem, "errors", []):
            err.print(f"{error['pointer']}: {error['detail']}", markup=False)
        fail(str(problem))
    except OperationalError as away:
        fail(f"PostgreSQL does not answer: {str(away.orig).strip() or 'no reason given'}\nCheck DATABASE_URL.")


if __name__ == "__main__":
    main()
