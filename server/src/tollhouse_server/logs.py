"""Logs: each line one event with the ids of what it concerns; never a secret, never a body.

What a line concerns is bound where it becomes known, at the edges (a request, a claim, a job, a command), and every
line inside carries it: `request_id`, `project`, `customer_id`, `subject`, `events`, `job`, `run_id`, `command`.
"""

import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from .telemetry import VERSION

_QUIET = ("alembic", "httpcore", "httpx", "stripe")
"""Libraries that greet, or tell at INFO and DEBUG what was sent and answered: their warnings will do."""

_SECRETS = re.compile(
    r"\b(?:sk|rk)_(?:test|live)_\w+"
    r"|\bwhsec_[\w+/=]+"
    r"|\btollhouse(?:_operator)?_[A-Za-z0-9]{12}_[A-Za-z0-9]{40}"
    r"|(?<=://)[^\s/@'\"]*:[^\s/'\"]+(?=@)"  # the user and password of a URL
)
# A first digit of 2 or more: no card begins otherwise, and every timestamp of our time in milliseconds or finer does.
_CARDS = re.compile(r"(?<![\w.-])[2-9](?:[ -]?\d){12,18}(?![\w-])")


def redacted(text: str) -> str:
    """The text without keys of Stripe's or ours, URLs' passwords, and card numbers, should any have got so far."""
    return _CARDS.sub(_unless_card, _SECRETS.sub("[redacted]", text))


def _unless_card(found: re.Match[str]) -> str:
    digits = [int(one) for one in found[0] if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]  # Luhn's sum
    return "[card]" if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]


@contextmanager
def concerning(**ids: Any) -> Iterator[None]:
    """Every line logged inside carries these ids. What is bound further inside is forgotten with them at the end."""
    before = structlog.contextvars.get_contextvars()
    structlog.contextvars.bind_contextvars(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def bind(**ids: Any) -> None:
    """From here to the end of the `concerning` or of the request, every line carries these ids too."""
    structlog.contextvars.bind_contextvars(**ids)


def new_run_id() -> str:
    """Tells one run of a job or a command from the others."""
    return f"run_{secrets.token_hex(6)}"


def configure_logs(*, level: str, fmt: str, role: str) -> None:
    """Sends all logs of the process, the libraries' too, to standard error: JSON lines, or for people.

    `role` is what the process is: server, worker, cli.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _of_process({"role": role, "pid": os.getpid(), "version": VERSION}),
    ]
    as_json = fmt == "json"
    # Without local variables, whoever reads it: keys and people's data are among them.
    traceback: Processor = (
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        if as_json
        else structlog.processors.format_exc_info
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=lambda value: redacted(repr(value)))
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, traceback, _redact, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )


def _of_process(ids: Mapping[str, Any]) -> Processor:
    def add(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        line.update(ids)
        return line

    return add


def _redact(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """The last resort, after everything else has become text: nobody should log a secret in the first place."""
    return {name: _without_secrets(value) for name, value in line.items()}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
        return value if (safe := redacted(text)) == text else safe
    if isinstance(value, Mapping):
        return {name: _without_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_without_secrets(one) for one in value]
    return value
