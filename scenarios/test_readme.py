"""Listings of the README and of a how-to page, as they stand there, in front of the service."""

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tollhouse_server.testing import World

ROOT = Path(__file__).parents[1]


def listing(language: str, page: str = "README.md") -> str:
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
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
            async with asyncio.timeout(5):  # the stream tells the app, which is not long
                while (await browser.post("/export", headers={"X-User": "ada"})).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await module["tollhouse"].aclose()

    asyncio.run(story())


def test_the_flask_page_sells_and_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted, it sends who has not paid to the payment page, welcomes them back, and lets them in."""
    world.publish(tomllib.loads(listing("toml")))
    monkeypatch.setenv("TOLLHOUSE_URL", world.service.url)
    monkeypatch.setenv("TOLLHOUSE_API_KEY", world.new_key("pdf-tool"))
    module: dict[str, Any] = {"__name__": "app"}
    exec(compile(listing("python", "docs/howto/add-to-a-flask-app.md"), "page", "exec"), module)

    with module["tollhouse"], module["app"].test_client() as browser:
        assert browser.post("/export").status_code == 401
        with browser.session_transaction() as session:
            session["user_id"] = "ada"
        assert "Upgrade to export" in browser.get("/").text
        refused = browser.post("/export", headers={"Accept": "text/html"})
        assert (refused.status_code, refused.headers["Location"]) == (303, "/upgrade")
        back = world.sandbox.pay(browser.get("/upgrade").headers["Location"])
        assert browser.get("/welcome", query_string=urlsplit(back).query).headers["Location"] == "/"
        assert "<button>Export</button>" in browser.get("/").text
        assert browser.post("/export").text == "your file"
