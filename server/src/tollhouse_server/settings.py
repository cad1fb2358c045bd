"""Every environment variable of the service: typed, read once, frozen. docs/reference/settings.md tells each."""

import ipaddress
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError


class SettingsInvalid(Exception):
    """The environment cannot be served with; the message names each variable and what to do."""


class Settings(BaseSettings):
    """What the processes are told from outside. Secrets do not show in a repr."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr = Field(description="PostgreSQL ≥ 15, as in `postgresql://user:password@host/tollhouse`.")
    redis_url: SecretStr | None = Field(
        None, description="Redis ≥ 6.2 or Valkey ≥ 7.2, as in `redis://host:6379/0`. Absent: no second cache tier."
    )
    cache_in_process: bool = Field(
        True,
        description="Let each process of `tollhouse serve` keep what it read for up to a second.",
    )
    stripe_secret_key: SecretStr = Field(description="The account's secret key, `sk_test_…` or `sk_live_…`.")
    stripe_webhook_secret: SecretStr | None = Field(
        None,
        description="The webhook endpoint's signing secret, `whsec_…`. `tollhouse serve` refuses to start without.",
    )
    stripe_webhook_secret_previous: SecretStr | None = Field(
        None, description="The secret before a rotation; accepted beside the new one while it is set."
    )
    stripe_api_base: str = Field(
        "https://api.stripe.com", description="Where Stripe answers; the sandbox in development."
    )
    admin_api_key: SecretStr | None = Field(
        None,
        description="What operators authenticate with, at least 24 characters. Absent: the operator API is closed.",
    )
    app_host: str = Field("127.0.0.1", description="The address `tollhouse serve` listens on.")
    app_host_port: int = Field(8900, ge=0, le=65535, description="The port `tollhouse serve` listens on.")
    server_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes in which `tollhouse serve` serves its one port; about one for each core it may use.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        description="Addresses and networks (`10.0.0.0/8`), with commas between, of the proxies in front of `tollhouse "
        "serve`: their `X-Forwarded-For` says who calls. Behind one that is not named all have its address, and "
        "who fails to authenticate from there slows the others down.",
    )
    sandbox_host_port: int = Field(8901, ge=0, le=65535, description="`tollhouse dev`: the port of the Stripe sandbox.")
    demo_host_port: int = Field(8903, ge=0, le=65535, description="`tollhouse dev`: the port of the demo app.")
    max_requests_in_flight: int = Field(
        200,
        ge=4,
        le=10_000,
        description="Reads that each process answers at a time; half as many changes and a quarter as many of Stripe's "
        "events. What comes beyond is told to come again (503 `overloaded`).",
    )
    max_streams: int = Field(
        500,
        ge=1,
        le=20_000,
        description="Streams (`GET /v1/stream`) that each process holds open at a time: one for each process of an "
        "app. They take no places of other requests.",
    )
    stream_heartbeat_seconds: float = Field(
        15,
        gt=0,
        le=60,
        description="How often a stream says that nothing was missed. Keep it below the time after which proxies in "
        "between close a connection on which nothing comes.",
    )
    rate_limit_reads: float = Field(
        2_000,
        ge=0,
        le=1_000_000,
        description="Reads a second that each process answers one key, and ten seconds' worth at once. 0 is no limit.",
    )
    rate_limit_writes: float = Field(
        50,
        ge=0,
        le=1_000_000,
        description="Changes a second that each process takes from one key, and ten seconds' worth at once. 0 is no "
        "limit.",
    )
    rate_limit_refusals: float = Field(
        5,
        ge=0,
        le=1_000_000,
        description="Requests a second without a good key that each process answers one address, and ten seconds' "
        "worth at once; only failures count. 0 is no limit.",
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=200,
        description="Connections to PostgreSQL that each process keeps, each of SERVER_PROCESSES too; beside them are "
        "up to five for checks and for hearing of changes.",
    )
    worker_concurrency: int = Field(
        4, ge=1, le=64, description="Customers that one `tollhouse work` re-reads at a time."
    )
    event_max_attempts: int = Field(
        20, ge=1, le=100, description="Tries before an event is buried; with the back-off, about a day at 20."
    )
    worker_metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Where `tollhouse work` shows its own metrics on APP_HOST. Absent: nowhere."
    )
    claim_lease_seconds: int = Field(
        60,
        ge=1,
        le=3600,
        description="How long a worker may take for one customer before another takes over; let it be longer than "
        "Stripe may take to answer.",
    )
    reread_pause_seconds: float = Field(
        1,
        ge=0,
        le=60,
        description="How long after one re-read of a customer the next one is made at the earliest: what Stripe tells "
        "meanwhile waits for it. The first event of a customer never waits.",
    )
    reconcile_catch_up_seconds: int = Field(
        300,
        ge=0,
        le=86_400,
        description="How often Stripe's list of events is read for those whose webhooks never came. 0: never.",
    )
    reconcile_sweep_seconds: int = Field(
        21_600,
        ge=0,
        le=604_800,
        description="How often Stripe's lists of objects are compared with all that is held here. 0: never.",
    )
    reconcile_sweep_daily_at: str = Field(
        "02:00",
        pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|never)$",
        description="The time of day, in UTC, of one more such sweep; or `never`.",
    )
    reconcile_requests_per_second: float = Field(
        5,
        gt=0,
        le=20,
        description="How fast a reconciliation asks Stripe, re-reads included. Stripe allows 100 a second with live "
        "keys and 25 with test keys, for everything together.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="What the signing secrets of notification endpoints, the keys that sign snapshots and the key of "
        "the hashes that remember trials are derived from, at least 32 characters. Absent: no endpoint can be "
        "registered, nothing is delivered, no snapshot is signed, and no trial is remembered.",
    )
    secret_key_previous: SecretStr | None = Field(
        None,
        description="SECRET_KEY before it was replaced; while it is set, messages are signed with its secrets, too, "
        "its public key is published, and trials are known that were remembered under it.",
    )
    snapshot_valid_seconds: int = Field(
        86_400,
        ge=60,
        le=30 * 86_400,
        description="How long a signed snapshot may be used without asking again: for so long it may say that a user "
        "may what they may no more.",
    )
    notifications_allow_private: bool = Field(
        False,
        description="Let notification endpoints be private addresses, any port and plain http. For development, and "
        "for apps inside one network that all projects may reach.",
    )
    notification_concurrency: int = Field(
        32, ge=1, le=500, description="Notifications that one `tollhouse work` has under way at a time."
    )
    log_level: str = Field(
        "INFO", pattern="^(?i:debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_format: str = Field(
        "json", pattern="^(json|console)$", description="`json` for machines, `console` for people."
    )
    log_checks_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The share of the successful checks and probes that get a line in the log; every other request has "
        "one.",
    )
    follow_sandbox_clock: bool = Field(
        False,
        description="Development only: take the time from the sandbox, so that a fast-forward there is felt here.",
    )

    @field_validator("database_url")
    @classmethod
    def _database_is_postgresql(cls, url: SecretStr) -> SecretStr:
        try:
            driver = make_url(url.get_secret_value()).drivername
        except (ArgumentError, ValueError):
            driver = ""
        if driver.partition("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("must be a URL as in postgresql://user:password@host/tollhouse")
        return url

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, listed: str) -> str:
        try:
            return ",".join(str(ipaddress.ip_network(one.strip())) for one in listed.split(","))
        except ValueError:
            raise ValueError("must be addresses or networks with commas between, as in 127.0.0.1,10.0.0.0/8") from None

    @field_validator("redis_url")
    @classmethod
    def _cache_is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must be a URL as in redis://host:6379/0")
        return url

    @field_validator("stripe_secret_key")
    @classmethod
    def _key_names_its_mode(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
            raise ValueError(
                "must begin with sk_test_ or sk_live_ (or rk_…): copy it from Stripe's dashboard, Developers › API keys"
            )
        return key

    @field_validator("stripe_webhook_secret", "stripe_webhook_secret_previous")
    @classmethod
    def _secret_is_one(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().strip()) < 24:
            raise ValueError(
                "is too short to be a signing secret: an empty or guessable one would let anybody forge events"
            )
        return secret

    @field_validator("admin_api_key")
    @classmethod
    def _admin_key_is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 24:
            raise ValueError("must have at least 24 characters: try `openssl rand -hex 24`")
        return key

    @field_validator("secret_key", "secret_key_previous")
    @classmethod
    def _secret_key_is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters: try `openssl rand -hex 32`")
        return key

    @model_validator(mode="after")
    def _sandbox_clock_is_for_test_keys(self) -> Self:
        if self.follow_sandbox_clock and self.livemode:
            raise ValueError("FOLLOW_SANDBOX_CLOCK cannot be used with live keys: real customers live in real time")
        return self

    @property
    def livemode(self) -> bool:
        """Whether the Stripe key moves real money."""
        return "_live_" in self.stripe_secret_key.get_secret_value()[:8]

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets an event may be signed with. Raises SettingsInvalid where there is none."""
        if self.stripe_webhook_secret is None:
            raise SettingsInvalid(
                "STRIPE_WEBHOOK_SECRET is not set: without it anybody could forge a payment. "
                "Create a webhook endpoint for /v1/stripe/webhook in Stripe and copy its signing secret (whsec_…)."
            )
        secrets = (self.stripe_webhook_secret, self.stripe_webhook_secret_previous)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The keys that secrets are derived from, the present one first; none where none is set."""
        keys = (self.secret_key, self.secret_key_previous) if self.secret_key is not None else ()
        return tuple(key.get_secret_value() for key in keys if key is not None)


def load_settings() -> Settings:
    """The settings from the environment and `.env`. Raises SettingsInvalid, which never repeats a value."""
    try:
        return Settings()
    except ValidationError as invalid:
        lines = [
            f"{'_'.join(map(str, e['loc'])).upper() or 'SETTINGS'}: {_advice(e['type'], e['msg'])}"
            for e in invalid.errors()
        ]
        raise SettingsInvalid("\n".join(lines)) from None


def _advice(kind: str, message: str) -> str:
    return "is not set; see .env.example" if kind == "missing" else message.removeprefix("Value error, ")
