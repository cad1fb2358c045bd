"""Flask views behind a gate."""

from typing import assert_type

from flask import Flask

from tollhouse import Check, Tollhouse
from tollhouse.flask import TollhouseFlask, check, requires

app = Flask(__name__)
TollhouseFlask(app, Tollhouse(), user_id=lambda: None, upgrade_url="/pricing")


@app.get("/<int:page>")
@requires("premium_export")
def export(page: int) -> dict[str, int]:
    assert_type(check("pages_per_day"), Check)
    return {"page": page}


@requires("premium_export")
async def export_later(page: int) -> str:
    return str(page)


async def use() -> None:
    assert_type(export(3), dict[str, int])
    assert_type(await export_later(3), str)
    export("3")  # type: ignore[arg-type]
    requires("premium_export")(3)  # type: ignore[arg-type]
    requires(3)  # type: ignore[arg-type]
