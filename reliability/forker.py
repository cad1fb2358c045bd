"""Run as a script: forks a `tollhouse serve` or `tollhouse work` for each line on standard input, and says its pid.

The imports are done once, so that a process can be killed and started again several times a second.
"""

import os
import signal
import sys

import tollhouse_server.app
import tollhouse_server.worker  # noqa: F401 - the commands import both only when they begin
from tollhouse_server.cli import processes

COMMANDS = {"serve": processes.serve, "work": processes.work}

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed are nobody's zombies

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            COMMANDS[line.strip()]()
        except Exception:  # the database is away: a supervisor starts it again
            os._exit(1)
        os._exit(0)
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()
