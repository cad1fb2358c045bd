"""Run as a script by the tests: holds an embedded server or a guarded child until standard input ends.

`postgres DIR` says "owned URL" or "attached URL"; `valkey` says its URL; `child COMMAND…` says the child's pid.
"""

import signal
import sys
from pathlib import Path

from tollhouse_server.embedded.postgres import running_postgres
from tollhouse_server.embedded.valkey import running_valkey
from tollhouse_server.embedded.watchdog import GuardedProcess

# Who starts the tests in the background hands on that an interrupt is ignored, and `nohup` that a hang-up is.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def say_and_wait(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    sys.stdin.read()


match sys.argv[1:]:
    case ["postgres", directory]:
        with running_postgres(Path(directory), durable=False) as server:
            say_and_wait(f"{'owned' if server.owned else 'attached'} {server.url()}")
    case ["valkey"]:
        with running_valkey() as url:
            say_and_wait(url)
    case ["child", *command]:
        child = GuardedProcess(command)
        say_and_wait(str(child.pid))
        child.stop(within=5)
