"""Read-your-writes: answers about one customer say their version, and a read may ask for no older one.

Who was told of a change (by the answer to a sync, by a notification) and asks with its version never hears of what was
before it. It costs nothing where what is cached is new enough.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Header, Response

from ..domain.errors import Problem

VERSION_HEADER: Final = "Tollhouse-Version"
AT_LEAST_HEADER: Final = "Tollhouse-At-Least"
WAIT_SECONDS: Final = 0.25
"""How long a version that is asked for is waited for."""
_FIRST_PAUSE_SECONDS: Final = 0.01

Read = TypeVar("Read")


class NotYetConsistent(Problem):
    """What is stored is older than the version that Tollhouse-At-Least asks for.

    Ask again in a second. If it stays so, the version is of another user or project, or the database was restored:
    leave the header out.
    """

    status = 409
    code = "not-yet-consistent"
    retry_after = 1


AtLeast = Annotated[
    int | None,
    Header(
        alias=AT_LEAST_HEADER,
        ge=0,
        le=2**63 - 1,
        description=f"A version that you were told of, as in {VERSION_HEADER}: the answer is no older. 409 if that"
        " version is not there within a quarter of a second.",
    ),
]


def versioned(responses: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for OpenAPI, with the version on the answers of these statuses; 200 if none given."""
    header = {
        VERSION_HEADER: {
            "description": "The customer's version: it grows with every change of what they may do.",
            "schema": {"type": "integer"},
        }
    }
    return responses | {one: {**responses.get(one, {}), "headers": header} for one in statuses or (200,)}


def say_version(response: Response, version: int) -> None:
    response.headers[VERSION_HEADER] = str(version)


async def no_older(
    at_least: int | None, read: Callable[[], Awaitable[Read]], version_of: Callable[[Read], int]
) -> Read:
    """What `read` reads, again and again for a moment until it is of that version. Raises NotYetConsistent."""
    loop = asyncio.get_running_loop()
    ends, pause = loop.time() + WAIT_SECONDS, _FIRST_PAUSE_SECONDS
    while True:
        found = await read()
        if at_least is None or version_of(found) >= at_least:
            return found
        if loop.time() >= ends:
            raise NotYetConsistent(
                f"This user is at version {version_of(found)}, and {AT_LEAST_HEADER} asks for {at_least}: ask again in"
                " a second, or leave the header out."
            )
        await asyncio.sleep(min(pause, max(0.0, ends - loop.time())))
        pause *= 2
