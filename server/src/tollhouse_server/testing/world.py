"""A project that sells, its customers, Stripe and the service, all at one time of day."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
import stripe as stripe_library

from tollhouse_sandbox.testing import RunningSandbox

from ..db.tables import metadata
from ..domain.scopes import OF_PROJECTS
from .customer import WorldCustomer
from .service import NO_TLS, OPERATOR_KEY, RunningService, running_service
from .stories import FROM_THE_STORY, App, StoryError, refusal

__tracebackhide__ = FROM_THE_STORY

EVENTS_MISBEHAVE: Mapping[str, Mapping[str, float]] = {
    "reorder": {"chance": 0.5},
    "duplicate": {"chance": 0.3, "seconds": 45},
    "twin": {"chance": 0.3},
    "delay": {"chance": 0.3, "seconds": 90 * 60},
    "drop": {"chance": 0.3},
    "old_shape": {"chance": 0.3},
}
"""What `World.faults` switches on where it is told no kinds."""


class World:
    """A project that sells, its customers, Stripe and the service, all at one time of day."""

    def __init__(self, sandbox: RunningSandbox, service: RunningService, endpoint: str) -> None:
        self.sandbox, self.service, self.endpoint = sandbox, service, endpoint
        headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Tollhouse-Operator": "grace"}
        self.operator = httpx.Client(base_url=service.url, headers=headers, timeout=30, trust_env=False, verify=NO_TLS)
        self.stripe = stripe_library.StripeClient(
            sandbox.secret_key, base_addresses={"api": sandbox.url}, max_network_retries=0
        )
        self._apps: list[App] = []
        self._misbehaves = self._together = False

    def publish(
        self, catalog: Mapping[str, Any] | str | os.PathLike[str], *, existing: Literal["keep", "move"] | None = None
    ) -> App:
        """Publishes a catalog, the file or what it says, and answers with its project's client.

        `existing` says what becomes of customers whose product changes; it must be said where somebody would have less.
        Raises StoryError, naming each mistake, when it is none.
        """
        document = catalog if isinstance(catalog, Mapping) else _read(Path(catalog))
        slug = document.get("project")
        said = {"existing": existing} if existing else {}
        published = self.operator.put(f"/v1/admin/projects/{slug}/catalog", json=document, params=said)
        if published.is_error:
            raise StoryError(f"The catalog of {slug!r} was refused: {refusal(published)}")
        self._apps.append(App(self.service.url, self.new_key(str(slug)), document))
        return self._apps[-1]

    def app(self, project: str | None = None) -> App:
        """The client of a published project; of the only one where none is named."""
        apps = {app.project: app for app in self._apps}  # of two publications, the later
        if not apps:
            raise StoryError("Nothing is sold yet. Publish a catalog: world.publish('pdf-tool.toml')")
        if project is None and len(apps) > 1:
            raise StoryError(f"Which app? Name one of {', '.join(sorted(apps))}.")
        if project is None:
            return next(iter(apps.values()))
        if project not in apps:
            raise StoryError(f"No app is called {project!r}. There are {', '.join(sorted(apps))}.")
        return apps[project]

    def new_key(self, project: str) -> str:
        """Another key of the project, with every scope."""
        issued = self.operator.post(
            f"/v1/admin/projects/{project}/keys", json={"name": "test", "scopes": list(OF_PROJECTS)}
        )
        return str(issued.raise_for_status().json()["key"])

    def customer(self, user_id: str, app: App | str | None = None) -> WorldCustomer:
        """A user of an app, by the app's own id; the app, or its project, is named where there are several."""
        return WorldCustomer(self, app if isinstance(app, App) else self.app(app), user_id)

    @property
    def now(self) -> datetime:
        """What time it is for Stripe and the service."""
        return self.service.clock.now()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done in the block is done before anything of it arrives, which then it does."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
        self.arrive()

    def arrive(self) -> None:
        """Lets every webhook under way arrive and the worker do its work."""
        if self._together:
            return
        self.sandbox.drain()
        self.service.work()
        while self.service.correct():  # what is done at Stripe is told by webhooks too
            self.sandbox.drain()
            self.service.work()

    def passes(self, **by: float) -> None:
        """Time passes for Stripe and the service alike (`days=40`), and everything due happens."""
        self.passes_until(self.now + timedelta(**by))

    def passes_until(self, end: datetime) -> None:
        """The same, up to an instant."""
        self.service.clock.set(end)
        self.sandbox.advance_to(end)
        self.arrive()
        if self._misbehaves:
            self.service.reconcile_if_due()
            self.service.work()

    def faults(self, *, seed: int = 0, **kinds: float | Mapping[str, float]) -> None:
        """From now on Stripe's deliveries suffer these, each by its chance: `drop=0.3, twin=1`; without any, all kinds.

        The kinds are the sandbox's. The same seed makes the same faults. While they are on, `passes` ends with the
        worker's reconciliation if it is due: ten minutes are enough for all that was dropped to be asked for.
        """
        self._misbehaves = True
        self.service.reconcile_if_due()  # what it asks for from now on is what happens from now on
        for kind, how in (kinds or EVENTS_MISBEHAVE).items():
            self.sandbox.fault(kind, seed=seed, **(how if isinstance(how, Mapping) else {"chance": how}))

    def hold_webhooks(self, held: bool = True) -> None:
        """Stripe delivers nothing until let go; what happens meanwhile is never delivered by itself."""
        self.stripe.v1.webhook_endpoints.update(self.endpoint, {"disabled": held})

    def close(self) -> None:
        self.operator.close()
        for app in self._apps:
            app.close()


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise StoryError(f"The catalog {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StoryError(f"The catalog {file} is not TOML: {error}") from None


def emptied(database_url: str) -> str:
    """Empties a migrated database, which is faster than to make another, and answers with its URL."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers that keep the audit trail
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE")
    return database_url


@contextmanager
def world_of(sandbox: RunningSandbox, service: RunningService) -> Iterator[World]:
    """A world that begins now: the sandbox emptied and frozen, the service, whose database is empty, at its time."""
    sandbox.reset()
    sandbox.freeze()
    # On a whole second, as Stripe's timestamps are: what begins now has begun.
    begins = sandbox.now().replace(microsecond=0) + timedelta(seconds=1)
    sandbox.advance_to(begins)
    service.clock.set(begins)
    stripe = stripe_library.StripeClient(sandbox.secret_key, base_addresses={"api": sandbox.url})
    url = f"{service.url}/v1/stripe/webhook"
    endpoint = stripe.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
    service.trust(endpoint["secret"])
    world = World(sandbox, service, endpoint.id)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def running_world(sandbox: RunningSandbox, database_url: str, *, redis_url: str | None = None) -> Iterator[World]:
    """A world with a service of its own on `database_url`, which is migrated and empty."""
    with running_service(sandbox, database_url, redis_url=redis_url) as service, world_of(sandbox, service) as world:
        yield world
