"""Do the tests notice? Each mutant is a bug that somebody somewhere shipped, made in a copy of the code.

A named test or run must fail on it. `make mutants` prints one line each and exits with 1 where one lives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "server/src"
PATIENCE = 300.0
"""Seconds that a killing test may take; one that hangs on the broken code has noticed too."""


@dataclass(frozen=True)
class Mutant:
    """In `file`, which is the server's, `old` becomes `new`; `killer` is what must fail then."""

    name: str
    file: str
    old: str
    new: str
    killer: str
    """A test to be run by pytest, or `run NAME ARGUMENTS` of `python -m reliability`."""


MUTANTS = (
    Mutant(
        "answered 200 before the commit, which fails",
        "api/stripe_webhook.py",
        "        return await ctx.intake.store(event)\n    except psycopg.OperationalError as error:\n",
        "        return await ctx.intake.store(event)\n    except psycopg.OperationalError:\n        return True\n"
        "    except RuntimeError as error:\n",
        "server/tests/api/test_outage.py",
    ),
    Mutant(
        "answered 200 while the commit is under way",
        "intake.py",
        "        return await answer\n",
        "        return True\n",
        "server/tests/core/test_intake.py",
    ),
    Mutant(
        "settled in a transaction before the change's",
        "pipeline.py",
        "            owner, found = await self._write(tx, facts, claim.read, why, look=bool(claim.found))\n",
        "            async with self.database.transaction() as other:\n"
        "                await inbox.settle(other, claim, inbox.APPLIED)\n"
        "            owner, found = await self._write(tx, facts, claim.read, why, look=bool(claim.found))\n",
        "server/tests/core/test_pipeline.py",
    ),
    Mutant(
        "an older read of Stripe overwrites a newer one",
        "projection.py",
        "    if row.read_number < read:\n",
        "    if read:\n",
        "server/tests/core/test_projection.py",
    ),
    Mutant(
        "the same, with only slow answers to show it",
        "projection.py",
        "    if row.read_number < read:\n",
        "    if read:\n",
        "run permutations --share 0.25 --seed 1",
    ),
    Mutant(
        "the customer is not locked while it is computed",
        "refresh.py",
        "select(customer).where(customer.c.id == customer_id).with_for_update(key_share=True)",
        "select(customer).where(customer.c.id == customer_id)",
        "server/tests/core/test_refresh.py",
    ),
    Mutant(
        "an event that comes twice is work twice",
        "inbox.py",
        "  ON CONFLICT (event_id) DO NOTHING\n",
        "  ON CONFLICT (event_id) DO UPDATE SET state = 'received', outcome = NULL, next_attempt_at = now()\n",
        "server/tests/core/test_inbox.py",
    ),
    Mutant(
        "a customer may have two workers",
        "inbox.py",
        "alone = [row.subject for row in rows if row.alone][:most]\n",
        "alone = [row.subject for row in rows][:most]\n",
        "server/tests/core/test_inbox.py",
    ),
    Mutant(
        "a customer with many events is read as often as they come",
        "inbox.py",
        " AND (due.not_before > due.at) IS NOT TRUE\n",
        "\n",
        "server/tests/core/test_inbox.py",
    ),
    Mutant(
        "an unknown status is active",
        "domain/evidence.py",
        'class SubscriptionStatus(_Status):\n    TRIALING = "trialing"\n',
        "class SubscriptionStatus(_Status):\n    @classmethod\n    def _missing_(cls, value):\n"
        '        return cls.ACTIVE\n\n    TRIALING = "trialing"\n',
        "server/tests/core/test_parse.py",
    ),
    Mutant(
        "a change has no audit entry",
        "refresh.py",
        "            await audit.record(\n",
        "            _ = (\n",
        "server/tests/core/test_refresh.py",
    ),
    Mutant(
        "a change is told to nobody",
        "refresh.py",
        "            await outbox.record(tx, owner, project, changes, state, at)\n",
        "            _ = state\n",
        "server/tests/core/test_courier.py",
    ),
    Mutant(
        "a message does not wait for the one before it",
        "deliveries.py",
        "*_is_due(one.c), ~_waits_for_another(one.c))",
        "*_is_due(one.c))",
        "run notifications --share 0.5 --seed 1",
    ),
    Mutant(
        "there is no second wall between projects",
        "db/engine.py",
        'await driver.execute("BEGIN READ ONLY; " + ENTER.replace("%s", f"\'{project}\'"), prepare=False)',
        'await driver.execute("BEGIN READ ONLY", prepare=False)',
        "server/tests/core/test_isolation.py",
    ),
    Mutant(
        "the other page stays open, and a second one opens",
        "commands/open_checkout.py",
        "                await expire_checkout(self.stripe, session_id)\n",
        "                pass\n",
        "server/tests/api/test_checkouts.py",
    ),
    Mutant(
        "a page that cannot be closed is ignored",
        "commands/open_checkout.py",
        "        if decided.rivals:\n            raise CheckoutConflict(",
        "        if False:\n            raise CheckoutConflict(",
        "server/tests/api/test_checkouts.py",
    ),
    Mutant(
        "a page is shown though its intent was ended while Stripe made it",
        "commands/open_checkout.py",
        "        if not stands:",
        "        if False:",
        "server/tests/api/test_checkouts.py",
    ),
    Mutant(
        "a page is opened beside another without reading Stripe again",
        "commands/open_checkout.py",
        "            await self.pipeline.sync(buyer.stripe_customer_id, "
        'Cause("app", "a checkout was opened beside another"))\n',
        "",
        "server/tests/api/test_checkouts.py",
    ),
    Mutant(
        "each try has an idempotency key of its own",
        "stripe_gateway/sessions.py",
        '{"idempotency_key": key if number == 1 else f"{key}-{number}"}',
        '{"idempotency_key": f"{key}-{number}-{uuid.uuid4()}"}',
        "run unknown_outcomes --share 0.3 --seed 1",
    ),
    Mutant(
        "only the first page of a list is read",
        "stripe_gateway/fetch.py",
        "    return [one async for one in (await listed).auto_paging_iter()]\n",
        "    return list((await listed).data)\n",
        "server/tests/core/test_fetch.py",
    ),
    Mutant(
        "a dispute makes nobody dirty",
        "projection.py",
        '        case ["charge", "dispute", *_]:\n            return _id(obj.get("charge"))\n',
        "",
        "server/tests/core/test_projection.py",
    ),
    Mutant(
        "events of the other mode are taken",
        "api/stripe_webhook.py",
        "ignored_as=_not_ours(raw, livemode=ctx.livemode))\n",
        "ignored_as=None)\n",
        "server/tests/api/test_webhook.py",
    ),
    Mutant(
        "a signature from the future is accepted",
        "stripe_gateway/signature.py",
        "    if abs(age) > TOLERANCE_SECONDS:\n",
        "    if age > TOLERANCE_SECONDS:\n",
        "server/tests/core/test_signature.py",
    ),
    Mutant(
        "an empty signing secret will do",
        "settings.py",
        "if secret is not None and len(secret.get_secret_value().strip()) < 24:\n",
        "if secret is not None and len(secret.get_secret_value().strip()) < 0:\n",
        "server/tests/core/test_settings.py",
    ),
    Mutant(
        "a completed page counts as paid",
        "domain/standing.py",
        "    if purchase.payment_status is PaymentStatus.UNPAID:\n",
        "    if False:\n",
        "server/tests/domain/test_standing.py",
    ),
    Mutant(
        "access does not end by time alone",
        "domain/entitlements.py",
        "feature == feature_code and (entitlement.period.end is None or at < entitlement.period.end)\n",
        "feature == feature_code\n",
        "server/tests/domain/test_entitlements.py",
    ),
    Mutant(
        "a change is announced to no cache",
        "refresh.py",
        "            announce(tx, Change(owner.project_id, owner.user_id, after.version))\n",
        "",
        "server/tests/core/test_refresh.py",
    ),
    Mutant(
        "a change is announced after its commit only",
        "db/engine.py",
        "                await _in_any_case(self.announcer.before(changes))\n",
        "                pass\n",
        "server/tests/core/test_announcements.py",
    ),
    Mutant(
        "nobody waits until an announcement was heard",
        "cache/announcements.py",
        "        if await self._shared.all_heard(id_, within=self._shared.seconds):\n",
        "        if True:\n",
        "server/tests/core/test_announcements.py",
    ),
    Mutant(
        "a cell's second begins when it is filled",
        "cache/shared.py",
        "redis.call('SET', KEYS[1], ARGV[3], 'PX', left)\n",
        "redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])\n",
        "server/tests/core/test_cache.py",
    ),
    Mutant(
        "what is older than the floor is filled",
        "cache/shared.py",
        "if left <= 0 or floor > tonumber(ARGV[1]) then return 0 end\n",
        "if left <= 0 then return 0 end\n",
        "server/tests/core/test_cache.py",
    ),
    Mutant(
        "what Redis refuses is kept in the process",
        "cache/__init__.py",
        "if self.local is None or accepted is False else",
        "if self.local is None else",
        "server/tests/core/test_announcements.py",
    ),
    Mutant(
        "a revoked key is announced to nobody",
        "commands/revoke_key.py",
        "        await announce_project(tx, project_id)\n",
        "        pass\n",
        "server/tests/core/test_announcements.py",
    ),
    Mutant(
        "a Redis that lies about whose a cell is is believed",
        "cache/shared.py",
        "        if ours and ",
        "        if ",
        "server/tests/core/test_cache.py",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants with one of these words in their name; all if absent")
    words = parser.parse_args().words
    alive = 0
    for mutant in MUTANTS:
        if not words or any(word in mutant.name for word in words):
            verdict, seconds = tried(mutant)
            alive += verdict != "killed"
            print(f"{verdict:<14} {seconds:4.0f} s  {mutant.name} ({mutant.killer})", flush=True)
    return 1 if alive else 0


def tried(mutant: Mutant) -> tuple[str, float]:
    """What became of it, and how long that took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "tollhouse_server"
        shutil.copytree(SOURCE / "tollhouse_server", copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            return "does not apply", 0.0
        file.write_text(text.replace(mutant.old, mutant.new))
        noticed = not passes(mutant.killer, directory)
    return "killed" if noticed else "LIVES", time.monotonic() - started


def passes(killer: str, sources: str) -> bool:
    """Whether the test or run sees nothing wrong with the sources."""
    kind, _, rest = killer.partition(" ")
    command = (
        [sys.executable, "-m", "reliability", *rest.split()]
        if kind == "run"
        else [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", killer]
    )
    # Before the installed sources on the path, for the processes that a test starts too.
    told = {**os.environ, "PYTHONPATH": sources, "CI": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
