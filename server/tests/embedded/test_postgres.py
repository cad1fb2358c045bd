"""What the embedded PostgreSQL promises: it needs no rights, listens to nobody else, and never outlives its owner."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tollhouse_server.embedded.accounts import server_account
from tollhouse_server.embedded.binaries import postgres_bindir
from tollhouse_server.embedded.errors import EmbeddedServerError
from tollhouse_server.embedded.postgres import (
    reachable_data_dir,
    running_postgres,
    temporary_postgres,
)
from tollhouse_server.embedded.postmaster import Postmaster, running_postmaster, stale_pid

Hold = Callable[..., subprocess.Popen[str]]
Eventually = Callable[[Callable[[], bool]], None]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")


def answer(url: str, query: str) -> object:
    """The one value that `query` gives."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def postmaster_of(data_dir: Path) -> Postmaster:
    postmaster = running_postmaster(data_dir / "cluster")
    assert postmaster is not None
    return postmaster


def test_it_serves_utf8_on_a_private_unix_socket_only(used_data: Path) -> None:
    """The server has no TCP port, its socket's directory is closed to others, and text is UTF-8 in any environment."""
    with running_postgres(used_data, durable=False) as server:
        assert answer(server.url(), "SHOW listen_addresses") == ""
        assert server.socket_dir.stat().st_mode & 0o077 == 0
        assert answer(server.url(), "SELECT upper('é') || getdatabaseencoding()") == "ÉUTF8"
        assert answer(server.url(), "SHOW timezone") == "UTC"


def test_it_is_gone_and_leaves_no_socket_when_the_block_ends(used_data: Path) -> None:
    """Leaving the block stops the server and removes the socket's directory."""
    with running_postgres(used_data, durable=False) as server:
        assert postmaster_of(used_data)
    assert Postmaster.read(used_data / "cluster") is None
    assert not server.socket_dir.exists()


def test_it_stops_when_the_block_raises(used_data: Path) -> None:
    """An exception in the block stops the server too and is not swallowed."""
    with pytest.raises(ZeroDivisionError), running_postgres(used_data, durable=False):
        raise ZeroDivisionError
    assert Postmaster.read(used_data / "cluster") is None


def test_what_was_written_is_there_at_the_next_start(used_data: Path) -> None:
    """A durable server keeps its data safe and finds them again."""
    with running_postgres(used_data) as server:
        assert answer(server.url(), "SHOW fsync") == "on"
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    with running_postgres(used_data, durable=False) as server:
        assert answer(server.url(), "SHOW fsync") == "off"
        assert answer(server.url(), "SELECT n FROM kept") == 42


def test_databases_are_copied_from_a_template_and_dropped_under_connections(used_data: Path) -> None:
    """A copy has the template's content; dropping it does not wait for those who are connected to it."""
    with running_postgres(used_data, durable=False) as server:
        server.create_database("original")
        with psycopg.connect(server.url("original")) as connection:
            connection.execute("CREATE TABLE content AS SELECT 7 AS n")
        server.create_database("copy/of it", template="original")
        assert answer(server.url("copy/of it"), "SELECT n FROM content") == 7
        with psycopg.connect(server.url("copy/of it")):
            server.drop_database("copy/of it")
        assert not server.has_database("copy/of it")
        server.drop_database("original")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_owners_death_stops_it(used_data: Path, hold: Hold, eventually: Eventually, number: signal.Signals) -> None:
    """Whatever kills the process that started the server, the server ends, in order, within moments."""
    owner = hold("postgres", used_data)
    assert first_line(owner)[0] == "owned"
    assert postmaster_of(used_data)
    owner.send_signal(number)
    eventually(lambda: not (used_data / "cluster" / "postmaster.pid").exists())
    with running_postgres(used_data, durable=False):
        log = (used_data / "postgres.log").read_text()
    assert "not properly shut down" not in log


