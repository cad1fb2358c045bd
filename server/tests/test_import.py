"""An app that had its own Stripe code comes to Tollhouse: its customers are adopted, by the operator's command."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

PDF_TOOL: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "features": {"export": {"name": "Export"}, "archive": {"name": "Archive"}},
    "products": {
        "pro": {
            "opens": {"export": True},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        },
        "archive": {"opens": {"archive": True}, "prices": {"once": {"amount": 2900, "currency": "eur"}}},
    },
}
Import = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def app(world: World) -> Tollhouse:
    return world.publish(PDF_TOOL)


@pytest.fixture
def imports(world: World, tmp_path: Path) -> Import:
    """`tollhouse import pdf-tool …` as a process, in an empty directory."""
    settings = world.service.settings

    def run(*arguments: str, verb: str = "import") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [Path(sys.executable).with_name("tollhouse"), verb, "pdf-tool", *arguments],
            cwd=tmp_path,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                "USER": "grace",
                "LOGNAME": "grace",
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
                "STRIPE_API_BASE": settings.stripe_api_base,
                "LOG_LEVEL": "ERROR",
                "RECONCILE_REQUESTS_PER_SECOND": "20",
            },
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


def price_of(world: World, lookup_key: str) -> str:
    return world.stripe.v1.prices.list({"lookup_keys": [lookup_key]}).data[0].id


def old_customer(world: World, email: str, metadata: dict[str, str] | None = None) -> str:
    """As the app's own code made them: with a card on file."""
    v1 = world.stripe.v1
    made = v1.customers.create({"email": email, "metadata": metadata or {}})
    card = v1.payment_methods.attach("pm_card_visa", {"customer": made.id})
    v1.customers.update(made.id, {"invoice_settings": {"default_payment_method": card.id}})
    return made.id


def subscribe(world: World, customer: str, price: str) -> str:
    return world.stripe.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]}).id


def buy_once(world: World, customer: str | None, price: str) -> None:
    page = world.stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price": price, "quantity": 1}],
            "success_url": "https://app.test/",
            **({"customer": customer} if customer else {}),  # type: ignore[typeddict-item]
        }
    )
    world.sandbox.pay(str(page.url))


def linked(world: World, users: Iterable[str]) -> dict[str, str | None]:
    return {user: world.customer(user).stripe_id for user in users}


def test_an_account_is_adopted(world: World, app: Tollhouse, imports: Import, tmp_path: Path) -> None:
    """Told first, then done, then nothing is left to do: live, ended and one-time, by metadata and by e-mail map."""
    monthly, once = price_of(world, "pdf-tool.pro.monthly"), price_of(world, "pdf-tool.archive.once")
    ada = old_customer(world, "ada@x.test", {"uid": "ada"})
    bob = old_customer(world, "Bob@X.test", {"uid": "bob"})
    cyd = old_customer(world, "Cyd@X.test")
    dee = old_customer(world, "dee@x.test")
    subscribe(world, ada, monthly)
    world.stripe.v1.subscriptions.cancel(subscribe(world, bob, monthly))
    buy_once(world, bob, once)
    buy_once(world, None, once)
    odd = world.stripe.v1.prices.create(
        {"unit_amount": 100, "currency": "eur", "recurring": {"interval": "month"}, "product_data": {"name": "Odd"}}
    )
    subscribe(world, cyd, odd.id)
    world.arrive()
    assert not app.check("ada", "export").allowed
    (tmp_path / "emails.csv").write_text("email,user_id\ncyd@x.test,cyd\n")
    ways = ("--metadata-key", "uid", "--emails", "emails.csv")

    told = imports(*ways)
    assert told.returncode == 0, told.stderr
    assert "3  to be adopted" in told.stdout
    assert f"1  left alone: nothing says whose they are\n         {dee}" in told.stdout
    assert "Their subscriptions: 2 active, 1 canceled. Their paid one-time checkouts: 1." in told.stdout
    assert f"{odd.id}  1 subscription\n" in told.stdout
    assert "1 paid one-time checkouts name no customer" in told.stdout
    assert "Nothing was changed." in told.stdout
    assert not app.check("ada", "export").allowed

    done = imports(*ways, "--apply")
    assert done.returncode == 0, done.stderr
    assert "3 adopted; 2 of them have access to something." in done.stdout
    assert world.customer("ada").may("export")
    assert not world.customer("bob").may("export")
    assert world.customer("bob").may("archive")
    assert [one.status for one in app.customer("bob").subscriptions] == ["canceled"]
    assert not world.customer("cyd").may("export")
    assert world.stripe.v1.customers.retrieve(ada).to_dict()["metadata"]["tollhouse_user_id"] == "ada"

    again = imports(*ways, "--apply")
    assert "3  adopted already" in again.stdout
    assert "0 adopted" in again.stdout

    # From here on it is a customer like all others: the next month is renewed and heard of.
    world.passes(days=35)
    assert world.customer("ada").may("export")


