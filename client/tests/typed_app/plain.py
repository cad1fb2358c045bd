"""Plain functions behind a gate."""

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

from tollhouse import AsyncTollhouse, Check, Tollhouse, requires
from tollhouse.gates import require

blocking, asynchronous = Tollhouse(), AsyncTollhouse()


def pages_today(user_id: str) -> int:
    return len(user_id)


async def pages_today_later(user_id: str) -> int:
    return len(user_id)


@requires("premium_export", client=blocking, used=pages_today)
def export(user_id: str, *, copies: int = 1) -> bytes:
    return user_id.encode() * copies


@requires("premium_export", client=lambda: asynchronous, used=pages_today_later)
async def export_later(user_id: str) -> bytes:
    return user_id.encode()


class Exporter:
    @requires("premium_export", client=blocking, user_id=lambda exporter, pages: exporter.owner)
    def run(self, pages: int) -> str:
        return "done"


async def use(check: Check) -> None:
    assert_type(export("ada", copies=2), bytes)
    assert_type(await export_later("ada"), bytes)
    assert_type(Exporter().run(3), str)
    assert_type(require(check, used=3), Check)
    later: Callable[[str], Coroutine[Any, Any, bytes]] = export_later
    assert_type(later, Callable[[str], Coroutine[Any, Any, bytes]])
    export(7)  # type: ignore[arg-type]
    export("ada", sheets=2)  # type: ignore[call-arg]
    await export_later()  # type: ignore[call-arg]
