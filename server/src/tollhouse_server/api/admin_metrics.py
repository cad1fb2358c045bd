"""Operators: what a project earns, or the fleet."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from ..domain.intervals import IntervalsInvalid
from ..metrics import report
from .admin_projects import OPERATORS, find_project
from .authentication import require_operator
from .context import Ctx
from .metrics import (
    CSV_TOO,
    EXAMPLE_ANSWER,
    EXAMPLE_METRICS,
    Format,
    From,
    Interval,
    Metrics,
    MetricsAnswer,
    To,
    csv_answer,
    head,
    row,
    wants_csv,
)
from .problems import NotFound, documented
from .types import Text

router = APIRouter(prefix="/admin/metrics", tags=["Operators: metrics"], dependencies=[Depends(require_operator)])


class FleetMetrics(MetricsAnswer):
    projects: list[Metrics] = Field(description="Each project's; `data` has their sums, or the one that was asked for.")


EXAMPLE_FLEET = {**EXAMPLE_ANSWER, "data": [{**EXAMPLE_METRICS, "project": None}], "projects": [EXAMPLE_METRICS]}


@router.get(
    "",
    name="read_fleet_metrics",
    summary="What does the fleet earn?",
    response_model=FleetMetrics,
    responses={
        200: {"content": {"application/json": {"example": EXAMPLE_FLEET}, **CSV_TOO}},
        **documented(*OPERATORS, IntervalsInvalid, NotFound),
    },
)
async def read(
    request: Request,
    ctx: Ctx,
    project: Annotated[
        Text | None, Query(max_length=63, description="Its slug; the whole fleet if absent.", examples=["pdf-tool"])
    ] = None,
    from_: From = None,
    to: To = None,
    interval: Interval = "total",
    format: Format = None,  # noqa: A002
) -> FleetMetrics | Response:
    """As a project sees its own, with the sums of all projects in each currency; the CSV has the projects' rows."""
    async with ctx.database.transaction() as tx:
        owner = None if project is None else await find_project(tx, project)
        found = await report(tx, owner.id if owner else None, from_, to, interval, at=ctx.clock.now())
    if wants_csv(request, format):
        return csv_answer(found)
    data, projects = ([row(line) for line in lines] for lines in (found.whole, found.projects))
    return FleetMetrics(**head(found), data=data, projects=projects)