def test_one_that_fails_is_told_and_taken_up_again(world: World, app: Tollhouse, imports: Import) -> None:
    """Who cannot be read is linked and named, the others are adopted, and the same command goes on with them."""
    monthly = price_of(world, "pdf-tool.pro.monthly")
    people = [old_customer(world, f"{user}@x.test", {"uid": user}) for user in ("ada", "bob")]
    for one in people:
        subscribe(world, one, monthly)
    world.arrive()
    world.sandbox.fail_next(500, times=50, method="GET", path=f"/v1/customers/{people[0]}")
    broken = imports("--metadata-key", "uid", "--apply")
    assert broken.returncode == 1
    assert f"{people[0]} (ada) was not adopted" in broken.stderr
    assert "1 adopted" in broken.stdout
    world.sandbox.clear_faults()
    mended = imports("--metadata-key", "uid", "--apply")
    assert mended.returncode == 0, mended.stderr
    assert "1  to be read: an import was cut short there" in mended.stdout
    assert world.customer("ada").may("export")


def test_what_is_in_doubt_is_left_alone(world: World, app: Tollhouse, imports: Import, tmp_path: Path) -> None:
    """Two Stripe customers of one user: neither is adopted until the operator names one."""
    first, second = (old_customer(world, "ada@x.test", {"uid": "ada"}) for _ in range(2))
    doubt = imports("--metadata-key", "uid", "--apply")
    assert "2  of several that would be one user's" in doubt.stdout
    assert "0 adopted" in doubt.stdout
    (tmp_path / "ids.csv").write_text(f"customer,user_id\n{second},ada\ncus_gone,bob\n")
    named = imports("--metadata-key", "uid", "--ids", "ids.csv", "--apply")
    assert "1 adopted" in named.stdout
    assert "1  of the id map are not in the account: cus_gone" in named.stdout
    assert linked(world, ["ada"]) == {"ada": second}
    later = imports("--metadata-key", "uid")
    assert f"{first} 'ada' by metadata, beside {second}" in later.stdout


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("id,user\n", "ids.csv:1: the head must be: customer,user_id"),
        ("customer,user_id\ncus_a,ada\ncus_b\n", "ids.csv:3: must be customer, user_id, separated by commas"),
        ("customer,user_id\ncus_a,ada\ncus_a,bob\n", "ids.csv:3: cus_a is another user's in an earlier line"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(
    world: World, app: Tollhouse, imports: Import, tmp_path: Path, file: str, wrong: str
) -> None:
    """Nothing is read of Stripe before the files are right."""
    (tmp_path / "ids.csv").write_text(file)
    refused = imports("--ids", "ids.csv", "--apply")
    assert (refused.returncode, wrong in refused.stderr) == (1, True), refused.stderr


def test_whose_they_are_must_be_said(world: World, app: Tollhouse, imports: Import) -> None:
    """Without a way to tell nothing is guessed."""
    refused = imports("--apply")
    assert refused.returncode == 1
    assert "--metadata-key KEY, --ids FILE or --emails FILE" in refused.stderr


def test_payments_of_nobody_become_grants(world: World, app: Tollhouse, imports: Import, tmp_path: Path) -> None:
    """By charge, payment intent or session, once each; what was not paid or was given back gives nothing."""
    v1, once = world.stripe.v1, price_of(world, "pdf-tool.archive.once")
    buy_once(world, None, once)
    session = v1.checkout.sessions.list({"limit": 1}).data[0].id
    card = old_customer(world, "ada@x.test")

    def intent(*, paid: bool = True) -> tuple[str, str]:
        made = v1.payment_intents.create(
            {"amount": 2900, "currency": "eur", "customer": card, "confirm": paid, "off_session": paid}
            | ({"payment_method": v1.payment_methods.list({"customer": card}).data[0].id} if paid else {})  # type: ignore[arg-type]
        )
        return made.id, str(made.latest_charge)

    (bobs, _), (_, cyds), (dees, dees_charge), (unpaid, _) = intent(), intent(), intent(), intent(paid=False)
    v1.refunds.create({"charge": dees_charge})
    (tmp_path / "payments.csv").write_text(
        "payment,user_id,product\n"
        f"{session},ada,archive\n{bobs},bob,archive\n{cyds},cyd,archive\n{dees},dee,archive\n{unpaid},eve,archive\n"
        f"ch_gone,eve,archive\n{bobs},bob,nothing\n"
    )
    told = imports("payments.csv", verb="import-payments")
    assert told.returncode == 0, told.stderr
    for line in ("3  to become grants", "1  were given back in full", "1  were not paid", "1  are not known to Stripe"):
        assert line in told.stdout
    assert f"1  name a product that the catalog does not have\n         {bobs}" in told.stdout
    assert not world.customer("ada").may("archive")
    for _ in range(2):
        done = imports("payments.csv", "--apply", verb="import-payments")
        assert done.returncode == 0, done.stderr
    assert "are grants already" in done.stdout
    having = [user for user in ("ada", "bob", "cyd", "dee", "eve") if world.customer(user).may("archive")]
    assert having == ["ada", "bob", "cyd"]
    assert [one.reason for one in app.customer("bob").grants] == [f"imported payment {bobs}"]
