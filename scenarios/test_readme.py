"""The README's two listings, as they stand there."""

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollhouse_server.testing import World

README = (Path(__file__).parents[1] / "README.md").read_text()


def listing(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_the_ten_lines_sell_and_ask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published and pasted, they refuse who has not paid, lead to the payment page, and let in who has."""
    world.publish(tomllib.loads(listing("toml")))
    monkeypatch.setenv("TOLLHOUSE_URL", world.service.url)
    monkeypatch.setenv("TOLLHOUSE_API_KEY", world.new_key("pdf-tool"))
    module: dict[str, Any] = {}
    exec(compile(listing("python"), "README.md", "exec"), module)

    async def story() -> None:
        transport = httpx.ASGITransport(app=module["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as browser:
            refused = await browser.post("/export", headers={"X-User": "ada"})
            assert (refused.status_code, refused.json()["upgrade_url"]) == (402, "/upgrade")
            page = await browser.get("/upgrade", params={"user": "ada"})
            await asyncio.to_thread(world.sandbox.pay, page.headers["location"])
            await asyncio.to_thread(world.arrive)
            assert (await browser.post("/export", headers={"X-User": "ada"})).status_code == 200
        await module["tollhouse"].aclose()

    asyncio.run(story())
