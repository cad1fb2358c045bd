"""A gate for Celery tasks, asked when a task runs, not when it is sent. Celery is the app's dependency, not this one's.

```
@app.task
@requires("premium_export", client=tollhouse)
def export(user_id: str, document_id: int) -> None: ...
```
"""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from celery import current_task

from .client import Tollhouse
from .errors import ConfigurationError
from .gates import Gate, Used, UserId, memo, opened_blocking, refuse_what_is_no_plain_call, user_finder
from .refusals import BillingUnavailable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = (10, 60, 300, 900, 3600)
"""After how long a task is tried again while Tollhouse is away: five times within an hour and a half."""


def requires(
    feature: str,
    *,
    client: Tollhouse | Callable[[], Tollhouse],
    user_id: str | Callable[..., UserId] = "user_id",
    used: Used | None = None,
    retry_seconds: Sequence[float] = RETRY_SECONDS,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Guard a task, below `@app.task`: it runs only when its user may use the feature, else it fails with the Refused.

    `user_id` is the name of the parameter that says who the user is, or a function of all arguments. Where Tollhouse
    cannot be asked and the outage policy says deny, the task is retried after each of `retry_seconds`; then it fails
    with BillingUnavailable. `client` may be a function that returns it, called in the worker's process.
    """
    gate = Gate(feature, used)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function.__qualname__} is async, and Celery awaits no task")
        refuse_what_is_no_plain_call(function, used)
        find = user_finder(function, user_id)

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                gate.let_pass(opened_blocking(client), find(*args, **kwargs), memo())
            except BillingUnavailable as refused:
                if current_task:
                    retries: int = current_task.request.retries
                    pause = retry_seconds[min(retries, len(retry_seconds) - 1)] if retry_seconds else 0
                    # Raises Retry, or `refused` after the last one, and where the task was only called.
                    current_task.retry(exc=refused, countdown=pause, max_retries=len(retry_seconds))
                raise
            return function(*args, **kwargs)

        return guarded

    return decorate
