"""Every metric, declared once. docs/reference/metrics.md tells each; deploy/prometheus has the alerts made of them.

A process counts for itself. Where several serve one port, they count into files of one directory, and whichever of them
is asked tells the sum (`exposition`). So a gauge says how its processes are put together (`multiprocess_mode`).
"""

import contextlib
import os
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

VERSION = version("tollhouse-server")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600)
_LATEST: Final = "livemostrecent"
"""How a gauge is put together that whoever is asked reads from the database: the last to have read it is right."""

BUILD_INFO = Gauge(
    "tollhouse_build_info",
    "Always 1; its labels say which version runs.",
    ["version", "python"],
    multiprocess_mode=_LATEST,
)
DEPENDENCY_UP = Gauge(
    "tollhouse_dependency_up",
    "Whether a dependency answered when the metrics were asked for: 1 or 0; database.",
    ["dependency"],
    multiprocess_mode=_LATEST,
)
WORKERS_ALIVE = Gauge(
    "tollhouse_workers_alive",
    "`tollhouse work` processes seen in the last 30 seconds.",
    multiprocess_mode=_LATEST,
)

REQUESTS = Counter("tollhouse_requests_total", "HTTP requests by route and status.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "tollhouse_request_seconds",
    "Seconds to answer an HTTP request, by route: a check's latency is that of its route.",
    ["route"],
    buckets=_LATENCIES,
)
CACHE_READS = Counter(
    "tollhouse_cache_reads_total",
    "Reads of a customer's snapshot by tier (process, redis) and result: hit, miss, failed (it did not answer).",
    ["tier", "result"],
)
CACHE_FILLS = Counter(
    "tollhouse_cache_fills_total",
    "Snapshots brought to Redis from PostgreSQL, by result: kept, refused (late, or a newer one is known), failed.",
    ["result"],
)
ANNOUNCEMENTS = Counter(
    "tollhouse_announcements_total",
    "Changes announced to Redis before their commit, by outcome: heard (by all who listen), unheard, failed.",
    ["outcome"],
)

