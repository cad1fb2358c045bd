"""Which ports the parts listen on."""

import contextlib
import socket
from collections.abc import Mapping

from .errors import CannotRun

HOST = "127.0.0.1"


def choose_port(variable: str, usual: int, environment: Mapping[str, str], *, taken: set[int]) -> int:
    """The port `variable` asks for, else the usual one, else any that is free; never one in `taken`, which it joins.

    Raises CannotRun when the port that was asked for is in use: somebody relies on it.
    """
    if asked := environment.get(variable):
        if not asked.isdecimal() or int(asked) > 65535:
            raise CannotRun(f"{variable} is {asked!r}, which is not a port.")
        port = int(asked)
        if port and not _is_free(port, taken):
            raise CannotRun(f"{variable} asks for port {port}, but something else listens there.")
    else:
        port = usual if _is_free(usual, taken) else 0
    port = port or _any_free(taken)
    taken.add(port)
    return port


def _is_free(port: int, taken: set[int]) -> bool:
    if port in taken:
        return False
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is no obstacle
        probe.bind((HOST, port))
        return True
    return False


def _any_free(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
