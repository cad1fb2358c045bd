"""Rules of the code that a review would otherwise say again and again."""

import ast
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
from sqlalchemy import DateTime
from sqlalchemy.dialects import postgresql

from tollhouse_server.db.tables import metadata
from tollhouse_server.domain.evidence import SubscriptionStatus
from tollhouse_server.key_format import keys_in
from tollhouse_server.projection import concerning

ROOT = Path(__file__).parents[3]
SERVER = ROOT / "server/src/tollhouse_server"


def importers(module: str) -> set[str]:
    """Which modules of the service import `module` of another package, or ours by its last name."""
    found = set()
    for path in SERVER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(one.name for one in node.names if node.level)]
            if any(name == module or name.startswith(f"{module}.") for name in names):
                found.add(path.relative_to(SERVER).as_posix())
    return found


def matching(pattern: re.Pattern[str]) -> set[str]:
    """Which modules of the service have the pattern in their text."""
    return {path.relative_to(SERVER).as_posix() for path in SERVER.rglob("*.py") if pattern.search(path.read_text())}


def test_only_the_gateway_knows_stripe() -> None:
    """Beside it only the harness of the tests, which plays the person at Stripe's dashboard."""
    assert {name.split("/")[0] for name in importers("stripe")} == {"stripe_gateway", "testing"}


def test_only_what_puts_things_together_reads_settings() -> None:
    """Everything else is handed what it needs, so that a test can hand it something else."""
    together = {"app.py", "cli", "dev", "resources.py", "testing", "worker.py"}
    assert {name.split("/")[0] for name in importers("settings")} <= together
    environment = re.compile(r"os\.(environ|getenv)")
    readers = {name.split("/")[0] for name in matching(environment)}
    assert readers <= {"dev", "embedded", "telemetry.py"}  # the last: the Prometheus library has a variable of its own


def test_only_the_engine_commits() -> None:
    """What takes a transaction leaves it to whoever opened it; migrations have their own."""
    assert matching(re.compile(r"\.commit\(\)")) <= {"db/migrate.py", "db/engine.py"}


def test_a_projects_call_is_kept_to_its_project() -> None:
    """Transactions that see every project are opened where no project calls: by operators, workers, Stripe.

    Whoever is neither says `transaction(project=…)`; whoever is, is added here.
    """
    across = {"admin_*", "authentication", "once", "service", "stripe_webhook"}
    everywhere = matching(re.compile(r"\.(transaction|statement)\(\)"))
    in_api = {name for name in everywhere if name.startswith("api/")}
    assert {name for name in in_api if not any(fnmatch(name, f"api/{one}.py") for one in across)} == set()
    in_commands = {name for name in everywhere if name.startswith("commands/")}
    assert in_commands == {
        "commands/carry_out_corrections.py",
        "commands/change_subscription.py",
        "commands/finish_checkouts.py",
        "commands/plan_catalog.py",
        "commands/import_customers.py",  # an operator's; a customer of another project's is left alone
        "commands/import_payments.py",
        "commands/publish_catalog.py",
    }


def test_every_instant_has_a_zone() -> None:
    """`timestamptz`, in every table."""
    columns = [column for table in metadata.sorted_tables for column in table.c]
    instants = [column for column in columns if "TIMESTAMP" in str(column.type.compile(postgresql.dialect()))]  # type: ignore[no-untyped-call]
    assert len(instants) > 15
    naive = [str(one) for one in instants if "WITH TIME ZONE" not in str(one.type.compile(postgresql.dialect()))]  # type: ignore[no-untyped-call]
    assert naive == []
    assert [str(one) for one in columns if one.name.endswith(("_at", "_until")) and one not in instants] == []
    assert not any(isinstance(one.type, DateTime) and not one.type.timezone for one in columns)


def test_every_table_of_a_tenant_names_its_project() -> None:
    """Never null where a row is somebody's; the inbox learns it late, audit entries and operator keys may have none."""
    shared = {"project", "operator", "worker", "reconciliation_seen", "reconciliation_suspect"}
    late = {"inbox", "audit", "audit_seal", "api_key", "idempotency_key", "reconciliation", "drift"}
    for table in metadata.sorted_tables:
        assert ("project_id" in table.c) != (table.name in shared), table.name
        if table.name not in shared | late:
            assert not table.c.project_id.nullable, table.name
        if "project_id" in table.c:
            assert {key.target_fullname for key in table.c.project_id.foreign_keys} == {"project.id"}, table.name


