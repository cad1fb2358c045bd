"""The `tollhouse` command: the processes, and what an operator does from a shell.

Only the module of the verb that was typed is imported: to say what verbs there are, none is needed.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

VERBS = {
    "serve": ("processes", "Serve the API on APP_HOST:APP_HOST_PORT, in SERVER_PROCESSES processes."),
    "work": ("processes", "Work on Stripe's events until told to stop; what is in hand is finished first."),
    "dev": ("processes", "Run everything on this machine: stores, Stripe sandbox, service, worker, demo app."),
    "migrate": ("processes", "Bring the database to the schema that this version needs."),
    "events": (
        "events",
        "List stored events, the newest first: what became of each, and the error of what did not succeed.",
    ),
    "replay": ("events", "Try a stored event again, or all that are buried; safe at any time and however often."),
    "corrections": (
        "corrections",
        "List what Tollhouse does at Stripe by itself, the newest first: second subscriptions and second trials.",
    ),
    "correct": (
        "corrections",
        "Carry out a correction that was reported or given up, or all that were given up; what is done is not done "
        "twice.",
    ),
    "doctor": (
        "doctor",
        "Look whether all is well: the invariants, the work that waits, the processes, the audit trail. "
        "Changes nothing.",
    ),
    "reconcile": ("reconcile", "Compare all we hold with Stripe's lists and repair what differs."),
    "import": (
        "importing",
        "Adopt the customers of an existing Stripe account, with their subscriptions and one-time checkouts.",
    ),
    "import-payments": (
        "importing",
        "Give grants for one-time payments that belong to no customer: each a charge, payment intent or checkout "
        "session.",
    ),
    "check": ("access", "Say whether a user may use a feature; exits with 0 if so, else with 1."),
    "why": (
        "access",
        "Explain why a feature is open or closed: every source considered, and the rule by which it counts or not.",
    ),
    "timeline": (
        "access",
        "Tell what happened to a user, newest first: checkouts, money, Stripe's events, changes and their causes.",
    ),
    "backup": (
        "backup",
        "Back up the whole database to a file, while everything runs: PostgreSQL's custom format, read back at once.",
    ),
    "restore": (
        "backup",
        "Make an empty database what a backup says, at this version's schema and with versions above all seen before.",
    ),
    "metrics": ("metrics", "Show what a project earns, or the fleet: MRR and its movements, customers, revenue."),
}
"""Verb → the module that carries it out, and what it does: its docstring's first paragraph."""

GROUPS = {
    "catalog": "What a project sells.",
    "grants": "Access that nobody paid for, and exceptions for one user.",
    "keys": "The keys with which apps and operators' machines call.",
    "operators": "The people who run the fleet, each under a name of their own.",
    "webhook": "The webhook endpoint in Stripe.",
    "audit": "Who changed what, and whether the trail is still what was recorded.",
    "notifications": "What apps hear, and where.",
}
"""Groups of verbs, each in the module of its name, and what they are about."""


class _Tollhouse(TyperGroup):
    """What it holds can tell its name and purpose; what can be run is imported when it is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        sentences = {verb: sentence for verb, (_, sentence) in VERBS.items()} | GROUPS
        self.commands = {name: TyperCommand(name, help=sentence) for name, sentence in sentences.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load(name), rest


app = typer.Typer(
    cls=_Tollhouse,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One place for money and access of a fleet of apps.",
)


@app.callback()
def _every_verb() -> None:
    """Typer wants something to hang the verbs on."""


def load(name: str) -> Any:
    """The verb, or the group of verbs, as it can be run."""
    module = name if name in GROUPS else VERBS[name][0]
    with _nothing_collected():
        group = typer.main.get_group(import_module(f"{__name__}.{module}").app)
    group.name = name
    return group if name in GROUPS else group.commands[name]


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Nothing that is imported is garbage, and looking for some takes a sixth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def main() -> None:
    """Runs the command; what a person can mend is said in a sentence and exits with 1."""
    try:
        app()
    except Exception as error:
        from .common import say

        say(error)
        raise
