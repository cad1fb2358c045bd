"""The `tollhouse` command. Its stories run as processes; what needs no process of its own runs in this one."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook
from typer.main import get_group
from typer.testing import CliRunner

from tollhouse import Unauthenticated
from tollhouse_server import cli
from tollhouse_server.domain.catalog_schema import json_schema
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.key_format import Kind, make_key
from tollhouse_server.settings import Settings
from tollhouse_server.stripe_gateway.client import API_VERSION
from tollhouse_server.testing import OPERATOR_KEY, App, Receiver, World, answering

TOLLHOUSE = Path(sys.executable).with_name("tollhouse")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]

VERBS = [
    "",
    "serve",
    "work",
    "dev",
    "migrate",
    "events",
    "replay",
    "corrections",
    "correct",
    "backup",
    "restore",
    "webhook events",
    "reconcile",
    "import",
    "import-payments",
    "check",
    "why",
    "metrics",
    "catalog plan",
    "catalog apply",
    "catalog pull",
    "catalog unmapped",
    "catalog schema",
    "grants give",
    "grants revoke",
    "grants list",
    "keys issue",
    "keys list",
    "keys rotate",
    "keys revoke",
    "keys scan",
    "doctor",
    "audit list",
    "audit export",
    "operators add",
    "operators list",
    "operators disable",
    "operators enable",
    "operators set-password",
    "audit verify",
    "audit anchors",
    "notifications add",
    "notifications endpoints",
    "notifications deliveries",
    "notifications resend",
    "notifications enable",
]

CATALOG = """
project = "pdf-tool"
name = "PDF Tool"
redirect_origins = ["https://app.test"]
[features.premium_export]
name = "Premium export"
[products.pro]
opens = { premium_export = true }
prices.monthly = { amount = 900, currency = "eur", interval = "month" }
"""


@pytest.fixture
def of_world(world: World) -> dict[str, str]:
    """The settings of the world's service, as an environment."""
    settings = world.service.settings
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.webhook_secrets[0],
        "STRIPE_API_BASE": settings.stripe_api_base,
        "ADMIN_API_KEY": OPERATOR_KEY,
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command as a process in an empty directory, with these variables and no others of Tollhouse's."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def process(environment: dict[str, str], *arguments: str) -> Done:
        done = subprocess.run(
            [TOLLHOUSE, *arguments],
            cwd=tmp_path,
            env=inherited | {"USER": "grace", "LOGNAME": "grace"} | environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return process


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, own_logs: logging.Logger
) -> Run:
    """The same without a new process: the command's own entry, its arguments and environment."""
    for name in [one for one in os.environ if one.lower() in Settings.model_fields]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(environment: dict[str, str], *arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tollhouse", *arguments])
        capsys.readouterr()
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                cli.main()
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, printed.out, printed.err)

    return call


def sentence(done: Done) -> str:
    """What a failed command says: on standard error, without a traceback, and with the exit code 1."""
    assert (done.code, done.out) == (1, ""), done.err
    assert "Traceback" not in done.err
    return done.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(typed: Run, verb: str) -> None:
    """Without any setting."""
    shown = typed({}, *verb.split(), "--help")
    assert shown.code == 0
    assert f"tollhouse {verb}".strip() in shown.out


def test_the_list_of_verbs_says_what_their_modules_say() -> None:
    """`tollhouse --help` imports none of them, so it has a list of its own."""
    told = {verb: sentence for verb, (_, sentence) in cli.VERBS.items()} | cli.GROUPS
    assert {name: " ".join(cli.load(name).help.split("\n\n")[0].split()) for name in told} == told
    modules = {module for module, _ in cli.VERBS.values()}
    carried_out = [get_group(import_module(f"{cli.__name__}.{module}").app).commands for module in modules]
    assert sorted(verb for verbs in carried_out for verb in verbs) == sorted(cli.VERBS)


@pytest.mark.parametrize(
    ("verbs", "without"),
    [
        ((), ("asyncio", "pydantic", "sqlalchemy", "structlog")),
        (("serve", "work", "events", "check", "why", "metrics", "keys", "operators", "audit"), ()),
    ],
    ids=["all, told", "those that only look"],
)
def test_a_verb_imports_what_it_needs(verbs: tuple[str, ...], without: tuple[str, ...]) -> None:
    """Who asks for a list waits for Python and PostgreSQL, not for a library that speaks with Stripe."""
    code = "import sys, tollhouse_server.cli as cli; [cli.load(verb) for verb in sys.argv[1:]]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *verbs], capture_output=True, text=True, check=True, timeout=50)
    heavy = {"alembic", "fastapi", "httpx", "redis", "stripe", "uvicorn", *without}
    assert heavy & set(done.stdout.split()) == set()


