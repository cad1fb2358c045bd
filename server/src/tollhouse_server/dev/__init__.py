"""The whole of Tollhouse on one machine: PostgreSQL, a Stripe sandbox, the service, its worker and the demo app.

Everything listens on loopback only, and everything ends with the supervisor, however it ends.
"""

import asyncio
import contextlib
import fcntl
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
from dotenv import dotenv_values
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from ..db import migrate
from ..db.isolation import CannotIsolate
from ..domain.errors import Problem
from ..embedded.errors import EmbeddedServerError
from ..embedded.postgres import reachable_data_dir, running_postgres
from ..embedded.valkey import running_valkey
from ..settings import Settings
from ..stripe_gateway.client import close_client, open_client
from ..stripe_gateway.webhook_endpoint import register_endpoint
from . import demo
from .announcement import Running
from .errors import CannotRun
from .kept import Kept, write_private
from .ports import HOST, choose_port
from .supervisor import PartDied, Supervisor

_READY_SECONDS = 60.0
_SANDBOX_KEY = "sk_test_sandbox"


def run(data_dir: Path | None = None, *, with_valkey: bool = False, ready_file: Path | None = None) -> int:
    """Run everything until a signal or the end of a part. Returns the exit code for the process.

    `data_dir` is `.tollhouse` in the checkout (else in the working directory) by default. `with_valkey` starts a Valkey
    too, as does `REDIS_URL=embedded`. `ready_file` receives addresses and keys as JSON once everything answers.
    """
    console = Console(highlight=False, soft_wrap=True)
    _pass_proxies_by()
    try:
        with _signals_interrupt() as interrupted, contextlib.ExitStack() as stack:
            if ready_file:
                ready_file.unlink(missing_ok=True)  # of a run that was killed
                stack.callback(ready_file.unlink, missing_ok=True)
            place = (data_dir or _checkout_or_here() / ".tollhouse").absolute()
            _Run(console, stack, place, interrupted).forever(with_valkey, ready_file)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except PartDied as death:
        console.print(f"{death}\n\nStopped everything.", style="red", markup=False)
        return 1
    except (CannotRun, EmbeddedServerError, Problem) as reason:
        console.print(str(reason), style="red", markup=False)
        return 2


