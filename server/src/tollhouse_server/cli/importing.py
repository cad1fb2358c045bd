"""Adopt a Stripe account that others have filled."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..commands.import_customers import Adopted, Importer, ImportPlan, Tell
from ..commands.import_payments import PaymentImporter, Sold
from ..domain.adoption import Judged, Linking, Outcome, PastOutcome, same_address
from ..stripe_gateway import StripeClient
from ..stripe_gateway.pace import Pace, paced_client
from .common import ProjectArgument, acting_operator, err, fail, find_project, out, ready_settings, with_resources

if TYPE_CHECKING:
    from ..resources import Resources

app = typer.Typer()

SHOWN = 20


@app.command("import")
def import_customers(
    project: ProjectArgument,
    metadata_key: Annotated[
        str | None, typer.Option(help="The key under which the app kept its user id in Stripe's customer metadata.")
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="CSV with a head: customer,user_id", exists=True)] = None,
    emails: Annotated[
        Path | None,
        typer.Option(help="CSV with a head: email,user_id. Only of addresses that you have verified.", exists=True),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this it is only told.")] = False,
) -> None:
    """Adopt the customers of an existing Stripe account, with their subscriptions and one-time checkouts.

    Tells what it would do, and does it with --apply. May be interrupted and run again. Exits with 1 where somebody
    could not be adopted.
    """
    if not (metadata_key or ids or emails):
        fail("Say whose the customers are: --metadata-key KEY, --ids FILE or --emails FILE; several may be given.")
    linking = Linking(
        by_id=_pairs(ids, "customer") if ids else {},
        metadata_key=metadata_key,
        by_email=_pairs(emails, "email", same_address) if emails else {},
    )

    async def run(resources: "Resources") -> bool:
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
        async with _paced(resources) as stripe:
            with _progress() as tell:
                importer = Importer(resources.database, stripe, replace(resources.pipeline, stripe=stripe), tell)
                plan = await importer.plan(owner, linking)
                done = (
                    await importer.carry_out(owner, plan, acting_operator("import"), at=resources.clock.now())
                    if apply
                    else None
                )
        _say_plan(plan, linking)
        if done is not None:
            return _say_done(done)
        if plan.to_do:
            out.print("Nothing was changed. Run it with --apply to adopt them.")
        return True

    raise typer.Exit(0 if with_resources(ready_settings(), run) else 1)


@app.command("import-payments")
def import_payments(
    project: ProjectArgument,
    file: Annotated[Path, typer.Argument(help="CSV with a head: payment,user_id,product", exists=True)],
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this it is only told.")] = False,
) -> None:
    """Give grants for one-time payments that belong to no customer: each a charge, payment intent or checkout session.

    Tells what it would do, and does it with --apply. May be interrupted and run again.
    """
    rows = [Sold(*row) for _, row in _rows(file, ("payment", "user_id", "product"))]

    async def run(resources: "Resources") -> None:
        async with resources.database.transaction() as tx:
            owner = await find_project(tx, project)
        async with _paced(resources) as stripe:
            with _progress() as tell:
                importer = PaymentImporter(
                    resources.database, stripe, resources.refresh, lambda done, all_: tell("payments", done, all_)
                )
                why = acting_operator("import-payments")
                outcomes = await importer.run(owner, rows, why, at=resources.clock.now(), apply=apply)
        for outcome, those in outcomes.items():
            if those:
                said = "have become grants" if apply and outcome is PastOutcome.GIVE else outcome
                out.print(f"{len(those):>7,}  {said}", markup=False)
                if outcome not in (PastOutcome.GIVE, PastOutcome.DONE):
                    out.print(f"         {', '.join(one.payment for one in those[:SHOWN])}", markup=False)
        if outcomes[PastOutcome.GIVE] and not apply:
            out.print("Nothing was changed. Run it with --apply to give the grants.")

    with_resources(ready_settings(), run)


def _paced(resources: "Resources") -> AbstractAsyncContextManager[StripeClient]:
    """As slow as a reconciliation, so that the account's limits are left to the apps."""
    settings = resources.settings
    pace = Pace(settings.reconcile_requests_per_second)
    return paced_client(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base, pace)