def test_a_second_process_attaches_and_does_not_stop_it(used_data: Path, hold: Hold) -> None:
    """Who comes second gets the same server; only the one who started it ends it."""
    with running_postgres(used_data, durable=False) as server:
        second = hold("postgres", used_data)
        assert first_line(second) == ["attached", server.url()]
        second.communicate()
        assert second.returncode == 0
        assert answer(server.url(), "SELECT 1") == 1


def test_of_two_that_start_at_once_one_owns(used_data: Path, hold: Hold) -> None:
    """Two processes racing for the same data end up on one server."""
    first, second = hold("postgres", used_data), hold("postgres", used_data)
    said = [first_line(first), first_line(second)]
    assert sorted(words[0] for words in said) == ["attached", "owned"]
    assert said[0][1] == said[1][1]


@contextmanager
def process_named_postgres(room: Path, *, zombie: bool) -> Iterator[int]:
    """A process that bears PostgreSQL's name and is not it; as a zombie it has ended and nobody has asked for it."""
    script = room / "postgres"
    script.write_text("#!/bin/sh\nexit 0\n" if zombie else "#!/bin/sh\nread -r _\n")
    script.chmod(0o755)
    process = subprocess.Popen([script], stdin=subprocess.PIPE)
    if zombie:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.communicate()


@contextmanager
def process_gone() -> Iterator[int]:
    process = subprocess.Popen(["true"])
    process.wait()
    yield process.pid


@contextmanager
def other_program() -> Iterator[int]:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.mark.parametrize("kind", ["gone", "zombie", "another program", "another PostgreSQL"])
def test_a_stale_postmaster_pid_is_no_obstacle(used_data: Path, room: Path, kind: str) -> None:
    """A lock file of a dead server does not keep a new one from starting, whoever bears the number now."""
    pid_file = used_data / "cluster" / "postmaster.pid"
    with running_postgres(used_data, durable=False):
        lines = pid_file.read_text().splitlines()
    holders = {
        "gone": process_gone(),
        "zombie": process_named_postgres(room, zombie=True),
        "another program": other_program(),
        "another PostgreSQL": process_named_postgres(room, zombie=False),
    }
    with holders[kind] as pid:
        pid_file.write_text("\n".join([str(pid), *lines[1:]]) + "\n")
        assert running_postmaster(used_data / "cluster") is None
        assert stale_pid(used_data / "cluster") == pid
        with running_postgres(used_data, durable=False) as server:
            assert server.owned
            assert answer(server.url(), "SELECT 1") == 1


def test_a_long_path_to_the_data_is_no_obstacle(room: Path) -> None:
    """The socket does not lie beside the data: a path longer than a socket's may be (107 bytes) works."""
    deep = room / ("d" * 100) / ("e" * 100)
    with running_postgres(deep, durable=False) as server:
        assert answer(server.url(), "SELECT 1") == 1


def test_a_long_temp_directory_is_passed_over(used_data: Path, room: Path, hold: Hold) -> None:
    """Where TMPDIR itself is too long for a socket's path, /tmp is used."""
    temp = room / ("t" * 90)
    temp.mkdir()
    holder = hold("postgres", used_data, env={"TMPDIR": str(temp)})
    word, url = first_line(holder)
    assert word == "owned"
    assert "ttt" not in url
    assert answer(url, "SELECT 1") == 1


def test_temporary_data_are_deleted() -> None:
    """`temporary_postgres` leaves nothing behind."""
    with temporary_postgres() as server:
        data_dir = Path(str(answer(server.url(), "SHOW data_directory"))).parent
        assert data_dir.exists()
    assert not data_dir.exists()


