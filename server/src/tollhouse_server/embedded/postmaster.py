"""What `postmaster.pid` says, and whether it is still true."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Postmaster:
    """The lines of `postmaster.pid` that matter (PostgreSQL's `miscadmin.h` lists them)."""

    pid: int
    socket_dir: Path
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> "Postmaster | None":
        """None when there is no such file, or the server is still writing it."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            return cls(pid=abs(int(lines[0])), socket_dir=Path(lines[4]), ready=lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None


def running_postmaster(cluster: Path) -> Postmaster | None:
    """The server that runs on `cluster` now, ready for connections."""
    postmaster = Postmaster.read(cluster)
    return postmaster if postmaster and postmaster.ready and _is_postmaster(postmaster.pid, cluster) else None


def stale_pid(cluster: Path) -> int | None:
    """The pid a dead server left in `postmaster.pid`: gone, a zombie, or by now some other program's."""
    try:
        pid = abs(int((cluster / "postmaster.pid").read_text().split("\n", 1)[0]))
    except (FileNotFoundError, ValueError):
        return None
    return None if _is_postmaster(pid, cluster) else pid


def _is_postmaster(pid: int, cluster: Path) -> bool:
    process = _state_and_name(pid)
    if process is None:
        return False
    state, name = process
    if state.startswith(("Z", "X")) or "postgres" not in name:
        return False
    try:
        # Another PostgreSQL may have got the number: a postmaster works in its data directory.
        return Path(f"/proc/{pid}/cwd").samefile(cluster)
    except OSError:
        return True  # no /proc, or not ours to look at: leave the decision to PostgreSQL


def _state_and_name(pid: int) -> tuple[str, str] | None:
    """E.g. `("S", "postgres")`; None when there is no such process."""
    try:
        # "4711 (postgres) S 1 …"; the name may itself hold spaces and parentheses.
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        return after.split()[0], before.partition("(")[2]
    answer = subprocess.run(
        ["ps", "-o", "stat=", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    fields = answer.stdout.split(maxsplit=1)
    return (fields[0], Path(fields[1].strip()).name) if len(fields) == 2 else None