def _rows(file: Path, head: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each row with its place. Fails with file and line where the head is another, or a cell is empty or missing."""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = csv.reader(opened)
        if next(rows, None) != [*head]:
            fail(f"{file}:1: the head must be: {','.join(head)}")
        for row in rows:
            where = f"{file}:{rows.line_num}"
            if len(row) != len(head) or not all(cell.strip() for cell in row):
                fail(f"{where}: must be {', '.join(head)}, separated by commas")
            yield where, row


def _pairs(file: Path, first: str, written: Callable[[str], str] = str) -> dict[str, str]:
    """The file's first column → user id. Fails with file and line where a row contradicts another."""
    pairs: dict[str, str] = {}
    for where, (given, user_id) in _rows(file, (first, "user_id")):
        key = written(given.strip())
        if pairs.setdefault(key, user_id) != user_id:
            fail(f"{where}: {key} is another user's in an earlier line")
    return pairs


def _say_plan(plan: ImportPlan, linking: Linking) -> None:
    counted = Counter(one.outcome for one in plan.judged)
    for outcome, sentence in SENTENCES.items():
        if counted[outcome]:
            out.print(f"{counted[outcome]:>7,}  {sentence}", markup=False)
            for one in _examples(plan, outcome):
                out.print(f"         {_who(one)}", markup=False)
    absent = sorted(set(linking.by_id) - {one.customer for one in plan.judged})
    if absent:
        out.print(f"{len(absent):>7,}  of the id map are not in the account: {', '.join(absent[:5])}", markup=False)
    if plan.to_do:
        told = ", ".join(f"{many:,} {status}" for status, many in sorted(plan.subscriptions.items())) or "none"
        out.print(f"Their subscriptions: {told}. Their paid one-time checkouts: {plan.purchases:,}.", markup=False)
    if plan.unknown_prices:
        out.print("Prices that no product of the catalog has, so that they open nothing yet:", markup=False)
        for price, many in plan.unknown_prices.most_common(SHOWN):
            out.print(f"         {price}  {many:,} subscription{'s' * (many != 1)}", markup=False)
        out.print('  Name each in stripe_prices = ["price_…"] of its product and publish the catalog.', markup=False)
    if plan.nobodys_purchases:
        out.print(
            f"{plan.nobodys_purchases:,} paid one-time checkouts name no customer: see `tollhouse import-payments`.",
            markup=False,
        )


SENTENCES = {
    Outcome.LINK: "to be adopted",
    Outcome.RESUME: "to be read: an import was cut short there",
    Outcome.DONE: "adopted already",
    Outcome.SEVERAL: "of several that would be one user's: say in --ids which it is",
    Outcome.TAKEN: "of users who have another Stripe customer already",
    Outcome.ELSEWHERE: "of another project",
    Outcome.UNUSABLE: "with something that is no user id (1 to 255 characters)",
    Outcome.UNMATCHED: "left alone: nothing says whose they are",
}
_TOLD = (Outcome.SEVERAL, Outcome.TAKEN, Outcome.UNUSABLE, Outcome.UNMATCHED)


def _examples(plan: ImportPlan, outcome: Outcome) -> list[Judged]:
    return [one for one in plan.judged if one.outcome is outcome][:SHOWN] if outcome in _TOLD else []


def _who(one: Judged) -> str:
    user = f" {one.user_id!r} by {one.said_by}" if one.user_id is not None else ""
    others = f", beside {', '.join(one.others)}" if one.others else ""
    return f"{one.customer}{user}{others}"


def _say_done(done: Adopted) -> bool:
    out.print(f"{done.adopted:,} adopted; {done.with_access:,} of them have access to something.")
    for one in done.failures:
        err.print(f"{one.customer} ({one.user_id}) was not adopted: {one.error}", markup=False)
    if done.failures:
        err.print("Run the same command again: it goes on with those.")
    return not done.failures


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar for each list and for the reading on a terminal; elsewhere nothing."""
    if not err.is_terminal:
        yield lambda _stage, _done, _total: None
        return
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell
