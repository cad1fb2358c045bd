"""What becomes of clients when a process forks: gunicorn with preload, Celery's prefork, multiprocessing.

The child inherits connections and a loop that its parent goes on using, and threads that do not run in it. It leaves
all of them alone, for good, and begins with its own; what was known it knows.
"""

import os
from contextlib import suppress
from importlib import import_module
from typing import Protocol
from weakref import WeakSet

# httpx's connections would import these in the middle of the first request, in whatever thread that is. A process that
# forks just then has half a module in the child, for good.
for _late in ("_backends._asyncio", "lowlevel", "streams.memory", "streams.stapled", "streams.tls", "to_thread"):
    with suppress(ImportError):  # another version of anyio
        import_module(f"anyio.{_late}")


class Forks(Protocol):
    """A client that is told of forks."""

    def before_fork(self) -> None:
        """Let nobody be in the middle of a change."""

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; in a child, with nothing of the parent's but what it knew."""


_clients: "WeakSet[Forks]" = WeakSet()
_held: list[Forks] = []
_left: list[object] = []
"""The parent's things, never to be closed here: closing speaks to the other end, or to the parent's selector."""


def tell_of_forks(client: Forks) -> None:
    """From now on."""
    _clients.add(client)


def leave(*things: object) -> None:
    """Keep the parent's things from being collected, which would close them."""
    _left.extend(things)


def _before() -> None:
    _held[:] = list(_clients)
    for client in _held:
        client.before_fork()


def _after(in_child: bool) -> None:
    for client in _held:
        client.after_fork(in_child=in_child)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=lambda: _after(in_child=False), after_in_child=lambda: _after(in_child=True)
    )
