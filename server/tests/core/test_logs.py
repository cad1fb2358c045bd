"""The last resort against secrets in logs, and what each line carries."""

import io
import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from tollhouse_server.key_format import Kind, make_key
from tollhouse_server.logs import concerning, configure_logs, redacted

CARD = "4242424242424242"
KEY = make_key(Kind.PROJECT)
OPERATOR_KEY = make_key(Kind.OPERATOR)


@pytest.fixture
def lines(own_logs: logging.Logger) -> Callable[[], list[dict[str, Any]]]:
    """The logs as a running worker writes them; called, the lines so far."""
    written = io.StringIO()
    configure_logs(level="DEBUG", fmt="json", role="worker")
    assert isinstance(own_logs.handlers[0], logging.StreamHandler)
    own_logs.handlers[0].setStream(written)
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"paid with {CARD}.", "paid with [card]."),
        ("4242 4242 4242 4242", "[card]"),
        ("3782-822463-10005", "[card]"),
        ("6011 0009 9013 9424, 5555555555554444", "[card], [card]"),
        ("the key sk_live_51Abc_x is bad", "the key [redacted] is bad"),
        ("rk_test_9 whsec_a+b/c= end", "[redacted] [redacted] end"),
        (f"Bearer {KEY}", "Bearer [redacted]"),
        (f"a machine's {OPERATOR_KEY}", "a machine's [redacted]"),
        ("postgresql+psycopg://u:p%40ss@db:5432/x", "postgresql+psycopg://[redacted]@db:5432/x"),
        ("redis://:pw@host/0 and https://u:pw@h", "redis://[redacted]@host/0 and https://[redacted]@h"),
    ],
    ids=itertools.count(),  # the keys are new each time, and all processes must call a test the same
)
def test_what_is_secret_is_cut_out(said: str, kept: str) -> None:
    """Card numbers by Luhn's sum, keys by their prefixes, passwords by their place in a URL."""
    assert redacted(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "4242424242424241",  # fails Luhn's sum
        "1764000000123452 ms",  # a timestamp
        "req_4242424242424242",
        "018f2e4c-4242-4242-8242-424242424242",
        "2026-11-24T11:14:44.123456Z",
        "tollhouse_server.cli tollhouse_inbox tollhouse_webhooks_total",
        "http://127.0.0.1:8901/v1/customers?limit=100 ops@example.com",
    ],
)
def test_what_is_not_secret_stays(said: str) -> None:
    """Ids and times are what the logs are read for."""
    assert redacted(said) == said


def test_redaction_reaches_everything_in_a_line(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """Numbers, nested values, other libraries' lines, and the text of an exception."""
    log = structlog.get_logger()
    log.info("shown", number=int(CARD), nested={"a": [f"sk_live_{CARD}"]}, other=ValueError(KEY))
    logging.getLogger("a.library").info("it said %s", KEY)
    try:
        raise ValueError(f"refused {CARD}") from RuntimeError("postgresql://u:hidden@db/x")
    except ValueError:
        log.exception("failed")
    told = json.dumps(lines())
    assert CARD not in told and KEY not in told and "hidden" not in told
    assert lines()[0]["number"] == "[card]" and lines()[0]["nested"] == {"a": ["[redacted]"]}
    assert lines()[2]["exception"][0]["exc_value"] == "refused [card]"


def test_a_line_carries_what_it_concerns(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """The ids of the innermost and of all around it, the process' role and version; none after the end."""
    log = structlog.get_logger()
    with concerning(job="prune", run_id="run_1"):
        with concerning(customer_id="c1"):
            log.info("inner")
        logging.getLogger("a.library").info("outer")
    log.info("after")
    inner, outer, after = lines()
    assert (inner["job"], inner["run_id"], inner["customer_id"]) == ("prune", "run_1", "c1")
    assert outer["job"] == "prune" and "customer_id" not in outer
    assert not {"job", "run_id"} & after.keys()
    assert all(line["role"] == "worker" and line["version"] and line["pid"] for line in lines())
