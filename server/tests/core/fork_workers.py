"""Run as a script by the tests: forks a `tollhouse work` for each line on standard input, and says its pid.

The imports are done once, so that a worker can be killed and started again many times a second.
"""

import os
import signal
import sys

import tollhouse_server.worker  # noqa: F401 - `work` imports it only when it begins
from tollhouse_server.cli import processes

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed are nobody's zombies

for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.work()
        os._exit(0)
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()