def test_selling_from_a_shell(world: World, of_world: dict[str, str], run: Run, typed: Run, tmp_path: Path) -> None:
    """A catalog, a key, a sale: published once however often, used at the API, asked about and explained."""
    (tmp_path / "pdf-tool.toml").write_text(CATALOG)
    first = run(of_world, "catalog", "apply", "pdf-tool.toml")
    assert (first.code, first.err) == (0, "")
    assert "created price pdf-tool.pro.monthly" in first.out
    assert first.out.endswith("pdf-tool, catalog version 1: published.\n")
    again = typed(of_world, "catalog", "apply", "pdf-tool.toml")
    assert again.out == "pdf-tool, catalog version 1: nothing to do: everything is so already.\n"

    key = run(of_world, "keys", "issue", "pdf-tool", "--name", "web").out.strip()
    listed = world.operator.get("/v1/admin/projects/pdf-tool/keys").json()["data"]
    assert [(one["name"], one["id"]) for one in listed] == [("web", key.split("_")[1])]
    with App(world.service.url, key, tomllib.loads(CATALOG)) as app:
        world.customer("ada", app).buys("pdf-tool.pro.monthly")
        [subscription] = app.customer("ada").subscriptions

    may = run(of_world, "check", "pdf-tool", "ada", "premium_export")
    assert (may.code, may.err) == (0, "")
    assert may.out.startswith("allowed (True), until ") and may.out.endswith(": subscription-active\n")
    may_not = typed(of_world, "check", "pdf-tool", "grace", "premium_export")
    assert (may_not.code, may_not.out) == (1, "not allowed: no-source\n")

    why = typed(of_world, "why", "pdf-tool", "ada", "premium_export")
    assert why.code == 0 and why.out.startswith("Allowed until ")
    assert f"  + subscription {subscription.id} [subscription-active] Active: " in why.out
    assert "  next change: " in why.out
    why_then = typed(of_world, "why", "pdf-tool", "ada", "premium_export", "--at", "2020-01-01")
    assert why_then.out.startswith("Not allowed.") and f"  - subscription {subscription.id} [" in why_then.out

    earned = typed(of_world, "metrics", "pdf-tool")
    assert (
        earned.code == 0
        and ", so far\n  MRR 9.00 EUR: new 9.00 EUR\n  customers 1; subscriptions 1 active," in earned.out
    )
    fleet = typed(of_world, "metrics", "--fleet", "--interval", "day")
    assert "the fleet" in fleet.out
    rows = typed(of_world, "metrics", "--fleet", "--csv", "--interval", "month").out.splitlines()
    assert rows[0].startswith("project,from,to,complete,currency,mrr_start,") and rows[-1].startswith("pdf-tool,")
    past = typed(of_world, "metrics", "pdf-tool", "--from", "2020-01-01", "--to", "2020-02-01")
    assert "Nothing was earned in this time." in past.out
    for wrong in (("metrics",), ("metrics", "pdf-tool", "--fleet")):
        assert typed(of_world, *wrong).err == "Name a project, or say --fleet.\n"

    [paid] = world.operator.get("/v1/admin/events", params={"type": "invoice.paid"}).json()["data"]
    listed_events = typed(of_world, "events", "--type", "invoice.paid", "--limit", "5")
    assert f"{paid['id']}  invoice.paid  cus_" in listed_events.out and "  settled, applied" in listed_events.out
    assert typed(of_world, "events", "--state", "buried").out == "No such events.\n"
    assert typed(of_world, "replay", "--buried").out == "No event is buried.\n"
    replayed = typed(of_world, "replay", paid["id"])
    assert replayed.out == f"{paid['id']} is pending again; `tollhouse work` will do it.\n"
    assert world.service.work() == 1