CUSTOMER, CHARGE, PRODUCT = "cus_1", "ch_1", "prod_1"
OF_CUSTOMER = {"id": "other_1", "customer": CUSTOMER}
OBJECTS = {
    "customer": {"id": CUSTOMER},
    "refund": {"id": "re_1", "charge": CHARGE},
    "charge.dispute": {"id": "du_1", "charge": CHARGE},
    "charge": {"id": CHARGE, "customer": CUSTOMER},
    "product": {"id": PRODUCT},
    "price": {"id": "price_1", "product": PRODUCT},
}


@pytest.mark.parametrize(
    ("types", "obj", "subject"),
    [
        ("checkout.session: completed async_payment_succeeded async_payment_failed expired", OF_CUSTOMER, CUSTOMER),
        ("customer.subscription: created updated deleted paused resumed trial_will_end", OF_CUSTOMER, CUSTOMER),
        ("invoice: paid payment_succeeded payment_failed payment_action_required", OF_CUSTOMER, CUSTOMER),
        ("charge: refunded", OBJECTS["charge"], CUSTOMER),
        ("refund: created updated failed", OBJECTS["refund"], CHARGE),
        ("charge.dispute: created updated closed funds_withdrawn funds_reinstated", OBJECTS["charge.dispute"], CHARGE),
        ("customer: updated deleted", OBJECTS["customer"], CUSTOMER),
        ("product: created updated deleted", OBJECTS["product"], PRODUCT),
        ("price: created updated deleted", OBJECTS["price"], PRODUCT),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_every_event_that_matters_is_decided(types: str, obj: dict[str, str], subject: str) -> None:
    """Each leads to the object that is read again, expanded or not; of an object without one nothing is ours."""
    kind, _, verbs = types.partition(": ")
    for verb in verbs.split():
        assert concerning(f"{kind}.{verb}", obj) == subject, verb
        expanded = {
            name: {"id": value} if name in ("customer", "charge", "product") else value for name, value in obj.items()
        }
        assert concerning(f"{kind}.{verb}", expanded) == subject, verb
        assert concerning(f"{kind}.{verb}", {}) is None, verb


@pytest.mark.parametrize("type_", ["invoice.created", "customer.created", "payout.paid", "something.new", "x", ""])
def test_an_event_that_does_not_matter_concerns_nobody(type_: str) -> None:
    """So that it is stored and settled at once."""
    assert concerning(type_, {"id": CUSTOMER, "customer": CUSTOMER}) is None


def test_every_status_of_a_subscription_is_said_in_prose() -> None:
    """The billing rules tell each, in words."""
    prose = (SERVER / "domain/README.md").read_text().split("## Subscriptions")[1].split("## Purchases")[0]
    assert [one for one in SubscriptionStatus if one.value.replace("_", " ") not in prose] == []


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_knows_where_it_was_written() -> None:
    """No absolute path of a developer's machine, nothing outside the repository, no package registry."""
    # In pieces, so that this file does not find itself.
    pieces = ["/wo" + "rk/", r"\.\./sha" + "red", "pypi" + r"\.org", "pythonhosted" + r"\.org", "/ho" + r"me/\w+/"]
    forbidden = re.compile("|".join([*pieces, re.escape(f"{ROOT}/")]))
    found = {}
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if match := forbidden.search(text):
            found[path.relative_to(ROOT).as_posix()] = match[0]
    assert found == {}


def test_no_file_holds_a_real_key() -> None:
    """But the two that are published to test with; an example in a page or a test is one whose checksum is wrong."""
    found = {path: list(keys_in(path.read_bytes().decode("latin-1"))) for path in tracked()}
    assert {path.name for path, keys in found.items() if keys} == set()


def test_modules_and_functions_are_short() -> None:
    """400 lines a module, 60 a function: what is longer does two things. A migration is a list."""
    long = []
    sources = [path for name in ("server", "client", "sandbox") for path in (ROOT / name / "src").rglob("*.py")]
    for path in (one for one in sources if "migrations" not in one.parts):
        text = path.read_text()
        tree = ast.walk(ast.parse(text))
        functions = [node for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        long += [f"{path.name}:{one.name}" for one in functions if (one.end_lineno or 0) - one.lineno >= 60]
        long += [path.name] if len(text.splitlines()) > 400 else []
    assert long == []
