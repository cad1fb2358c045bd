"""Logs and every metric, declared once. A log line is one event with its ids; never a secret, never a body."""

import logging
import sys

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

WEBHOOKS = Counter(
    "tollhouse_webhooks_total",
    "Webhook requests by what became of them: stored, duplicate, not-handled, or the code of the refusal.",
    ["outcome"],
)
EVENTS = Counter(
    "tollhouse_events_total",
    "Events worked on, by outcome: applied, foreign, deferred, buried.",
    ["outcome"],
)
INBOX_EVENTS = Gauge("tollhouse_inbox_events", "Events in the inbox that are pending, or buried.", ["state"])
INBOX_OLDEST_SECONDS = Gauge("tollhouse_inbox_oldest_seconds", "How long the oldest pending event has waited.")
APPLY_SECONDS = Histogram(
    "tollhouse_apply_seconds",
    "Seconds from claiming a customer's events to the commit of what they led to.",
)
REQUESTS = Counter("tollhouse_requests_total", "HTTP requests by route and status.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("tollhouse_request_seconds", "Seconds to answer an HTTP request, by route.", ["route"])


def configure_logs(*, level: str, fmt: str) -> None:
    """Sends all logs of the process, the libraries' too, to standard error: JSON lines, or for people."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        # Plain, as the pretty one shows the local variables: keys and people's data among them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
            if fmt == "json"
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The library logs each request at INFO; its answers hold people's data.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it greets whoever asks for the schema's revision
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )
