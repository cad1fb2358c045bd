"""How large a server process grows: when it has started, and after each of many users has been asked about once."""

from collections.abc import Iterator

from benchmarks.harness import Measured, Scale, Served, Target, compare, load
from benchmarks.shop import Shop, shop


def main() -> None:
    scale = Scale.asked(__doc__)
    few = scale.of(20_000, quick=2_000, large=200_000)
    many = few * 5
    with shop(many) as bench, bench.serve(CACHE_IN_PROCESS="true", DATABASE_POOL_SIZE="10") as server:
        started = asked(bench, server, range(1))

        def grown(to: int, begins: int) -> Measured:
            return asked(bench, server, range(begins, to))

        compare(
            "memory",
            "MB",
            {
                "started": lambda: started,
                f"{few:,} users": lambda: grown(few, 1),
                f"{many:,} users": lambda: grown(many, few),
            },
            f"{few:,} users",
            about="What one server process holds in memory, after so many different users have been asked about.",
            targets=[Target(f"{many:,} users", at_most=1.2)],
            scale=scale,
            rounds=1,
        )


def asked(bench: Shop, server: Served, numbers: range) -> Measured:
    """The memory after each of these users has been asked about once, and how fast that went."""
    seen = load(server, requests(bench, numbers), seconds=3_600, warm_up=0, connections=16)
    return Measured(server.resident_bytes() / 1e6, {"answers/s": seen.rate})


def requests(bench: Shop, numbers: range) -> Iterator[bytes]:
    return (bench.asks(f"user {number}") for number in numbers)


if __name__ == "__main__":
    main()
