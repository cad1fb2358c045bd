"""How fast a check is: one server process, with and without a Valkey, beside a bare ASGI answer of the same uvicorn."""

from contextlib import ExitStack
from itertools import cycle

from benchmarks.harness import Measured, Scale, Served, Target, compare, load, serving_app
from benchmarks.shop import running_valkey, shop


def main() -> None:
    scale = Scale.asked(__doc__)
    with ExitStack() as stack:
        bench = stack.enter_context(shop())
        bare = stack.enter_context(serving_app("benchmarks.bare:app"))
        plain = stack.enter_context(bench.serve())
        cached = stack.enter_context(bench.serve(REDIS_URL=stack.enter_context(running_valkey())))

        def asked(server: Served) -> Measured:
            return Measured.rate(load(server, cycle([bench.asks()]), seconds=scale.seconds))

        compare(
            "check",
            "answers/s",
            {"bare ASGI": lambda: asked(bare), "check": lambda: asked(plain), "check, Valkey": lambda: asked(cached)},
            "bare ASGI",
            about="One customer's check, asked again and again, beside an answer made beforehand.",
            targets=[Target("check", at_least=0.75), Target("check", "p99 ms", at_most=5)],
            scale=scale,
        )


if __name__ == "__main__":
    main()
