"""What the quickstart tells people to type works as it stands there."""

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollhouse_server.testing import World

TEXT = (Path(__file__).parents[3] / "docs/quickstart.md").read_text()


def listing(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_quickstart_sells(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its catalog is published, its app refuses, sells, and lets in who is back from the payment page."""
    document = tomllib.loads(listing("toml"))
    assert world.operator.put("/v1/admin/projects/notes/catalog", json=document).is_success
    issued = world.operator.post("/v1/admin/projects/notes/keys", json={"name": "quickstart"}).json()
    monkeypatch.setenv("TOLLHOUSE_URL", world.service.url)
    monkeypatch.setenv("TOLLHOUSE_API_KEY", issued["key"])
    app: dict[str, Any] = {}
    exec(compile(listing("python"), "quickstart.md", "exec"), app)

    async def story() -> list[int]:
        transport = httpx.ASGITransport(app["app"])
        async with app["tollhouse"], httpx.AsyncClient(transport=transport, base_url=app["home"]) as browser:
            refused = await browser.get("/sync")
            page = await browser.get(refused.json()["upgrade_url"])
            back = await asyncio.to_thread(world.sandbox.pay, page.headers["Location"])
            welcome = await browser.get(back)
            let_in = await browser.get(welcome.headers["Location"])
            return [one.status_code for one in (refused, page, welcome, let_in)]

    assert asyncio.run(story()) == [402, 307, 307, 200]
