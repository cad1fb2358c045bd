"""Which account a server runs as: PostgreSQL refuses to be root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tollhouse_server.embedded.errors import EmbeddedServerError


class PopenAccount(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An account of this machine that exists already: we create none."""

    name: str
    uid: int
    gid: int

    def can(self, *test: str) -> bool:
        """Whether `test` (of the shell, e.g. `"-x", "/some/path"`) holds for this account, ACLs and mounts included."""
        answer = subprocess.run(["/bin/sh", "-c", 'test "$@"', "sh", *test], check=False, cwd="/", **started_as(self))
        return answer.returncode == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether this account could work in `directory`, or in the place where it would be created."""
        existing = directory
        while not existing.exists():
            existing = existing.parent
        return self.can("-x", str(existing))


def started_as(account: Account | None) -> PopenAccount:
    """The arguments for `subprocess` to start a process as `account`, with none of our groups; None: as ourselves."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def server_account() -> Account | None:
    """The account that PostgreSQL runs as when we are root; None when we are not root and it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root, and this machine has neither an account postgres nor nobody. "
        "Run as another user, or set DATABASE_URL."
    )
