"""How `tollhouse serve` serves: in this process, or in several that share its port and count together."""

import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from .. import telemetry
from ..api.protocol import SERVED
from ..logs import configure_logs
from ..settings import Settings, load_settings

if TYPE_CHECKING:
    from ..api.envelope import Envelope

_HUNG_SECONDS = 30
"""A process that does not answer its parent for so long is replaced; while it starts it does not answer either."""


def serve_alone(settings: Settings) -> None:
    """Serves in this process until told to stop."""
    from ..app import build_app

    app = build_app(settings)
    _settle()
    uvicorn.run(app, **_options(settings))


def serve_in_several(settings: Settings) -> None:
    """Serves in SERVER_PROCESSES processes; one that dies is replaced. What they are asked is shared by the kernel."""
    _ = settings.webhook_secrets  # a missing one is said once and here
    with tempfile.TemporaryDirectory(prefix="tollhouse-metrics-") as directory:
        telemetry.count_into(Path(directory))
        config = uvicorn.Config(
            f"{__name__}:served_app",
            factory=True,
            workers=settings.server_processes,
            timeout_worker_healthcheck=_HUNG_SECONDS,
            **_options(settings),
        )
        listener = config.bind_socket()
        with listener:
            supervisor = Multiprocess(config, sockets=[listener])
            supervisor.run()
    if any(one.exitcode == STARTUP_FAILURE for one in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)


def served_app() -> "Envelope":
    """What each of several processes serves: made in the process itself, from the settings that it inherits."""
    from ..app import build_app  # not in the parent, who serves nothing

    settings = load_settings()
    configure_logs(level=settings.log_level, fmt=settings.log_format, role="server")
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    app = build_app(settings)
    _settle()
    return app


def _settle() -> None:
    """What is there by now stays for good: looking through it for garbage again and again would hold up requests."""
    gc.collect()
    gc.freeze()


def _stop_with_parent() -> None:
    """A parent that was killed could stop nobody: its children would hold the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.app_host,
        "port": settings.app_host_port,
        "timeout_graceful_shutdown": 10,
        "forwarded_allow_ips": settings.trusted_proxies,
        **SERVED,
    }