def test_a_catalog_is_changed_from_a_shell(
    world: World, of_world: dict[str, str], run: Run, typed: Run, tmp_path: Path
) -> None:
    """Planned, shown, and done as it was shown; where nobody can be asked, a change says what it wants."""
    of_world = of_world | {"FOLLOW_SANDBOX_CLOCK": "true"}  # other stories let time pass there
    catalog = tmp_path / "shop.toml"
    catalog.write_text(CATALOG.replace("pdf-tool", "shop"))
    first = typed(of_world, "catalog", "plan", "shop.toml")
    assert first.code == 2 and "  + price shop.pro.monthly\n      product: tollhouse_shop_pro\n" in first.out
    assert "Catalog, the first:\n" in first.out
    app = world.publish(tomllib.loads(catalog.read_text()))
    world.customer("ada", app).buys("shop.pro.monthly")
    same = typed(of_world, "catalog", "plan", "shop.toml")
    assert (same.code, same.out) == (0, "shop, catalog version 1: nothing to do: everything is so already.\n")

    catalog.write_text(catalog.read_text().replace("900", "1000").replace("= true", "= false"))
    planned = typed(of_world, "catalog", "plan", "shop.toml", "--out", "plan.json")
    [old] = world.stripe.v1.prices.list({"lookup_keys": ["shop.pro.monthly"]}).data
    assert planned.code == 2
    for line in (
        f"  + price shop.pro.monthly, instead of {old.id}\n      unit_amount: 900 → 1000",
        f"  - price shop.pro.monthly: {old.id} is sold no longer",
        "Catalog, version 1 → 2:\n  ~ Product pro: premium_export on becomes off.",
        "Customers, 1 customer (1 paying, MRR 9.00 EUR) of 1:",
        "  - 1 customer (1 paying, MRR 9.00 EUR): lose premium_export",
        ": at Stripe 1 to create, 0 to change, 1 to archive.",
    ):
        assert line in planned.out
    told = json.loads(typed(of_world, "catalog", "plan", "shop.toml", "--json").out)
    assert told["id"] in planned.out and told["blast_radius"]["mrr"] == {"eur": 900}

    unasked = run(of_world, "catalog", "apply", "shop.toml")
    assert unasked.code == 1 and "lose premium_export" in unasked.out
    assert unasked.err == f"Nothing was done, as nobody can be asked here: say --yes, or --plan {told['id']}.\n"
    another = typed(of_world, "catalog", "apply", "shop.toml", "--plan", "plan_of_yesterday")
    assert "The plan is outdated" in sentence(another)
    asked = typed(of_world, "catalog", "apply", "plan.json")
    assert asked.code == 1 and "premium_export on becomes off: 1 customer would have less by it." in asked.err
    assert "Undecided, product pro: " in planned.out
    answered = typed(of_world, "catalog", "plan", "shop.toml", "--existing", "move", "--out", "plan.json")
    assert answered.code == 2 and "Undecided" not in answered.out
    done = typed(of_world, "catalog", "apply", "plan.json")
    assert done.code == 0 and done.out.endswith("shop, catalog version 2: published.\n")
    assert "The plan is outdated" in sentence(typed(of_world, "catalog", "apply", "plan.json"))
    catalog.write_text(catalog.read_text().replace("1000", "1100"))
    agreed = typed(of_world, "catalog", "apply", "shop.toml", "--yes")
    assert agreed.code == 0 and "unit_amount: 1000 → 1100" in agreed.out
    assert agreed.out.endswith("shop, catalog version 3: published.\n")


def test_a_catalog_is_pulled_from_a_shell(world: World, of_world: dict[str, str], typed: Run, tmp_path: Path) -> None:
    """Of an account that sells already a file is written that can be planned and applied; then it is what is pulled."""
    feature = world.stripe.v1.entitlements.features.create({"lookup_key": "old_export", "name": "Export"})
    product = world.stripe.v1.products.create({"name": "Old Pro"})
    world.stripe.v1.products.features.create(product.id, {"entitlement_feature": feature.id})
    costs: dict[str, Any] = {"product": product.id, "currency": "eur", "unit_amount": 700}
    monthly = world.stripe.v1.prices.create({**costs, "recurring": {"interval": "month"}, "lookup_key": "old_monthly"})
    once = world.stripe.v1.prices.create(costs)
    pulled = typed(of_world, "catalog", "pull", "--project", "pulled", "--out", "pulled.toml")
    assert (pulled.code, pulled.out) == (0, "")
    text = (tmp_path / "pulled.toml").read_text()
    document = tomllib.loads(text)
    assert document["products"]["old-pro"] == {
        "name": "Old Pro",
        "opens": {"old_export": True},
        "prices": {
            "old_monthly": {"amount": 700, "currency": "eur", "interval": "month"},
            "once": {"amount": 700, "currency": "eur"},
        },
        "stripe_prices": [monthly.id, once.id],
    }
    assert f"# Code made up: {once.id} has no lookup key." in text
    assert "is there already" in sentence(typed(of_world, "catalog", "pull", "--out", "pulled.toml"))
    assert "A slug has" in sentence(typed(of_world, "catalog", "pull", "--project", "Not A Slug"))

    document["products"] = {"old-pro": document["products"]["old-pro"]}
    assert world.operator.put("/v1/admin/projects/pulled/catalog", json=document).is_success
    again = typed(of_world, "catalog", "pull", "--project", "pulled")
    assert again.code == 0 and tomllib.loads(again.out) == document and "#" not in again.out


