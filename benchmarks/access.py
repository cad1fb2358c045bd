"""From a payment to access: how long until an app that has a stream reads what its customer has just bought."""

import time
from contextlib import ExitStack
from statistics import quantiles

import psycopg
import stripe as stripe_library

from benchmarks.harness import Measured, Scale, Target, compare, free_port
from benchmarks.shop import FEATURE, PROJECT, Shop, running_valkey, shop
from tollhouse import Tollhouse
from tollhouse_server.db.engine import conninfo

PRICE = f"{PROJECT}.pro.monthly"
WITHIN = 20.0


def main() -> None:
    scale = Scale.asked(__doc__)
    purchases = scale.of(40, quick=5)
    with ExitStack() as stack:
        bench = stack.enter_context(shop())
        port = free_port()
        listen = {"url": f"http://127.0.0.1:{port}/v1/stripe/webhook", "enabled_events": ["*"]}
        stripe = stripe_library.StripeClient(bench.sandbox.secret_key, base_addresses={"api": bench.sandbox.url})
        secret = stripe.v1.webhook_endpoints.create(listen)["secret"]  # type: ignore[arg-type]
        told = {"STRIPE_WEBHOOK_SECRET": secret, "REDIS_URL": stack.enter_context(running_valkey())}
        server = stack.enter_context(bench.serve(core=None, port=port, **told))
        stack.enter_context(bench.work(core=None, **told))
        client = stack.enter_context(Tollhouse(server.url, bench.key, timeout=30))
        client.start()
        for number in range(3):  # a worker that has just started reads its first customer slowly
            bought(bench, client, f"first {number}")

        def turn() -> Measured:
            since = [bought(bench, client, f"buyer {time.time_ns()}") for _ in range(purchases)]
            after_event, after_payment, begun = zip(*since, strict=True)
            also = {
                "p50 ms": median(after_event),
                "p99 ms": quantiles(after_event, n=100, method="inclusive")[-1],
                "until a worker begins, p50 ms": median(begun),
                "from the payment, p95 ms": p95(after_payment),
            }
            return Measured(p95(after_event), also)

        compare(
            "access",
            "p95 ms",
            {"a purchase": turn},
            None,
            about="From the arrival of the first event of a purchase until a client with a stream answers that the"
            " customer has access: one purchase after the other, one server process and one worker, with a Valkey; the"
            " sandbox stands in for Stripe. From the payment: from the moment its button is pressed.",
            targets=[Target("a purchase", "value", at_most=300)],
            scale=scale,
            rounds=3 if scale.quick else 5,
        )


def bought(bench: Shop, client: Tollhouse, user: str) -> tuple[float, float, float]:
    """Milliseconds until access, from the arrival of the first event and from the payment; from that arrival until a
    worker has taken it up."""
    assert not client.check(user, FEATURE).allowed
    opened = client.open_checkout(user, PRICE, success_url="https://app.test/welcome", cancel_url="https://app.test/")
    assert opened.url
    deadline, paid = time.monotonic() + WITHIN, time.time()
    bench.sandbox.pay(opened.url)
    while not client.check(user, FEATURE).allowed:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{user} has paid and has no access within {WITHIN} s")
        time.sleep(0.001)
    seen = time.time()
    with psycopg.connect(conninfo(bench.database_url)) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM min(received_at))::float, extract(epoch FROM min(claimed_at))::float"
            " FROM inbox WHERE received_at > to_timestamp(%s) AND subject IS NOT NULL",
            [paid],
        ).fetchone()
    assert row and row[0]
    return (seen - row[0]) * 1e3, (seen - paid) * 1e3, (row[1] - row[0]) * 1e3


def median(values: tuple[float, ...]) -> float:
    return quantiles(values, n=2, method="inclusive")[0]


def p95(values: tuple[float, ...]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


if __name__ == "__main__":
    main()
