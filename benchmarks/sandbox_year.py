"""What the sandbox costs: customers who subscribe monthly, through its API, and then a year of them in one call.

Every event is delivered to a sink over loopback. That of more subscriptions is beside that of a hundred: what one of
them costs may not depend on how many there are. `--large` adds 10,000, and plays three months of each.
"""

import sys
from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import httpx

from benchmarks.harness import LOAD_CORE, Load, Measured, Scale, Served, Target, compare, load, serving, serving_app

KEY = "sk_test_bench"
DAY = 24 * 3600
PATIENCE = 3600.0
"""Seconds after which a call is given up; none takes so long."""
EVENTS_OF_A_RENEWAL = 9


def main() -> None:
    scale = Scale.asked(__doc__)
    months = 3 if scale.large else 12
    sizes = (20, 100) if scale.quick else (100, 1_000, 10_000) if scale.large else (100, 1_000)
    compare(
        "sandbox_year",
        "CPU ms a subscription",
        {f"{size:,} subscriptions": partial(play, size, months) for size in sizes},
        f"{sizes[0]:,} subscriptions",
        about=f"{months} months of monthly subscriptions in the sandbox: renewed, paid, and every event delivered over"
        " loopback, in one move of the clock. Before it they are made through the API, each a customer with a card and"
        " a subscription. What counts is the sandbox's own processor time, which others on the machine do not"
        " lengthen.",
        targets=[Target(f"{size:,} subscriptions", at_most=1.3) for size in sizes[1:]],
        scale=scale,
        rounds=1,
    )


def play(size: int, months: int) -> Measured:
    """So many months of so many subscriptions, in a sandbox of its own."""
    command = [sys.executable, "-c", "from tollhouse_sandbox.cli import main; main()", "serve", "--port", "{port}"]
    with (
        serving(command) as sandbox,
        serving_app("benchmarks.sink:app", core=LOAD_CORE) as sink,
        httpx.Client(base_url=sandbox.url, auth=(KEY, ""), timeout=PATIENCE, trust_env=False) as api,
    ):
        ask(api, "POST", "/_sandbox/clock", json={"freeze": True})
        price = sold(api)
        ask(api, "POST", "/v1/webhook_endpoints", data={"url": sink.url, "enabled_events[0]": "*"})
        made = subscribe(sandbox, api, price, size)
        ask(api, "POST", "/_sandbox/drain")
        told, used, started = received(sink), sandbox.cpu_seconds(), perf_counter()
        ask(api, "POST", "/_sandbox/clock", json={"advance_seconds": months * 365 / 12 * DAY})
        seconds, used, events = perf_counter() - started, sandbox.cpu_seconds() - used, received(sink) - told
        memory = sandbox.resident_bytes()
        if events < size * EVENTS_OF_A_RENEWAL * (months - 1):
            raise AssertionError(f"only {events} events of {size} subscriptions")
    also = {
        "seconds": seconds,
        "events": events,
        "events/s": events / seconds,
        "objects/s by calls": made,
        "MB at the end": memory / 1e6,
    }
    return Measured(used / size * 1e3, also)


def ask(api: httpx.Client, method: str, path: str, **more: Any) -> Any:
    answer = api.request(method, path, **more)
    answer.raise_for_status()
    return answer.json()


def sold(api: httpx.Client) -> str:
    """The id of a monthly price."""
    product = ask(api, "POST", "/v1/products", data={"name": "Pro"})["id"]
    recurring = {"recurring[interval]": "month", "unit_amount": 900, "currency": "eur"}
    return str(ask(api, "POST", "/v1/prices", data={"product": product, **recurring})["id"])


def subscribe(sandbox: Served, api: httpx.Client, price: str, size: int) -> float:
    """Customers and their subscriptions, through the API; how many objects a second that made, all kinds counted."""
    customer = {"invoice_settings[default_payment_method]": "pm_card_visa"}
    first = post(sandbox, "/v1/customers", [customer] * size)
    ids = [one["id"] for one in listed(api, "/v1/customers")]
    then = post(sandbox, "/v1/subscriptions", [{"customer": one, "items[0][price]": price} for one in ids])
    return size * (2 + 6) / (first.seconds + then.seconds)


def post(sandbox: Served, path: str, bodies: list[dict[str, str]]) -> Load:
    """All of these, over several connections at once."""
    head = f"POST {path} HTTP/1.1\r\nHost: desk\r\nAuthorization: Bearer {KEY}\r\nContent-Length: %d\r\n\r\n"
    encoded = (urlencode(body) for body in bodies)
    requests = ((head % len(body) + body).encode() for body in encoded)
    return load(sandbox, requests, seconds=PATIENCE, warm_up=0, connections=8)


def listed(api: httpx.Client, path: str) -> Iterator[Any]:
    """All that a list has."""
    page: dict[str, Any] = {"has_more": True, "data": []}
    while page["has_more"]:
        after = {"starting_after": page["data"][-1]["id"]} if page["data"] else {}
        page = ask(api, "GET", path, params={"limit": 100, **after})
        yield from page["data"]


def received(sink: Served) -> int:
    return int(httpx.get(sink.url, trust_env=False).text)


if __name__ == "__main__":
    main()
