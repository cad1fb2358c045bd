"""What a user may do, and why."""

from datetime import UTC

import typer

from .. import snapshot
from ..catalogs import current_catalog
from ..domain.entitlements import answer
from ..domain.explain import Explanation, explain
from ..domain.time import until
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

    async def run(records: Records) -> Explanation:
        async with records.database.transaction() as tx:
            owner = await find_project(tx, project)
            catalog = await current_catalog(tx, owner)
            known = catalog.features.get(feature) or fail(f"No feature {feature} in the catalog of {project}.")
            evidence = await snapshot.evidence_of(tx, owner.id, user)
        return explain(catalog, evidence, known, at.replace(tzinfo=UTC) if at else records.clock.now())

    explained = with_records(ready_settings(), run)
    out.print(explained.sentence, markup=False)
    for source in explained.sources:
        mark = "+" if source.counts else "-"
        out.print(f"  {mark} {source.kind} {source.id} [{source.rule}] {source.sentence}", markup=False)
    if explained.next_change_at:
        out.print(f"  next change: {explained.next_change_at.isoformat()}")