@dataclass
class _Run:
    """One run of `tollhouse dev`; what it starts is stopped by `stack`, the last first."""

    console: Console
    stack: contextlib.ExitStack
    data_dir: Path
    interrupted: threading.Event

    def __post_init__(self) -> None:
        self.environment = {name: value for name, value in dotenv_values(".env").items() if value} | dict(os.environ)
        self.sandboxed = not self.environment.get("STRIPE_SECRET_KEY")
        self.supervisor = Supervisor(self.data_dir / "logs", self._warn, self.interrupted)

    def forever(self, with_valkey: bool, ready_file: Path | None) -> NoReturn:
        _refuse_unsigned_webhooks(self.environment)
        self._claim_data_dir()
        kept = Kept.load(self.data_dir)
        if not self.environment.get("ADMIN_API_KEY"):
            self.environment["ADMIN_API_KEY"] = kept.admin_api_key
        if not self.environment.get("SECRET_KEY"):
            self.environment["SECRET_KEY"] = kept.secret_key
        self.environment.setdefault("NOTIFICATIONS_ALLOW_PRIVATE", "true")  # an app on a desk is at a private address
        self._choose_addresses()
        self._start_stores(with_valkey)
        self.stack.callback(self.supervisor.stop)
        if self.sandboxed:
            self._start_sandbox(kept)
        self._start_service()
        demo_url = self._start_demo(kept)
        kept.save(self.data_dir)
        running = Running(
            service=self.service_url,
            sandbox=self.sandbox_url if self.sandboxed else None,
            demo=demo_url,
            admin_api_key=self.environment["ADMIN_API_KEY"],
            project_keys=kept.project_keys,
            data_dir=str(self.data_dir),
        )
        running.show(self.console)
        if ready_file:
            running.write(ready_file)
        self.supervisor.watch()

    def _claim_data_dir(self) -> None:
        try:
            if not self.data_dir.exists():
                self.data_dir.mkdir(parents=True)
                # Under root, PostgreSQL's own account has to get through.
                self.data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
            (self.data_dir / "logs").mkdir(exist_ok=True)
            lock = self.stack.enter_context((self.data_dir / "dev.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(
                f"Another `tollhouse dev` runs on {self.data_dir}. Stop it, or choose another --data."
            ) from None
        except OSError as error:
            raise CannotRun(f"The data directory {self.data_dir} cannot be used: {error.strerror}.") from error

    def _choose_addresses(self) -> None:
        taken: set[int] = set()
        self.service_port = choose_port("APP_HOST_PORT", 8900, self.environment, taken=taken)
        self.sandbox_port = choose_port("SANDBOX_HOST_PORT", 8901, self.environment, taken=taken)
        self.demo_port = choose_port("DEMO_HOST_PORT", 8903, self.environment, taken=taken)
        self.service_url, self.sandbox_url, self.demo_url = (
            f"http://{HOST}:{port}" for port in (self.service_port, self.sandbox_port, self.demo_port)
        )
        self.environment |= {"APP_HOST": HOST, "APP_HOST_PORT": str(self.service_port)}

    def _start_stores(self, with_valkey: bool) -> None:
        if not self.environment.get("DATABASE_URL"):
            with self._step("PostgreSQL"):
                place = reachable_data_dir(self.data_dir / "postgres")
                if not place.is_relative_to(self.data_dir):
                    self._say(f"PostgreSQL's account cannot enter {self.data_dir}: its data are in {place}.")
                server = self.stack.enter_context(running_postgres(place))
            self.environment["DATABASE_URL"] = server.url()
        if with_valkey or self.environment.get("REDIS_URL") == "embedded":
            with self._step("Valkey"):
                self.environment["REDIS_URL"] = self.stack.enter_context(running_valkey())
        with self._step("schema"):
            try:
                migrate.upgrade(self.environment["DATABASE_URL"])
            except DBAPIError as error:
                raise CannotRun(f"The database at DATABASE_URL cannot be used: {error.orig}") from error
            except CannotIsolate as error:
                raise CannotRun(str(error)) from error

    def _start_sandbox(self, kept: Kept) -> None:
        with self._step("Stripe sandbox"):
            listening = ("--host", HOST, "--port", str(self.sandbox_port))
            data = ("--data", self.data_dir / "sandbox.sqlite")
            self.supervisor.start(
                "sandbox", [_script("tollhouse-sandbox"), "serve", *listening, *data], self.environment
            )
            self._wait_for(f"{self.sandbox_url}/_sandbox/clock")
            registration = self._register_endpoint(kept.webhook_endpoint, kept.webhook_secret)
            kept.webhook_endpoint, kept.webhook_secret = asyncio.run(registration)
            kept.save(self.data_dir)
        self.environment |= {
            "STRIPE_SECRET_KEY": _SANDBOX_KEY,
            "STRIPE_API_BASE": self.sandbox_url,
            "STRIPE_WEBHOOK_SECRET": kept.webhook_secret,
            "FOLLOW_SANDBOX_CLOCK": "true",
        }

    async def _register_endpoint(self, known_id: str | None, known_secret: str | None) -> tuple[str, str]:
        client = open_client(_SANDBOX_KEY, self.sandbox_url)
        try:
            return await register_endpoint(client, f"{self.service_url}/v1/stripe/webhook", known_id, known_secret)
        finally:
            await close_client(client)

    def _start_service(self) -> None:
        with self._step("service and worker"):
            write_private(self.data_dir / "env", self._told_to_the_service())
            self.supervisor.start("worker", [_script("tollhouse"), "work"], self.environment)
            self.supervisor.start("service", [_script("tollhouse"), "serve"], self.environment)
            self._wait_for(f"{self.service_url}/readyz")

    def _told_to_the_service(self) -> str:
        """Its settings as lines for a shell, so that `tollhouse` can be used on the same data by hand."""
        told = {name: self.environment.get(name) for name in (field.upper() for field in Settings.model_fields)}
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items() if value)

    def _start_demo(self, kept: Kept) -> str | None:
        """The demo's address; None where there is no checkout to find it in, or where it would sell for real money."""
        place = _checkout_or_here() / "examples" / "demo"
        if "_live_" in self.environment["STRIPE_SECRET_KEY"] or not (place / "app.py").exists():
            return None
        with self._step("demo app"):
            catalogs = sorted(place.glob("*.toml"))
            try:
                operator_key = self.environment["ADMIN_API_KEY"]
                demo.register(self.service_url, operator_key, catalogs, self.demo_url, kept.project_keys)
            except httpx.HTTPError as refused:
                raise CannotRun(_why_refused(refused)) from refused
            environment = self.environment | demo.environment(self.service_url, self.demo_url, kept.project_keys)
            listening = ("--host", HOST, "--port", str(self.demo_port), "--log-level", "warning")
            self.supervisor.start("demo", [_script("uvicorn"), "app:app", "--app-dir", place, *listening], environment)
            self._wait_for(self.demo_url)
        return self.demo_url

    def _wait_for(self, url: str) -> None:
        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, timeout=5).is_success
            return False

        self.supervisor.wait_until(answers, within=_READY_SECONDS)

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[None]:
        with self.console.status(f"Starting: {what} …"):
            yield
        self._say(f"✓ {what}", style="green")

    def _warn(self, part: str, line: str) -> None:
        self._say(f"{part}: {line}", style="yellow")

    def _say(self, line: str, style: str | None = None) -> None:
        self.console.print(line, style=style, markup=False)


def _refuse_unsigned_webhooks(environment: dict[str, str]) -> None:
    if environment.get("STRIPE_SECRET_KEY") and not environment.get("STRIPE_WEBHOOK_SECRET"):
        raise CannotRun(
            "STRIPE_SECRET_KEY is set but STRIPE_WEBHOOK_SECRET is not: without it anybody could forge a payment. "
            "Copy the signing secret (whsec_…) of your endpoint from Stripe; for a test account, "
            "`stripe listen --forward-to localhost:8900/v1/stripe/webhook` prints one. "
            "Unset STRIPE_SECRET_KEY to use the built-in sandbox."
        )


def _why_refused(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        said = (
            f"{error.request.method} {error.request.url} answered {error.response.status_code}: {error.response.text}"
        )
    else:
        said = str(error)
    return f"The demo's catalogs could not be published: {said}"


def _checkout_or_here() -> Path:
    """The checkout this code was installed from in place; the working directory otherwise."""
    checkout = Path(__file__).parents[4]
    return checkout if (checkout / "examples" / "demo").is_dir() else Path.cwd()


def _pass_proxies_by() -> None:
    """Everything is on loopback, where a proxy of the environment could not reach it."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST, "localhost"]))


def _script(name: str) -> Path:
    """A script that was installed beside the Python that runs us."""
    return Path(sys.executable).with_name(name)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[threading.Event]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once: further ones do not disturb the stopping.

    They set the event, too: what is raised in a destructor or a callback is lost.
    """
    interrupted = threading.Event()
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in stopping:
            signal.signal(number, signal.SIG_IGN)
        interrupted.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in stopping}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