def test_unmapped_prices_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """Who holds a price that no product counts is listed, warned of by the doctor and measured."""
    app = world.publish(tomllib.loads(CATALOG.replace("pdf-tool", "odd")))
    known = typed(of_world, "catalog", "unmapped", "--project", "odd")
    assert (known.code, known.out) == (0, "Every price that a customer holds is known.\n")
    ada = world.customer("ada", app)
    app.open_checkout("ada", "odd.pro.monthly", success_url="https://app.test/", cancel_url="https://app.test/")
    ada.pays_with("pm_card_visa")
    costs: dict[str, Any] = {"currency": "eur", "unit_amount": 700, "recurring": {"interval": "month"}}
    price = world.stripe.v1.prices.create({"product_data": {"name": "By hand"}, **costs})
    world.stripe.v1.subscriptions.create({"customer": ada.stripe_id, "items": [{"price": price.id}]})
    world.arrive()
    head, row = typed(of_world, "catalog", "unmapped").out.splitlines()
    assert head.split()[:3] == ["PROJECT", "PRICE", "CUSTOMERS"]
    assert row.startswith(f"odd      {price.id}  1") and "By hand, 7.00 EUR every month" in row and row.endswith("ada")
    told = {one["name"]: one for one in json.loads(typed(of_world, "doctor", "--json").out)["checks"]}
    assert told["prices-unmapped"]["examples"] == [f"odd {price.id}, 1 customers"]
    measured = httpx.get(f"{world.service.url}/metrics").text
    assert "tollhouse_unmapped_prices 1.0" in measured and "tollhouse_unmapped_price_customers 1.0" in measured


def test_a_person_is_asked_before_a_catalog_changes(world: World, of_world: dict[str, str], tmp_path: Path) -> None:
    """At a terminal the plan is shown in colour, with a question; only y does it."""
    world.publish(tomllib.loads(CATALOG.replace("pdf-tool", "asked")))
    (tmp_path / "asked.toml").write_text(CATALOG.replace("pdf-tool", "asked").replace("900", "1000"))

    def answers(answer: str) -> tuple[int, str]:
        terminal, ours = pty.openpty()
        process = subprocess.Popen(
            [TOLLHOUSE, "catalog", "apply", "asked.toml"],
            cwd=tmp_path,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
            | of_world
            | {"TERM": "xterm"},
            stdin=ours,
            stdout=ours,
            stderr=ours,
        )
        os.close(ours)
        os.write(terminal, answer.encode())
        shown = b""
        with suppress(OSError):  # Linux's way to say that nobody holds the other end any more
            while some := os.read(terminal, 4096):
                shown += some
        os.close(terminal)
        return process.wait(timeout=50), shown.decode()

    code, shown = answers("n\n")
    assert code == 1 and "Do this? [y/N]" in shown and "Nothing was done." in shown
    assert re.search(r"\x1b\[32m +\+ price asked.pro.monthly", shown)
    code, shown = answers("y\n")
    assert code == 0 and "asked, catalog version 2: published." in shown


def test_reconciling_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """A sale nobody told of: a dry run finds it and exits with 3, the repair and everything after it with 0."""
    app = world.publish(tomllib.loads(CATALOG))
    world.hold_webhooks()
    world.customer("ada", app).buys("pdf-tool.pro.monthly")
    world.passes(minutes=5)
    environment = of_world | {"RECONCILE_REQUESTS_PER_SECOND": "20", "FOLLOW_SANDBOX_CLOCK": "true"}
    dry = typed(environment, "reconcile", "--dry-run", "--project", "pdf-tool")
    assert dry.code == 3 and "customers" in dry.out and "pdf-tool ada: sub_" in dry.out
    assert "1 user locked out of what they paid for" in dry.out and "NOT repaired" in dry.out
    assert "repair:" in dry.err  # no terminal, so a line for each stage
    assert not app.check("ada", "premium_export")
    missing = typed(environment, "reconcile", "--catch-up")
    assert missing.code == 0 and "[paid_but_locked_out] repaired" in missing.out
    assert app.check("ada", "premium_export")
    clean = typed(environment, "reconcile")
    assert (clean.code, clean.out.splitlines()[-1]) == (0, "Nothing differs.")
    assert "No project nobody" in sentence(typed(environment, "reconcile", "--project", "nobody"))


def test_grants_from_a_shell(world: World, of_world: dict[str, str], typed: Run, tmp_path: Path) -> None:
    """Given, overridden, listed and taken back; each changes what `check` says at once."""
    assert world.operator.put("/v1/admin/projects/pdf-tool/catalog", json=tomllib.loads(CATALOG)).is_success
    why = ("--reason", "support case 4711")
    asked = ("grants", "give", "pdf-tool", "gwen", "--feature", "premium_export", *why)
    given = typed(of_world, *asked).out.strip()
    check = ("check", "pdf-tool", "gwen", "premium_export")
    assert typed(of_world, *check).out == "allowed (True), for ever: granted\n"
    closing = typed(of_world, *asked, "--override", "--value", "false", "--ends-at", "2999-01-01").out.strip()
    assert typed(of_world, *check).out == "not allowed: overridden\n"
    listed = typed(of_world, "grants", "list", "pdf-tool", "gwen").out
    assert "premium_export exactly false" in listed and "2999-01-01" in listed and given in listed
    assert typed(of_world, "grants", "revoke", closing, *why).out == f"{closing} is revoked.\n"
    assert typed(of_world, *check).out == "allowed (True), for ever: granted\n"
    assert "revoked" in typed(of_world, "grants", "list", "pdf-tool", "gwen").out
    for wrong in (
        (*asked, "--value", "lots"),
        (*asked, "--value", "-1"),
        ("grants", "give", "pdf-tool", "gwen", "--feature", "nothing", *why),
        ("grants", "revoke", "gr_none", *why),
    ):
        assert sentence(typed(of_world, *wrong))


