"""A gate for RQ jobs, asked when a job runs, not when it is enqueued. RQ is the app's dependency, not this package's.

```
@requires("premium_export", client=get_tollhouse)
def export(user_id: str, document_id: int) -> None: ...

queue.enqueue(export, "ada", 7)
```
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from rq import Retry, get_current_job

from .client import Tollhouse
from .gates import Gate, Used, UserId, memo, opened_blocking, refuse_what_is_no_plain_call, user_finder
from .refusals import BillingUnavailable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = (10, 60, 300, 900, 3600)
"""After how long a job is tried again while Tollhouse is away: five times within an hour and a half."""


def requires(
    feature: str,
    *,
    client: Tollhouse | Callable[[], Tollhouse],
    user_id: str | Callable[..., UserId] = "user_id",
    used: Used | None = None,
    retry_seconds: Sequence[int] = RETRY_SECONDS,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Guard a job, plain or async: it runs only when its user may use the feature, else it fails with the Refused.

    `user_id` is the name of the parameter that says who the user is, or a function of all arguments. Where Tollhouse
    cannot be asked and the outage policy says deny, the job is retried after each of `retry_seconds` (by a worker that
    runs `--with-scheduler`); then it fails with BillingUnavailable. `client` may be a function that returns it.
    """
    gate = Gate(feature, used)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        refuse_what_is_no_plain_call(function, used)
        find = user_finder(function, user_id)

        # An async job gives RQ its coroutine, which awaits it.
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                gate.let_pass(opened_blocking(client), find(*args, **kwargs), memo())
            except BillingUnavailable:
                job = get_current_job()
                if job is None or (job.number_of_retries or 0) >= len(retry_seconds):
                    raise
                # What RQ takes, returned by a job, for "later".
                return cast(T, Retry(max=len(retry_seconds), interval=retry_seconds))
            return function(*args, **kwargs)

        return guarded

    return decorate