def test_a_wrong_bindir_is_said(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TOLLHOUSE_PG_BINDIR without PostgreSQL is an error that names it, not a silent choice of another."""
    monkeypatch.setenv("TOLLHOUSE_PG_BINDIR", str(room))
    with pytest.raises(EmbeddedServerError, match=f"TOLLHOUSE_PG_BINDIR is {room}"), running_postgres(room / "data"):
        pass


def test_data_of_another_version_are_not_touched(used_data: Path) -> None:
    """Data made by another major version are refused with a sentence that says what to do."""
    version = used_data / "cluster" / "PG_VERSION"
    ours = version.read_text()
    version.write_text("9\n")
    try:
        sentence = r"were made by PostgreSQL 9, .*TOLLHOUSE_PG_BINDIR"
        with pytest.raises(EmbeddedServerError, match=sentence), running_postgres(used_data):
            pass
    finally:
        version.write_text(ours)


def test_a_failed_start_says_what_postgres_said(used_data: Path) -> None:
    """When PostgreSQL gives up, its own last words are in the error."""
    configuration = used_data / "cluster" / "postgresql.conf"
    ours = configuration.read_text()
    configuration.write_text(ours + "\nno_such_setting = 1\n")
    try:
        with pytest.raises(EmbeddedServerError, match="no_such_setting"), running_postgres(used_data):
            pass
    finally:
        configuration.write_text(ours)


@as_root
def test_root_runs_it_as_an_account_that_exists(used_data: Path) -> None:
    """Under root the server belongs to `postgres`, else `nobody`, and no permission above the data has changed."""
    account = server_account()
    assert account is not None
    assert account.name in {"postgres", "nobody"}
    before = used_data.parent.stat().st_mode
    with running_postgres(used_data, durable=False):
        pid = postmaster_of(used_data).pid
        assert Path(f"/proc/{pid}").stat().st_uid == account.uid
    assert used_data.parent.stat().st_mode == before


@as_root
def test_data_where_the_account_cannot_go_are_refused_or_moved(room: Path) -> None:
    """Under root, data below a closed directory are a clear error; the default place is then another one."""
    room.chmod(0o700)
    data_dir = room / "home" / "data"
    with pytest.raises(EmbeddedServerError, match=f"cannot enter {data_dir}"), running_postgres(data_dir):
        pass
    elsewhere = reachable_data_dir(data_dir)
    assert elsewhere.parent == Path("/var/lib/tollhouse")
    assert elsewhere == reachable_data_dir(data_dir)
    room.chmod(0o755)
    assert reachable_data_dir(data_dir) == data_dir


@as_root
def test_programs_the_account_cannot_reach_are_copied_once(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under root, an installation in a closed directory runs from a copy in a readable place, which is used again."""
    monkeypatch.setenv("TOLLHOUSE_PG_BINDIR", str(closed_installation(room)))
    account = server_account()
    copy = postgres_bindir(account)
    try:
        assert not copy.is_relative_to(room)
        made = copy.stat().st_ctime_ns
        with running_postgres(room / "data", durable=False) as server:
            assert answer(server.url(), "SELECT 1") == 1
        assert copy.stat().st_ctime_ns == made
        assert (room / "closed").stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(copy.parents[2])


def closed_installation(room: Path) -> Path:
    """The directory of the programs in a copy of the installation that only root can enter."""
    bindir = postgres_bindir(None)
    package = bindir.parents[1]
    site = room / "closed" / "site-packages"
    shutil.copytree(bindir.parent, site / package.name / bindir.parent.name, ignore=shutil.ignore_patterns("include"))
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, site / libraries.name)
    (room / "closed").chmod(0o700)
    return site / package.name / bindir.parent.name / "bin"


@as_root
def test_a_plain_user_runs_it_as_himself(room: Path, hold: Hold) -> None:
    """Without root nothing is asked of the machine: the server is the user's own process on his own data."""
    nobody = pwd.getpwnam("nobody")
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    if not Path(python).exists():
        pytest.skip(f"no {python}, which another user could run")
    os.chown(room, nobody.pw_uid, nobody.pw_gid)
    user = hold(
        "postgres",
        room / "data",
        python=python,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(room)},
        cwd="/",
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
    )
    word, url = first_line(user)
    assert word == "owned"
    assert Path(f"/proc/{postmaster_of(room / 'data').pid}").stat().st_uid == nobody.pw_uid
    assert answer(url, "SELECT 1") == 1
