"""The gates of background jobs, where they run: in Celery's tasks and in an RQ worker on a real Valkey."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.timeouts import TimerDeathPenalty

from tollhouse import BillingUnavailable, ConfigurationError, LimitReached, UpgradeRequired
from tollhouse import celery as on_celery
from tollhouse import rq as on_rq
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

fakes: list[FakeTollhouse] = []


def newest_fake() -> FakeTollhouse:
    return fakes[-1]


@pytest.fixture
def fake() -> Iterator[FakeTollhouse]:
    fakes.append(FakeTollhouse(["premium_export", "pages_per_day"]))
    yield fakes[-1]
    fakes.clear()


# --- Celery --------------------------------------------------------------------------------------------------------

app = Celery("test", set_as_current=False)
app.conf.update(task_always_eager=True, task_eager_propagates=False, result_backend="cache+memory://")


@app.task
@on_celery.requires("premium_export", client=newest_fake)
def export(user_id: str, document: int = 1) -> str:
    return f"{user_id} {document}"


@app.task(bind=True)
@on_celery.requires("pages_per_day", client=newest_fake, user_id="who", used=len)
def render(self: Any, who: str) -> int:
    return int(self.request.retries)


attempts: list[int] = []


def back_after_two_tries() -> FakeTollhouse:
    attempts.append(1)
    fakes[-1].reachable = len(attempts) > 2
    return fakes[-1]


@app.task(bind=True)
@on_celery.requires("premium_export", client=back_after_two_tries, retry_seconds=(0, 0, 0))
def export_in_the_end(self: Any, user_id: str) -> int:
    return int(self.request.retries)


@app.task
@on_celery.requires("premium_export", client=newest_fake, retry_seconds=())
def export_now_or_never(user_id: str) -> str:
    return user_id


def test_a_task_runs_for_who_may_when_it_runs(fake: FakeTollhouse) -> None:
    """By position or keyword; who may not any more is refused, and the task fails with the reason."""
    fake.allow("ada", "premium_export")
    assert export.delay("ada", document=7).get() == "ada 7"
    assert export.delay(user_id="ada").get() == "ada 1"
    fake.deny("ada", "premium_export")
    refused = export.delay("ada")
    assert refused.state == "FAILURE"
    with pytest.raises(UpgradeRequired, match="does not include premium_export"):
        refused.get()


def test_a_bound_task_and_a_limit(fake: FakeTollhouse) -> None:
    """The task itself comes first among the arguments."""
    fake.allow("ada", "pages_per_day", 4)
    assert render.delay("ada").get() == 0
    fake.allow("ada", "pages_per_day", 3)
    with pytest.raises(LimitReached):
        render.delay(who="ada").get()


def test_a_task_waits_for_an_outage_to_end(fake: FakeTollhouse) -> None:
    """It is retried until Tollhouse answers, and then runs."""
    attempts.clear()
    fake.allow("ada", "premium_export")
    assert export_in_the_end.delay("ada").get() == 2


def test_a_task_gives_up_when_the_outage_lasts(fake: FakeTollhouse) -> None:
    """After the last retry it fails with the reason: not refused, unknown."""
    fake.reachable = False
    for task in (export, export_now_or_never):
        with pytest.raises(BillingUnavailable):
            task.delay("ada").get()


def test_a_task_that_is_called_is_a_function(fake: FakeTollhouse) -> None:
    """Without a worker there is nothing to retry: the caller is told."""
    fake.allow("ada", "premium_export")
    assert export("ada") == "ada 1"
    fake.reachable = False
    with pytest.raises(BillingUnavailable):
        export("bob")


def test_celery_awaits_no_task(fake: FakeTollhouse) -> None:
    """An async task would never run; a client that must be awaited cannot be."""

    async def later(user_id: str) -> None: ...

    with pytest.raises(ConfigurationError, match="Celery awaits no task"):
        on_celery.requires("premium_export", client=fake)(later)
    client: Any = AsyncFakeTollhouse
    with pytest.raises(ConfigurationError, match="needs a Tollhouse"):
        on_celery.requires("premium_export", client=client)(lambda user_id: user_id)("ada")


# --- RQ ------------------------------------------------------------------------------------------------------------


class Worker(SimpleWorker):
    """In this process, without signals."""

    death_penalty_class = TimerDeathPenalty


@on_rq.requires("premium_export", client=newest_fake)
def print_it(user_id: str, document: int = 1) -> str:
    return f"{user_id} {document}"


@on_rq.requires("pages_per_day", client=newest_fake, used=len)
async def print_later(user_id: str) -> str:
    return user_id


@on_rq.requires("premium_export", client=newest_fake, retry_seconds=(0, 0))
def print_in_the_end(user_id: str) -> str:
    return user_id


@pytest.fixture
def queue(valkey_url: str) -> Iterator[Queue]:
    with redis.Redis.from_url(valkey_url) as connection:
        yield Queue("tollhouse-tests", connection=connection)
        connection.flushdb()


def work(queue: Queue, function: Any, *args: Any, **kwargs: Any) -> Job:
    """Enqueue one job and let a worker do what there is to do."""
    job = queue.enqueue(function, *args, **kwargs)
    worker = Worker([queue], connection=queue.connection)
    worker.work(burst=True, logging_level=logging.CRITICAL)
    job.refresh()
    return job


def test_a_job_runs_for_who_may_when_it_runs(fake: FakeTollhouse, queue: Queue) -> None:
    """Plain and async jobs; who may not is refused, and the job fails with the reason."""
    fake.allow("ada", "premium_export")
    fake.allow("ada", "pages_per_day", 4)
    assert work(queue, print_it, "ada", document=7).return_value() == "ada 7"
    assert work(queue, print_later, user_id="ada").return_value() == "ada"
    fake.deny("ada", "premium_export")
    refused = work(queue, print_it, "ada")
    assert refused.get_status() is JobStatus.FAILED
    assert "UpgradeRequired: Your plan does not include premium_export." in str(refused.latest_result().exc_string)  # type: ignore[union-attr]


def test_a_job_is_tried_again_in_an_outage_and_then_fails_with_the_reason(fake: FakeTollhouse, queue: Queue) -> None:
    """Twice, as told; the record says that it was not known, rather than that retries were exceeded."""
    fake.reachable = False
    job = work(queue, print_in_the_end, "ada")
    assert (job.get_status(), job.number_of_retries) == (JobStatus.FAILED, 2)
    assert "BillingUnavailable" in str(job.latest_result().exc_string)  # type: ignore[union-attr]


def test_a_job_is_put_off_until_later(fake: FakeTollhouse, queue: Queue) -> None:
    """By default it waits: ten seconds first."""
    fake.reachable = False
    job = work(queue, print_it, "ada")
    assert job.get_status() is JobStatus.SCHEDULED
    fake.reachable = True
    fake.allow("ada", "premium_export")
    queue.scheduled_job_registry.remove(job)
    assert work(queue, print_it, "ada").return_value() == "ada 1"


def test_a_job_that_is_called_is_a_function(fake: FakeTollhouse) -> None:
    """Outside a worker the caller is told."""
    fake.allow("ada", "premium_export")
    fake.allow("ada", "pages_per_day", 4)
    assert print_it("ada") == "ada 1"
    assert asyncio.run(print_later("ada")) == "ada"
    fake.reachable = False
    with pytest.raises(BillingUnavailable):
        print_it("bob")


def test_the_how_to_page(listings: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Its task, its job and its function, pasted with a fake for a client: they work for who may, and refuse others."""
    task, job, plain = [_pasted(written) for written in listings("gate-background-jobs.md")]
    for page, client in ((task, task["tollhouse"]()), (job, job["tollhouse"]()), (plain, plain["tollhouse"])):
        client.allow("ada", "premium_export")
        assert page["export"](document_id=7, **{"owner" if page is job else "user_id": "ada"}) == "document 7 of ada"
    with pytest.raises(UpgradeRequired):
        task["export"]("bob", 7)
    with pytest.raises(UpgradeRequired):
        job["export"](7, "bob")
    assert plain["nightly"](["ada", "bob"]) == ["document 7 of ada"]
    assert capsys.readouterr().out == "bob premium_export no-source\n"


def _pasted(written: str) -> dict[str, Any]:
    page: dict[str, Any] = {"FakeTollhouse": FakeTollhouse, "__name__": "page"}
    written = written.replace("= cache(Tollhouse)", "= cache(FakeTollhouse)")
    exec(written.replace("= Tollhouse()", "= FakeTollhouse()"), page)
    return page
