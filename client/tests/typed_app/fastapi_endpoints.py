"""FastAPI endpoints behind a gate."""

from functools import partial
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI

from tollhouse import AsyncTollhouse, Check
from tollhouse.fastapi import Requires, install

app = FastAPI()
install(app, AsyncTollhouse(), user_id=lambda request: request.headers.get("user"), upgrade_url="/pricing")


def current_user_id() -> int:
    return 7


RequiresMine = partial(Requires, user_id=current_user_id)


@app.get("/export")
def export(
    check: Annotated[Check, Depends(Requires("premium_export"))],
    limit: Annotated[Check, Depends(RequiresMine("pages_per_day", used=lambda user_id: len(user_id)))],
) -> bool:
    assert_type(check.valid_until is None, bool)
    return bool(limit)


install(app, AsyncTollhouse())  # type: ignore[call-arg]