WEBHOOKS = Counter(
    "tollhouse_webhooks_total",
    "Webhook requests by what became of them: stored, duplicate, not-handled, wrong-mode, wrong-account, or the code "
    "of the refusal.",
    ["outcome"],
)
WEBHOOK_AGE_SECONDS = Histogram(
    "tollhouse_webhook_age_seconds",
    "Seconds from when something happened at Stripe to its event's arrival here; hours mean that Stripe had to retry.",
    buckets=_WAITS,
)
INTAKE_BATCH = Histogram(
    "tollhouse_intake_batch",
    "Events that were stored by one commit; many mean that the disk is slow, or that a lot arrives.",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
INBOX_EVENTS = Gauge(
    "tollhouse_inbox_events",
    "Events in the inbox that are pending (deferred ones among them), deferred after an error, or buried.",
    ["state"],
    multiprocess_mode=_LATEST,
)
INBOX_OLDEST_SECONDS = Gauge(
    "tollhouse_inbox_oldest_seconds",
    "How long the oldest pending event has waited.",
    multiprocess_mode=_LATEST,
)
EVENTS = Counter(
    "tollhouse_events_total",
    "Events worked on, by outcome: applied, foreign, deferred, buried.",
    ["outcome"],
)
EVENT_SECONDS = Histogram(
    "tollhouse_event_seconds",
    "Seconds from an event's arrival to the commit of what it led to, tries and pauses included.",
    buckets=_WAITS,
)
APPLY_SECONDS = Histogram(
    "tollhouse_apply_seconds",
    "Seconds from claiming a customer's events to the commit of what they led to.",
    buckets=_LATENCIES,
)
REREADS = Counter(
    "tollhouse_rereads_total",
    "Customers, or products' prices, read again from Stripe, by what led to it: event, sync, reconcile.",
    ["why"],
)
REFRESHES = Counter(
    "tollhouse_refreshes_total",
    "Entitlements computed anew, by who caused it (stripe, timetable, app, operator, …) and whether they changed.",
    ["actor", "result"],
)
STRIPE_CALLS = Counter(
    "tollhouse_stripe_calls_total",
    "Requests to Stripe, each try counted, by operation and result: the status, or unreachable.",
    ["operation", "result"],
)
STRIPE_SECONDS = Histogram(
    "tollhouse_stripe_seconds", "Seconds that Stripe took to answer, by operation.", ["operation"], buckets=_LATENCIES
)

STREAMS_OPEN = Gauge(
    "tollhouse_streams_open", "Streams that are open now, one for each process of an app.", multiprocess_mode="livesum"
)
STREAM_EVENTS = Counter(
    "tollhouse_stream_events_total", "Events given to open streams, by kind: customer, catalog, heartbeat.", ["kind"]
)
STREAM_LAG_SECONDS = Histogram(
    "tollhouse_stream_lag_seconds",
    "Seconds from a customer's new entitlements, just before their commit, to their being given to the open streams.",
    buckets=_LATENCIES,
)
STREAM_ENDS = Counter(
    "tollhouse_stream_ends_total",
    "Streams that ended, by why: client (it left), slow (it took nothing), key (not in use any more), shutdown, behind "
    "(too much changed at once, or a restore), blind (the database could not be asked).",
    ["why"],
)

SHED = Counter("tollhouse_requests_shed_total", "Requests refused because too many were in hand, by lane.", ["lane"])
LOGINS = Counter(
    "tollhouse_operator_logins_total",
    "Operators' names and passwords by result: right, wrong, refused (wrong too often before).",
    ["result"],
)
RATE_LIMITED = Counter(
    "tollhouse_rate_limited_total", "Requests refused for their rate: reads, writes, refusals.", ["limit"]
)
IDEMPOTENT_REQUESTS = Counter(
    "tollhouse_idempotent_requests_total",
    "Requests with an Idempotency-Key, by what was found under it: begun, answered, in-progress, other-request, lost.",
    ["found"],
)
PAID_BUT_LOCKED_OUT_USERS = Gauge(
    "tollhouse_paid_but_locked_out_users",
    "Users whom reconciliation found locked out of what they paid for: not repaired (no), or in the last day (yes).",
    ["repaired"],
    multiprocess_mode=_LATEST,
)
PAID_BUT_LOCKED_OUT_MINUTES = Gauge(
    "tollhouse_paid_but_locked_out_minutes",
    "For how many minutes together those users were locked out; of those not repaired, so far.",
    ["repaired"],
    multiprocess_mode=_LATEST,
)
UNPAID_BUT_ALLOWED_USERS = Gauge(
    "tollhouse_unpaid_but_allowed_users",
    "Users whom reconciliation found let in without having paid: not repaired (no), or in the last day (yes).",
    ["repaired"],
    multiprocess_mode=_LATEST,
)
UNPAID_BUT_ALLOWED_MINUTES = Gauge(
    "tollhouse_unpaid_but_allowed_minutes",
    "For how many minutes together those users were let in; of those not repaired, so far.",
    ["repaired"],
    multiprocess_mode=_LATEST,
)
DRIFT_FOUND = Gauge(
    "tollhouse_drift_found",
    "Differences that reconciliations of the last day found, by their kind and by what became of them: open, closed.",
    ["kind", "state"],
    multiprocess_mode=_LATEST,
)
UNMAPPED_PRICES = Gauge(
    "tollhouse_unmapped_prices",
    "Stripe prices that customers hold and no product of their project's catalog counts: they open nothing.",
    multiprocess_mode=_LATEST,
)
UNMAPPED_PRICE_CUSTOMERS = Gauge(
    "tollhouse_unmapped_price_customers",
    "Customers who hold such a price.",
    multiprocess_mode=_LATEST,
)
RECONCILIATION_AGE_SECONDS = Gauge(
    "tollhouse_reconciliation_age_seconds",
    "How long ago the last whole reconciliation of the kind finished well; +Inf where none has yet.",
    ["kind"],
    multiprocess_mode=_LATEST,
)

CORRECTIONS = Counter(
    "tollhouse_correction_outcomes_total",
    "What Tollhouse does at Stripe by itself, by kind (double, trial-again) and outcome: found, done, deferred, "
    "given-up.",
    ["kind", "outcome"],
)
CORRECTIONS_KEPT = Gauge(
    "tollhouse_corrections",
    "Corrections that are pending, were given up, or were only reported, as a person decides.",
    ["state"],
    multiprocess_mode=_LATEST,
)

NOTIFICATIONS = Counter(
    "tollhouse_notification_attempts_total",
    "Attempts to deliver a notification, by outcome: delivered, deferred, given-up, endpoint-deleted.",
    ["outcome"],
)
NOTIFICATION_SECONDS = Histogram(
    "tollhouse_notification_seconds",
    "Seconds from the commit of a change to the endpoint's 2xx, failed attempts and pauses included.",
    buckets=_WAITS,
)
NOTIFICATIONS_KEPT = Gauge(
    "tollhouse_notifications",
    "Deliveries that are pending for an enabled endpoint, or given-up.",
    ["state"],
    multiprocess_mode=_LATEST,
)
NOTIFICATION_OLDEST_SECONDS = Gauge(
    "tollhouse_notification_oldest_seconds",
    "How long the oldest pending delivery has waited.",
    multiprocess_mode=_LATEST,
)
NOTIFICATION_ENDPOINTS = Gauge(
    "tollhouse_notification_endpoints",
    "Notification endpoints: enabled, failing (the clock of five days runs), disabled.",
    ["state"],
    multiprocess_mode=_LATEST,
)

JOBS = Counter("tollhouse_jobs_total", "Turns of the worker's jobs, by result: done, failed.", ["job", "result"])
JOB_SECONDS = Histogram("tollhouse_job_seconds", "Seconds that a turn of a job took.", ["job"], buckets=_WAITS)
JOB_LAST_SUCCESS = Gauge(
    "tollhouse_job_last_success_timestamp_seconds",
    "When a job was last done in this process, in Unix seconds.",
    ["job"],
    multiprocess_mode="livemax",
)

# Told from the start: of a series that begins at 1, Prometheus cannot say that it increased.
NOTIFICATIONS.labels("given-up")
WEBHOOKS.labels("bad-signature")

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable; it is set before the processes start that count into one directory."""


def exposition() -> bytes:
    """All metrics in Prometheus' text format: this process', or those of all that serve with it."""
    BUILD_INFO.labels(VERSION, python_version()).set(1)
    directory = os.environ.get(_DIRECTORY)
    if directory is None:
        return generate_latest(REGISTRY)
    _forget_the_dead(Path(directory))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def count_into(directory: Path) -> None:
    """From now on, processes that are started by this one count together, in `directory`."""
    os.environ[_DIRECTORY] = str(directory)


def _forget_the_dead(directory: Path) -> None:
    """A process that died no longer has gauges; what it counted stays counted, as a counter must not go back."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*_*.db")}:
        if not _alive(pid):
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


def _alive(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