def test_keys_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """Issued with scopes and an end, listed with their state, rotated with an overlap, revoked; machines' keys too."""
    registered = world.operator.post("/v1/admin/projects", json={"slug": "pdf-tool", "name": "PDF Tool"})
    assert registered.is_success

    def works(key: str) -> bool:
        with App(world.service.url, key, tomllib.loads(CATALOG)) as app:
            try:
                return bool(app.catalog())
            except Unauthenticated:
                return False

    asked = ("keys", "issue", "pdf-tool", "--name", "web", "--scope", "check", "--expires-in-days", "90")
    first = typed(of_world, *asked).out.strip()
    assert works(first)
    second = typed(of_world, "keys", "rotate", first.split("_")[1], "--overlap-hours", "2").out.strip()
    assert works(first) and works(second)
    gone = typed(of_world, "keys", "revoke", second.split("_")[1])
    assert gone.out == f"{second.split('_')[1]} is revoked.\n" and not works(second)
    rows = [line.split() for line in typed(of_world, "keys", "list", "pdf-tool").out.splitlines()[1:]]
    assert {(row[0], *row[1:4]) for row in rows} == {
        (first.split("_")[1], "web", "check", "expires"),
        (second.split("_")[1], "web", "check", "revoked"),
    }

    machine = typed(of_world, "keys", "issue", "--operator", "--name", "ci").out.strip()
    assert machine.startswith("tollhouse_operator_")
    listed = typed(of_world, "keys", "list", "--operator").out
    assert machine.split("_")[2] in listed and "in use" in listed and machine not in listed
    for wrong in (
        ("keys", "issue"),
        ("keys", "issue", "pdf-tool", "--operator"),
        ("keys", "issue", "--operator", "--scope", "check"),
        ("keys", "rotate", "nobodys"),
        ("keys", "revoke", "nobodys"),
        ("keys", "issue", "pdf-tool", "--scope", "operator"),
    ):
        assert sentence(typed(of_world, *wrong))


def test_notifications_from_a_shell(world: World, of_world: dict[str, str], typed: Run, receiver: Receiver) -> None:
    """An endpoint is added, disabled by its own answer, looked at, enabled, and sent what it missed."""
    world.operator.post("/v1/admin/projects", json={"slug": "pdf-tool", "name": "PDF Tool"}).raise_for_status()
    assert typed(of_world, "notifications", "endpoints", "pdf-tool").out.startswith("No endpoints")
    refused = typed(of_world, "notifications", "add", "pdf-tool", receiver.url)
    assert "SECRET_KEY" not in refused.err and "/url: " in refused.err and refused.code == 1
    inside = {**of_world, "NOTIFICATIONS_ALLOW_PRIVATE": "true"}
    assert "SECRET_KEY" in sentence(typed(inside, "notifications", "add", "pdf-tool", receiver.url))
    key = world.service.settings.secret_keys[0]
    added = typed({**inside, "SECRET_KEY": key}, "notifications", "add", "pdf-tool", receiver.url, "--description", "x")
    endpoint, secret = added.out.split()

    receiver.answers["/"] = answering(410)
    path = f"/v1/admin/projects/pdf-tool/notification-endpoints/{endpoint}"
    message = world.operator.post(f"{path}/test").json()["message_id"]
    world.service.work()
    Webhook(secret).verify(receiver.received[0].body, receiver.received[0].headers)
    here = ("pdf-tool", endpoint)
    listed = typed(of_world, "notifications", "endpoints", "pdf-tool").out
    assert listed.startswith(f"{endpoint}  {receiver.url}  0 pending, 1 given up  disabled 20")
    assert listed.endswith(": It answered 410 Gone.\n")
    assert typed(of_world, "notifications", "deliveries", *here, "--state", "given_up").out == (
        f"{message}  endpoint.test  given_up  1 attempt  It answered 410: anything but 2xx is a failure.\n"
    )
    assert typed(of_world, "notifications", "deliveries", *here, "--state", "pending").out == "No such deliveries.\n"
    assert "disabled" in sentence(typed(of_world, "notifications", "resend", *here, "--message", message))
    assert typed(of_world, "notifications", "enable", *here).out == f"{endpoint} is enabled.\n"
    receiver.answers.clear()
    assert typed(of_world, "notifications", "resend", *here, "--message", message).out.startswith("1 queued")
    assert typed(of_world, "notifications", "resend", *here, "--since", "2020-01-01").out.startswith("0 queued")
    world.service.work()
    assert len(receiver.received) == 2
    for wrong in ((), ("--message", message, "--since", "2020-01-01"), ("--message", "msg_nobodys")):
        assert sentence(typed(of_world, "notifications", "resend", *here, *wrong))
    assert sentence(typed(of_world, "notifications", "endpoints", "nobodys"))
    assert sentence(typed(of_world, "notifications", "enable", "pdf-tool", "ne_nobodys"))


