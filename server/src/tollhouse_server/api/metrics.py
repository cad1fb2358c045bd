"""What the project earns."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from ..domain.intervals import Every, IntervalsInvalid
from ..domain.metrics import DEFINITIONS
from ..domain.rounding import told
from ..metrics import Line, Report, as_csv, report
from ..state import dated
from .authentication import InsufficientScope, MayManage, Unauthenticated
from .context import Ctx
from .problems import StoreUnavailable, ValidationFailed, documented
from .types import Answer, Instant

router = APIRouter(tags=["Metrics"])

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def _midnight(given: object) -> object:
    if isinstance(given, str) and _DATE.fullmatch(given):
        return datetime.combine(date.fromisoformat(given), time(), UTC)
    return dated(given)


def _in_range(instant: datetime) -> datetime:
    if not 1970 <= instant.year <= 9000:
        raise ValueError("must lie between the years 1970 and 9000")
    return instant.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_range), BeforeValidator(_midnight)]
From = Annotated[
    Moment | None,
    Query(alias="from", description="An RFC 3339 instant, or a date for its midnight in UTC; 30 days ago if absent."),
]
To = Annotated[
    Moment | None, Query(description="Likewise, and not part of what is told; the end of today in UTC if absent.")
]
Interval = Annotated[Every, Query(description="How it is divided: by the calendar in UTC, weeks from Monday.")]
Format = Annotated[
    Literal["json", "csv"] | None, Query(description="As `Accept: application/json` or `Accept: text/csv` ask for.")
]


class Metrics(Answer):
    """One interval in one currency, in minor units (cents); docs/explanation/metrics.md defines each figure."""

    project: str | None = Field(description="Null in the sums of the fleet.")
    starts_at: Instant = Field(serialization_alias="from")
    ends_at: Instant = Field(serialization_alias="to", description="Not part of the interval.")
    complete: bool = Field(description="Whether it was over at `computed_at`; if not, it counts up to then.")
    currency: str
    mrr_start: int
    new_mrr: int
    reactivation_mrr: int
    expansion_mrr: int
    contraction_mrr: int
    churned_mrr: int
    mrr_end: int = Field(description="mrr_start + new + reactivation + expansion - contraction - churned, exactly.")
    past_due_mrr: int = Field(description="What of `mrr_end` is past due, in grace.")
    arpu: int | None = Field(description="mrr_end per customer; null where there is none.")
    customers_start: int = Field(description="Customers with MRR.")
    customers_new: int
    customers_reactivated: int
    customers_churned: int
    customers_end: int
    customer_churn_rate: float | None = Field(description="Of those at the start; null where there was none.")
    revenue_churn_rate: float | None = Field(description="Churned and contracted MRR, of that at the start.")
    active: int = Field(description="Subscriptions at the end of the interval, as the next three.")
    trialing: int
    past_due: int = Field(description="In grace only: later they do not count.")
    paused: int = Field(description="While their access is kept.")
    trials_started: int
    trials_ended: int
    trials_converted: int = Field(description="Those of `trials_ended` that were paid for since.")
    trial_conversion_rate: float | None
    subscription_revenue: int
    purchase_revenue: int
    gross_revenue: int = Field(description="Both together: what was collected.")
    refunds: int
    refunded: int
    disputes_lost: int
    lost_to_disputes: int
    net_revenue: int = Field(description="gross_revenue - refunded - lost_to_disputes.")
    payments_failed: int = Field(description="Bills of subscriptions, each once, when it first failed.")
    failed: int
    payments_recovered: int
    recovered: int


class MetricsAnswer(Answer):
    definitions: int = Field(description="The version of what the figures mean.")
    computed_at: Instant
    starts_at: Instant = Field(serialization_alias="from")
    ends_at: Instant = Field(serialization_alias="to")
    interval: Every
    data: list[Metrics] = Field(description="By interval and currency; a currency that occurs has every interval.")


EXAMPLE_METRICS: dict[str, Any] = {
    "project": "pdf-tool",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "complete": False,
    "currency": "eur",
    "mrr_start": 90_000,
    "new_mrr": 9_000,
    "reactivation_mrr": 900,
    "expansion_mrr": 1_000,
    "contraction_mrr": 150,
    "churned_mrr": 2_700,
    "mrr_end": 98_050,
    "past_due_mrr": 900,
    "arpu": 908,
    "customers_start": 100,
    "customers_new": 10,
    "customers_reactivated": 1,
    "customers_churned": 3,
    "customers_end": 108,
    "customer_churn_rate": 0.03,
    "revenue_churn_rate": 0.031667,
    "active": 107,
    "trialing": 12,
    "past_due": 1,
    "paused": 0,
    "trials_started": 14,
    "trials_ended": 8,
    "trials_converted": 5,
    "trial_conversion_rate": 0.625,
    "subscription_revenue": 95_400,
    "purchase_revenue": 39_800,
    "gross_revenue": 135_200,
    "refunds": 1,
    "refunded": 5_000,
    "disputes_lost": 0,
    "lost_to_disputes": 0,
    "net_revenue": 130_200,
    "payments_failed": 4,
    "failed": 3_600,
    "payments_recovered": 3,
    "recovered": 2_700,
}
EXAMPLE_ANSWER: dict[str, Any] = {
    "definitions": DEFINITIONS,
    "computed_at": "2026-11-24T09:00:00Z",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "interval": "month",
    "data": [EXAMPLE_METRICS],
}
CSV_TOO: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string", "description": "One row for each interval, currency and project."}}
}


@router.get(
    "/metrics",
    summary="What does the project earn?",
    response_model=MetricsAnswer,
    responses={
        200: {"content": {"application/json": {"example": EXAMPLE_ANSWER}, **CSV_TOO}},
        **documented(Unauthenticated, InsufficientScope, IntervalsInvalid, ValidationFailed, StoreUnavailable),
    },
)
async def read_metrics(
    request: Request,
    project: MayManage,
    ctx: Ctx,
    from_: From = None,
    to: To = None,
    interval: Interval = "total",
    format: Format = None,  # noqa: A002
) -> MetricsAnswer | Response:
    """MRR and its movements, customers, churn, trials, revenue, refunds and failed payments, in each currency apart.

    At most 400 intervals; the last 30 days as one, where nothing is asked for.
    """
    async with ctx.database.transaction(project=project.id) as tx:
        found = await report(tx, project.id, from_, to, interval, at=ctx.clock.now())
    if wants_csv(request, format):
        return csv_answer(found)
    return MetricsAnswer(**head(found), data=[row(line) for line in found.whole])


def head(found: Report) -> dict[str, Any]:
    """What the answer says of itself."""
    return {
        "definitions": DEFINITIONS,
        "computed_at": found.computed_at,
        "starts_at": found.starts_at,
        "ends_at": found.ends_at,
        "interval": found.every,
    }


def row(line: Line) -> Metrics:
    return Metrics(
        project=line.project,
        starts_at=line.starts_at,
        ends_at=line.ends_at,
        complete=line.complete,
        currency=line.currency,
        **told(line.figures),
    )


def wants_csv(request: Request, format_: Literal["json", "csv"] | None) -> bool:
    """By the parameter, else by what the Accept header names first."""
    if format_ is not None:
        return format_ == "csv"
    named = [one.partition(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")]
    return next((one for one in named if one in ("text/csv", "application/json", "*/*")), "") == "text/csv"


def csv_answer(found: Report) -> Response:
    """A file for a spreadsheet; a header says what the file cannot."""
    name = f"metrics-{found.starts_at:%Y-%m-%d}-{found.every}.csv"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Tollhouse-Metrics-Definitions": str(DEFINITIONS),
        "Tollhouse-Metrics-Computed-At": found.computed_at.isoformat(),
    }
    return Response(as_csv(found.projects), media_type="text/csv; charset=utf-8; header=present", headers=headers)
