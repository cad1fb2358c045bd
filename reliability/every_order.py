"""Walks through every state of a small world, the nearest first."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from reliability.figures import Figures

World = TypeVar("World", bound=Hashable)
Protocol = TypeVar("Protocol")


def every_order(
    start: World,
    steps: Callable[[World], Iterable[World]],
    check: Callable[[World, Callable[[], list[World]]], None],
) -> int:
    """How many states can be reached. `check` gets each, with what tells the shortest way there, and raises."""
    came_from: dict[World, World | None] = {start: None}
    frontier = [start]

    def way(to: World) -> list[World]:
        found: list[World] = []
        at: World | None = to
        while at is not None:
            found.insert(0, at)
            at = came_from[at]
        return found

    while frontier:
        following: list[World] = []
        for world in frontier:
            for then in steps(world):
                if then not in came_from:
                    came_from[then] = world
                    check(then, lambda then=then: way(then))  # type: ignore[misc]
                    following.append(then)
        frontier = following
    return len(came_from)


def try_protocols(
    figures: Figures,
    sound: Mapping[str, Protocol],
    weaker: Mapping[str, Protocol],
    explored: Callable[[Protocol], int],
    broken: type[Exception],
    *,
    found: str,
    unseen: str,
) -> None:
    """The sound ones must never raise `broken`, and each of the weaker must; else it is told as `found` or `unseen`."""
    for name, protocol in sound.items():
        try:
            figures.count("states", explored(protocol))
        except broken as wrong:
            figures.must(False, f"{name}: {found}{wrong}")
        figures.count("worlds")
    for name, protocol in weaker.items():
        try:
            explored(protocol)
            figures.must(False, f"{name}: {unseen}")
        except broken:
            figures.count("weaker protocols seen through")
    figures.must_be_reached("states", "weaker protocols seen through")
