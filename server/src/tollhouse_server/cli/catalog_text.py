"""A plan in lines for a person: what is made +, what becomes otherwise ~, what is taken away -."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from ..commands.plan_catalog import Plan
from ..stripe_gateway.catalog_plan import Do, Kind, Step

COLOURS = {"+": "green", "~": "yellow", "-": "red"}
MARKS = {Do.CREATE: "+", Do.CHANGE: "~", Do.ARCHIVE: "-"}
SHOWN = 20
"""How many effects on customers are shown; --json has them all."""


def show_plan(out: Console, plan: Plan) -> None:
    for line in _lines(plan):
        out.print(Text(line, style=COLOURS.get(line.strip()[:1], "")))


def _lines(plan: Plan) -> Iterator[str]:
    of = plan.prepared
    if of.nothing_to_do:
        yield f"{of.after.project}, catalog version {of.version}: nothing to do: everything is so already."
        return
    if of.todo:
        yield "Stripe:"
        for step in of.todo:
            yield from _step(step)
    if of.changes:
        yield f"Catalog, version {of.version} → {of.after.version}:" if of.version else "Catalog, the first:"
        yield from (f"  {_mark(sentence)} {sentence}" for sentence in of.changes)
    yield from _customers(plan)
    for one in of.asked:
        yield f"Undecided, product {one.product}: {one}. Say --existing keep or --existing move."
    counts = {mark: sum(MARKS[step.do] == mark for step in of.todo) for mark in COLOURS}
    yield f"{plan.id}: at Stripe {counts['+']} to create, {counts['~']} to change, {counts['-']} to archive."


def _step(step: Step) -> Iterator[str]:
    name = step.name if step.kind is not Kind.ATTACHMENT else f"{step.name} of product {step.product}"
    instead = f", instead of {step.stripe_id}" if step.do is Do.CREATE and step.stripe_id else ""
    archived = f": {step.stripe_id} is sold no longer" if (step.do, step.kind) == (Do.ARCHIVE, Kind.PRICE) else ""
    kind = "feature" if step.kind is Kind.ATTACHMENT else step.kind
    yield f"  {MARKS[step.do]} {kind} {name}{instead}{archived}"
    if step.do is not Do.ARCHIVE:
        yield from (f"      {key}: {said}" for key, said in _said(step.before, step.after))


def _said(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of what is made all that it says, of what is there what becomes otherwise."""
    for key, value in after.items():
        if key not in before and value is not None and key != "metadata":
            yield key, _value(value)
        elif key in before and before[key] != value:
            yield key, f"{_value(before[key])} → {_value(value)}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mark(sentence: str) -> str:
    """Of a sentence of `domain.catalog_changes`."""
    return "+" if sentence.startswith("New ") else "-" if " is gone: " in sentence else "~"


def _customers(plan: Plan) -> Iterator[str]:
    radius = plan.radius
    if not radius.effects:
        if plan.prepared.version:
            yield "Customers: nobody gains or loses anything."
        return
    yield f"Customers, {radius.whole} of {radius.looked_at:,}:"
    for effect, touched in radius.effects[:SHOWN]:
        yield f"  {'-' if effect.takes else '+' if effect.gives else '~'} {touched}: {effect}"
    if len(radius.effects) > SHOWN:
        yield f"  … and {len(radius.effects) - SHOWN} more, which --json has"
