"""What a user may do, and why."""

from datetime import UTC
from typing import Annotated

import typer

from .. import history, snapshot
from ..catalogs import current_catalog
from ..domain.entitlements import answer
from ..domain.explain import Explanation, explain
from ..domain.time import until
from ..history import Served
from .common import (
    At,
    FeatureArgument,
    ProjectArgument,
    Records,
    UserArgument,
    fail,
    find_project,
    out,
    ready_settings,
    with_records,
)

app = typer.Typer()


@app.command()
def check(project: ProjectArgument, user: UserArgument, feature: FeatureArgument) -> None:
    """Say whether a user may use a feature; exits with 0 if so, else with 1."""

    async def run(records: Records) -> bool:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            known = (await current_catalog(tx, owner)).features.get(feature) or fail(f"No feature {feature}.")
            stored = await snapshot.read(tx, owner.id, user)
        verdict = answer(stored.entitlements, known, records.clock.now())
        said = f"allowed ({verdict.value}), {until(verdict.valid_until)}" if verdict.allowed else "not allowed"
        out.print(f"{said}: {verdict.reason}", markup=False)
        return verdict.allowed

    raise typer.Exit(0 if with_records(ready_settings(), run) else 1)


@app.command()
def why(project: ProjectArgument, user: UserArgument, feature: FeatureArgument, at: At = None) -> None:
    """Explain why a feature is open or closed: every source considered, and the rule by which it counts or not."""

    async def run(records: Records) -> tuple[Explanation, Served | None, dict[str, list[str]]]:
        instant, now = at.replace(tzinfo=UTC) if at else None, records.clock.now()
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            catalog = await current_catalog(tx, owner)
            known = catalog.features.get(feature) or fail(f"No feature {feature} in the catalog of {project}.")
            explained = explain(catalog, await snapshot.evidence_of(tx, owner.id, user), known, instant or now)
            past = instant is not None and instant < now
            was = await history.served(tx, owner.id, user, known, instant) if past and instant else None
            events = await history.events_about(tx, owner.id, user, explained)
        return explained, was, events

    explained, was, events = with_records(ready_settings(), run)
    out.print(explained.sentence, markup=False)
    for source in explained.sources:
        mark = "+" if source.counts else "-"
        out.print(f"  {mark} {source.kind} {source.id} [{source.rule}] {source.sentence}", markup=False)
        if events.get(source.id):
            out.print(f"      events: {', '.join(events[source.id])}", markup=False)
    if was is not None:
        said = f"allowed ({was.answer.value})" if was.answer.allowed else "not allowed"
        differs = (was.answer.allowed, was.answer.value) != (explained.allowed, explained.value)
        otherwise = " What is known now says otherwise." if differs else ""
        because = f"{was.answer.reason}, version {was.version}, since {was.changed_at.isoformat()} by {was.cause}"
        out.print(f"  served then: {said}: {because}.{otherwise}", markup=False)
    if explained.next_change_at:
        out.print(f"  next change: {explained.next_change_at.isoformat()}")


@app.command()
def timeline(
    project: ProjectArgument,
    user: UserArgument,
    limit: Annotated[int, typer.Option(help="How many entries at most.", min=1, max=1000)] = 50,
) -> None:
    """Tell what happened to a user, newest first: checkouts, money, Stripe's events, changes and their causes."""

    async def run(records: Records) -> list[history.Happening]:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            return await history.story(tx, owner.id, user, limit=limit)

    for one in with_records(ready_settings(), run):
        said = ", ".join(f"{name} {value}" for name, value in one.said.items() if isinstance(value, str | int))
        out.print(f"{one.at.isoformat()}  {one.what}  {one.id}  {said}", markup=False)