def test_leaked_keys_are_found(world: World, of_world: dict[str, str], run: Run, typed: Run, tmp_path: Path) -> None:
    """In any file below a directory and in what is piped in, whose they are and whether they work; never printed."""
    world.operator.post("/v1/admin/projects", json={"slug": "pdf-tool", "name": "PDF Tool"}).raise_for_status()
    live, machine, nobodys = world.new_key("pdf-tool"), make_key(Kind.OPERATOR), make_key(Kind.PROJECT)
    world.operator.delete(f"/v1/admin/projects/pdf-tool/keys/{live.split('_')[1]}").raise_for_status()
    leaks = tmp_path / "leaks"
    (leaks / "below" / ".git").mkdir(parents=True)
    (leaks / "below" / ".git" / "packed").write_text(live)
    (leaks / "app.env").write_text(f"A=1\nTOLLHOUSE_API_KEY={live}\n")
    (leaks / "below" / "core").write_bytes(b"\x00\xff\n" + f"x{machine}y{nobodys}".encode() + b"\xfe")
    (leaks / "fine.txt").write_text(f"{live[:-1]}\n{live[:-8]}00000000\ntollhouse_aB3dE5fG7hJ9_…\n")
    found = typed({}, "keys", "scan", str(leaks))
    assert found.code == 1
    assert found.out.splitlines() == [
        f"{leaks}/app.env:2: project key {live.split('_')[1]}",
        f"{leaks}/below/core:2: operator key {machine.split('_')[2]}",
        f"{leaks}/below/core:2: project key {nobodys.split('_')[1]}",
    ]
    told = typed(of_world, "keys", "scan", str(leaks / "app.env"), str(leaks / "below"), "--state").out.splitlines()
    assert [line.partition(", ")[2] for line in told] == ["pdf-tool, revoked", *["never issued here"] * 2]
    assert not any(key in found.out for key in (live, machine, nobodys))
    assert typed({}, "keys", "scan", str(leaks / "fine.txt")).code == 0
    away = typed({}, "keys", "scan", str(tmp_path / "nothing"))
    assert away.code == 2 and "No such file" in away.err
    piped = CliRunner().invoke(cli.app, ["keys", "scan", "-"], input=f"+{live}\n")
    assert (piped.exit_code, piped.stdout) == (1, f"standard input:1: project key {live.split('_')[1]}\n")


def test_operators_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """Named with a password that is made or asked for, shut out, let in; the password alone is standard output."""

    def works(password: str) -> bool:
        answer = httpx.get(f"{world.service.url}/v1/admin/projects", auth=("grace", password), trust_env=False)
        return answer.status_code == 200

    added = typed(of_world, "operators", "add", "grace", "--generate")
    assert (added.code, added.err) == (0, "grace is an operator.\n")
    made = added.out.strip()
    assert works(made)
    assert typed(of_world, "operators", "disable", "grace").code == 0 and not works(made)
    assert typed(of_world, "operators", "enable", "grace").code == 0 and works(made)
    chosen = "a sentence of her own"
    asked = CliRunner().invoke(
        cli.app, ["operators", "set-password", "grace"], input=f"{chosen}\n{chosen}\n", env=of_world
    )
    assert asked.exit_code == 0 and chosen not in asked.output
    assert works(chosen) and not works(made)
    listed = typed(of_world, "operators", "list").out
    assert "grace" in listed and "argon2" not in listed
    assert sentence(typed(of_world, "operators", "add", "grace", "--generate"))
    assert "/name: " in sentence(typed(of_world, "operators", "add", "Grace Hopper", "--generate"))
    assert "operators list" in sentence(typed(of_world, "operators", "disable", "nobody"))
    assert sentence(typed(of_world, "operators", "set-password", "nobody", "--generate"))


