"""What tests run on, started when first asked for: a real PostgreSQL, a real Valkey, and Debian's Chromium."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import hypothesis
import psycopg
import pytest
import structlog
from conformance import Watch
from playwright.sync_api import Browser, Page, sync_playwright

from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.embedded.postgres import PostgresServer, temporary_postgres
from tollhouse_server.embedded.valkey import running_valkey
from tollhouse_server.testing import Receiver, RunningService, World, emptied, running_service, world_of

# Nothing here speaks TLS, yet each HTTP client that is made reads all certificate authorities, for 30 ms. One will do.
_authority = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - open, and so there, as long as the process
_authority.write(Path(certifi.where()).read_bytes().partition(b"-----END CERTIFICATE-----")[0])
_authority.write(b"-----END CERTIFICATE-----\n")
_authority.flush()
os.environ["SSL_CERT_FILE"] = _authority.name


# A desk looks for new counterexamples each time; CI judges a change by the same ones as before. Explaining one traces
# the code as coverage does, and then both wait for each other.
PHASES = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain]
hypothesis.settings.register_profile("desk", phases=PHASES)
hypothesis.settings.register_profile("ci", derandomize=True, phases=PHASES)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")


# What is served inside a test process logs as the process' logging says, not to standard output.
structlog.configure(
    logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
)


@pytest.fixture
def own_logs() -> Iterator[logging.Logger]:
    """The root logger, for a test that configures logs; afterwards they are as they were."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server whose data are deleted at the end; each xdist worker has its own."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database at the newest schema, to be copied and never connected to."""
    postgres_server.create_database("template_migrated")
    migrate.upgrade(postgres_server.url("template_migrated"))
    return "template_migrated"


@pytest.fixture(scope="session")
def migrated_database(postgres_server: PostgresServer, migrated_template: str) -> str:
    """The database that the tests of one process use one after the other; take `database_url`, which empties it."""
    postgres_server.create_database("test", template=migrated_template)
    return postgres_server.url("test")


@pytest.fixture
def database_url(migrated_database: str) -> str:
    """An empty database at the newest schema; commits and concurrency are real. Emptying is faster than copying."""
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    return emptied(migrated_database)


@pytest.fixture
def own_database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of this test's own, for one that changes the schema."""
    postgres_server.create_database("own", template=migrated_template)
    yield postgres_server.url("own")
    postgres_server.drop_database("own")


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey of this test process; tests that write to it choose keys of their own or flush it."""
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def stripe_calls() -> Watch:
    """Looks at every call of the service to Stripe and at its answer."""
    return Watch()


@pytest.fixture(scope="session")
def sandbox(stripe_calls: Watch) -> Iterator[RunningSandbox]:
    """Stripe on a desk; each test that uses it through `world` finds it empty.

    Not traced for coverage, which would double what it takes: its own tests cover it.
    """
    traced = threading.gettrace()
    threading.settrace(None)  # type: ignore[arg-type]
    with running_sandbox(frozen=True, watch=stripe_calls) as running:
        threading.settrace(traced)  # type: ignore[arg-type]
        yield running


@pytest.fixture(scope="session")
def service(sandbox: RunningSandbox, migrated_database: str) -> Iterator[RunningService]:
    """One service for all the worlds of a process, one after the other."""
    with running_service(sandbox, migrated_database) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An app's server, to which notifications can be sent."""
    with Receiver().running() as running:
        yield running


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    sandbox: RunningSandbox,
    stripe_calls: Watch,
    service: RunningService,
    database_url: str,
) -> Iterator[World]:
    """The service, its database and Stripe, empty and at one time of day.

    At the end its invariants hold, but for those that a test says it `breaks`, and each call to Stripe was a right one.
    """
    assert service.settings.database_url.get_secret_value() == database_url
    with world_of(sandbox, service) as beginning:
        yield beginning
        broken = {name for mark in request.node.iter_markers("breaks") for name in mark.args}
        told = service.run(lambda resources: broken_invariants(resources.database))
        assert [one for one in told if one.partition(":")[0] not in broken] == []
        assert stripe_calls.told() == []


# A browser

CHROMIUM = shutil.which("chromium")
SEEN_FROM_OUTSIDE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + SEEN_FROM_OUTSIDE)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh browser that nothing may lead to another host, and whose console stays free of complaints."""
    elsewhere: list[str] = []
    complaints: list[str] = []
    with chromium.new_context(viewport={"width": 1100, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: _note_host(request.url, elsewhere))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield page
    assert elsewhere == []
    # A declined card is answered 402, which Chromium writes to the console as well.
    assert [complaint for complaint in complaints if "402" not in complaint] == []


def _note_host(url: str, elsewhere: list[str]) -> None:
    if urlsplit(url).hostname != "127.0.0.1":
        elsewhere.append(url)


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Takes a screenshot in light and dark, where TOLLHOUSE_SCREENSHOTS names a directory: `picture(page, name)`."""
    directory = os.environ.get("TOLLHOUSE_SCREENSHOTS")

    def take(page: Page, name: str) -> None:
        for scheme in ("light", "dark") if directory else ():
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=Path(str(directory), f"{name}-{scheme}.png"), full_page=True)
        page.emulate_media(color_scheme=None)

    return take
