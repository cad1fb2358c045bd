"""Walks through every state of a small world, the nearest first."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

World = TypeVar("World", bound=Hashable)


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