def test_the_audit_trail_from_a_shell(world: World, of_world: dict[str, str], typed: Run, tmp_path: Path) -> None:
    """Who did what, all of it as JSON lines, whether it is whole; and the first entry that is not, by its place."""
    (tmp_path / "pdf-tool.toml").write_text(CATALOG)
    assert typed(of_world, "catalog", "apply", "pdf-tool.toml").code == 0
    listed = typed(
        of_world, "audit", "list", "--project", "pdf-tool", "--action", "catalog.published", "--from", "2020-01-01"
    )
    assert re.fullmatch(r"\S+Z  \d+  pdf-tool  catalog.published by \w+ \(tollhouse catalog apply\)\n", listed.out)
    as_lines = typed(of_world, "audit", "export")
    exported = [json.loads(line) for line in as_lines.out.splitlines()]
    assert [one["action"] for one in exported][:2] == ["project.registered", "catalog.published"]
    assert typed(of_world, "audit", "list", "--json").out.splitlines() == as_lines.out.splitlines()[::-1]

    (tmp_path / "anchors").write_text(typed(of_world, "audit", "anchors").out)
    whole = typed(of_world, "audit", "verify", "--project", "pdf-tool", "--anchors", "anchors")
    assert whole.code == 0 and f"the chain of pdf-tool: {len(exported)} entries, as they were recorded" in whole.out
    assert "nothing was altered" in whole.out and "against 1 anchors" in whole.out
    with psycopg.connect(of_world["DATABASE_URL"]) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE audit SET actor = 'mallory' WHERE id = %s", [exported[1]["id"]])
    broken = typed(of_world, "audit", "verify")
    assert broken.code == 1 and f"position 2, entry {exported[1]['id']}: edited" in broken.out
    told = json.loads(typed(of_world, "audit", "verify", "--json").out)["chains"]
    assert [one["fault"] and one["fault"]["position"] for one in told] == [None, 2]
    assert "No project nobody is registered" in sentence(typed(of_world, "audit", "verify", "--project", "nobody"))
    assert "There is no anchor in it" in sentence(typed(of_world, "audit", "verify", "--anchors", "pdf-tool.toml"))


def test_the_doctor_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """0 where all is well, 1 where something is wrong, with what to do; 2 where it could not look."""
    with psycopg.connect(of_world["DATABASE_URL"], autocommit=True) as connection:
        assert typed(of_world, "doctor", "--online").code == 1
        connection.execute("INSERT INTO worker (id, seen_at) VALUES ('w', now() + interval '1 minute')")
        well = typed(of_world, "doctor", "--online")
        assert (well.code, well.err) == (0, "") and "all is well." in well.out
        connection.execute(
            "INSERT INTO inbox (event_id, type, body, occurred_at, state, subject)"
            " VALUES ('evt_1', 'invoice.paid', '{}', now(), 'buried', 'cus_x')"
        )
    ill = typed(of_world, "doctor")
    assert ill.code == 1 and "1 not well." in ill.out
    assert "- evt_1 (invoice.paid)" in ill.out and "docs/runbooks/buried-events.md" in ill.out
    told = {one["name"]: one for one in json.loads(typed(of_world, "doctor", "--json").out)["checks"]}
    assert [name for name, one in told.items() if not one["well"]] == ["events-buried"]
    assert told["events-buried"]["count"] == 1 and told["events-buried"]["severity"] == "wrong"
    away = typed(of_world | {"DATABASE_URL": "postgresql://tollhouse@127.0.0.1:9/tollhouse"}, "doctor")
    assert (away.code, away.out) == (2, "") and "It could not look" in away.err
    assert typed({}, "doctor").code == 2


@pytest.mark.breaks("two-subscriptions")
def test_corrections_from_a_shell(world: World, of_world: dict[str, str], typed: Run) -> None:
    """What was found is listed with its reason; one that was reported is carried out, once."""
    assert typed(of_world, "corrections").out == "No such corrections.\n"
    assert typed(of_world, "correct", "--given-up").out == "No correction was given up.\n"
    prices = {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}}
    opens: dict[str, object] = {"opens": {"export": True}, "prices": prices}
    catalog = {"project": "pdf-tool", "name": "PDF Tool", "features": {"export": {}}, "products": {"pro": opens}}
    ada = world.customer("ada", world.publish({**catalog, "redirect_origins": ["https://app.test"]}))
    ada.buys("pdf-tool.pro.monthly")
    world.passes(days=3)
    ada.gets_subscription("pdf-tool.pro.monthly")
    [found] = world.operator.get("/v1/admin/corrections").json()["data"]
    listed = typed(of_world, "corrections", "--state", "reported", "--project", "pdf-tool").out
    assert f"{found['id']}  pdf-tool  ada  cancel-and-refund  reported" in listed
    assert f"    {found['reason']}" in listed
    assert typed(of_world, "corrections", "--state", "done").out == "No such corrections.\n"
    done = typed(of_world, "correct", found["id"])
    assert (done.code, done.out) == (0, f"{found['id']} is pending; `tollhouse work` will do it.\n")
    world.arrive()
    [one] = world.operator.get("/v1/admin/corrections").json()["data"]
    assert (one["state"], one["outcome"]["refunded"]) == ("done", [{"amount": 900, "currency": "eur"}])
    assert "pending or done" in sentence(typed(of_world, "correct", found["id"]))
    assert "Say which" in sentence(typed(of_world, "correct"))
    assert "No project nobody is registered" in sentence(typed(of_world, "corrections", "--project", "nobody"))


def test_mistakes_are_told_in_a_sentence(of_world: dict[str, str], run: Run, typed: Run, tmp_path: Path) -> None:
    """What is wrong, where, and what to do: a traceback helps nobody at night."""
    (tmp_path / "torn.toml").write_text('project = "x"\nname = =')
    torn = sentence(typed(of_world, "catalog", "apply", "torn.toml"))
    assert "torn.toml is not TOML" in torn and "line 2" in torn
    wrong = CATALOG.replace("900", '"9 EUR"').replace("premium_export = true", "export = true")
    (tmp_path / "wrong.toml").write_text(wrong)
    told = sentence(run(of_world, "catalog", "apply", "wrong.toml"))
    assert "wrong.toml:9: products.pro.prices.monthly.amount: must be a whole number of cents" in told
    assert "wrong.toml:8: products.pro.opens.export: no such feature" in told and "[unknown-feature]" in told
    (tmp_path / "no.json").write_text('{"id": "plan_x"}')
    assert "no.json is not a plan" in sentence(typed(of_world, "catalog", "apply", "no.json"))
    assert "No project nobody is registered" in sentence(typed(of_world, "keys", "issue", "nobody"))
    assert "No event evt_none was received" in sentence(typed(of_world, "replay", "evt_none"))
    assert "Say which" in sentence(typed(of_world, "replay"))


def test_an_empty_database_is_migrated_first(postgres_server: PostgresServer, run: Run, typed: Run) -> None:
    """What needs the schema says so; migrating twice is as good as once; no database is a sentence too."""
    postgres_server.create_database("cli_empty")
    environment = {
        "DATABASE_URL": postgres_server.url("cli_empty"),
        "STRIPE_SECRET_KEY": "sk_test_x",
        "STRIPE_WEBHOOK_SECRET": "whsec_" + "x" * 32,
    }
    asked = ("check", "pdf-tool", "ada", "premium_export")
    assert "run `tollhouse migrate` first" in sentence(typed(environment, *asked))
    migrated = run(environment, "migrate")
    assert (migrated.code, migrated.err) == (0, "") and migrated.out.startswith("The schema is at revision ")
    assert typed(environment, "migrate").out == migrated.out
    assert "No project pdf-tool is registered" in sentence(typed(environment, *asked))
    postgres_server.drop_database("cli_empty")
    away = sentence(run(environment, *asked))
    assert "PostgreSQL does not answer" in away and "DATABASE_URL" in away
    assert "PostgreSQL does not answer" in sentence(typed(environment, "migrate"))


def test_nothing_starts_behind_a_wall_with_a_hole(own_database_url: str, typed: Run) -> None:
    """As after a restore without its policies: it is said which table is open, and that migrating closes it."""
    environment = {
        "DATABASE_URL": own_database_url,
        "STRIPE_SECRET_KEY": "sk_test_x",
        "STRIPE_WEBHOOK_SECRET": "whsec_" + "x" * 32,
    }
    with psycopg.connect(own_database_url) as connection:
        connection.execute("ALTER TABLE customer DISABLE ROW LEVEL SECURITY")
    for command in ("serve", "work"):
        told = sentence(typed(environment, command))
        assert "table customer is open" in told and "Run `tollhouse migrate`" in told
    assert typed(environment, "migrate").code == 0
    assert typed(environment, "operators", "list").code == 0


def test_wrong_settings_are_named_and_not_repeated(typed: Run) -> None:
    """Each variable with what to do, all at once; the values are secrets and stay unsaid."""
    told = sentence(typed({}, "work"))
    assert "DATABASE_URL: is not set" in told and "STRIPE_SECRET_KEY: is not set" in told
    secrets = {"STRIPE_SECRET_KEY": "pk_live_oops", "ADMIN_API_KEY": "short-one", "STRIPE_WEBHOOK_SECRET": "whsec_"}
    told = sentence(typed({"DATABASE_URL": "postgresql://x/y", "LOG_FORMAT": "xml", **secrets}, "serve"))
    assert {line.split(":")[0] for line in told.splitlines()} == {*secrets, "LOG_FORMAT"}
    assert not any(value in told for value in ("pk_live_oops", "short-one"))


def test_the_events_for_the_endpoint_are_those_that_matter(typed: Run) -> None:
    """So that Stripe need not send the rest; what somebody must choose by hand is a list to be copied."""
    listed = typed({}, "webhook", "events")
    types = listed.out.splitlines()
    assert {"checkout.session.completed", "invoice.paid", "customer.subscription.deleted", "refund.created"} < set(
        types
    )
    assert not {"invoice.created", "payout.paid"} & set(types) and types == sorted(set(types))
    assert API_VERSION in listed.err


def test_the_schema_is_printed_whole(typed: Run) -> None:
    """As an editor takes it."""
    assert json.loads(typed({}, "catalog", "schema").out) == json_schema()
