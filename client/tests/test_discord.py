"""The Discord gate in a real bot: its gateway's events are handed in, its HTTP goes to a stand-in on loopback."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import discord
import pytest
from aiohttp import web
from discord import app_commands
from discord.ext import commands

from tollhouse import ConfigurationError
from tollhouse.discord import check, install, requires
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse

ADA = {"id": "7", "username": "ada", "discriminator": "0", "avatar": None, "global_name": None}
GUILD, CHANNEL = "42", "43"
Fake = FakeTollhouse | AsyncFakeTollhouse
BOTS_TASKS = ("discord.py: ", "CommandTree-invoker")
ids = count(discord.utils.time_snowflake(discord.utils.utcnow()))  # they tell the time


class Bot(commands.Bot):
    """A bot that has logged in, to which the test plays the gateway."""

    said: asyncio.Queue[tuple[str, dict[str, Any]]]
    """What Discord was asked to show: where, and the message."""

    async def slash(self, name: str, *, guild: str | None = GUILD) -> dict[str, Any]:
        """Use a slash command; what is answered."""
        interaction: dict[str, Any] = {
            "id": str(next(ids)),
            "application_id": "1",
            "type": 2,
            "token": "t",
            "version": 1,
            "data": {"id": "9", "name": name, "type": 1},
            "channel": {"id": CHANNEL, "type": 1, "recipients": [ADA]},
            "entitlements": [],
            "authorizing_integration_owners": {},
            "context": 0,
            "attachment_size_limit": 0,
        }
        if guild:
            member = {"user": ADA, "roles": [], "joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False}
            interaction |= {"guild_id": guild, "member": member | {"permissions": "0", "flags": 0}}
        else:
            interaction |= {"user": ADA}
        self._connection.parse_interaction_create(interaction)  # type: ignore[arg-type]
        where, shown = await self.told()
        assert where.endswith("/t/callback")
        answered: dict[str, Any] = shown["data"]
        return answered

    async def told(self) -> tuple[str, dict[str, Any]]:
        return await asyncio.wait_for(self.said.get(), 5)

    async def write(self, text: str) -> dict[str, Any]:
        """Write the bot a direct message; what is answered."""
        message = {"id": str(next(ids)), "channel_id": CHANNEL, "author": ADA, "content": text, "type": 0}
        message |= {"timestamp": "2026-01-01T00:00:00+00:00", "edited_timestamp": None, "tts": False, "pinned": False}
        message |= {"mention_everyone": False, "mentions": [], "mention_roles": [], "attachments": [], "embeds": []}
        self._connection.parse_message_create(message)  # type: ignore[arg-type]
        where, shown = await self.told()
        assert where.endswith(f"/channels/{CHANNEL}/messages")
        return shown


def _json(body: object) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


@contextlib.asynccontextmanager
async def logged_in(monkeypatch: pytest.MonkeyPatch, bot: Bot | None = None) -> AsyncIterator[Bot]:
    if bot is None:
        bot = Bot("!", intents=discord.Intents(messages=True, message_content=True), help_command=None)
    bot.said = asyncio.Queue()

    async def answer(request: web.Request) -> web.Response:
        match request.method, request.path:
            case "GET", "/users/@me":
                return _json({**ADA, "id": "1", "username": "bot"})
            case "GET", "/oauth2/applications/@me":
                application = {"id": "1", "name": "bot", "description": "", "icon": None, "bot_public": True}
                return _json({**application, "bot_require_code_grant": False, "owner": ADA, "verify_key": ""})
            case "POST", where:
                shown = await request.json()
                bot.said.put_nowait((where, shown))
                if where.endswith("/callback"):
                    return _json({"interaction": {"id": "1", "type": 2}})
                stored = {**shown, "id": "5", "channel_id": CHANNEL, "author": ADA, "type": 0, "mentions": []}
                stored |= {"timestamp": "2026-01-01T00:00:00+00:00", "edited_timestamp": None, "tts": False}
                stored |= {"mention_everyone": False, "mention_roles": [], "attachments": [], "pinned": False}
                return _json({"embeds": [], **stored})
        raise web.HTTPNotFound

    api = web.Application()
    api.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(api)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setattr(discord.http.Route, "BASE", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with bot:
            await bot.login("token")
            bot._connection.application_id = 1
            bot._connection._add_private_channel(
                discord.DMChannel(me=bot.user, state=bot._connection, data={"id": CHANNEL, "type": 1})  # type: ignore[arg-type, typeddict-item]
            )
            yield bot
            while at_work := [task for task in asyncio.all_tasks() if task.get_name().startswith(BOTS_TASKS)]:
                await asyncio.wait(at_work)
    finally:
        await runner.cleanup()


def tell(monkeypatch: pytest.MonkeyPatch, story: Callable[[Bot], Awaitable[None]]) -> None:
    async def play() -> None:
        async with logged_in(monkeypatch) as bot:
            await story(bot)

    asyncio.run(play())


@pytest.fixture(params=[FakeTollhouse, AsyncFakeTollhouse])
def fake(request: pytest.FixtureRequest) -> Any:
    return request.param(["premium_export", "custom_commands", "music_hours"])


def slash_command() -> Callable[[discord.Interaction], Awaitable[None]]:
    """A new function each time: decorators write on it."""

    async def done(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("done")

    return done


def text_command() -> Callable[[commands.Context[Any]], Awaitable[None]]:
    async def done(context: commands.Context[Any]) -> None:
        await context.send("done")

    return done


UPGRADE = "https://bot.test/upgrade"
EPHEMERAL = 64


def test_a_slash_command_is_for_who_may(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told politely what to do, and nobody else sees it."""

    async def story(bot: Bot) -> None:
        bot.tree.command(name="export", description="x")(requires("premium_export")(slash_command()))
        install(bot, fake, upgrade_url=UPGRADE)
        answered = await bot.slash("export")
        assert answered["content"] == f"Your plan does not include premium_export. Upgrade: <{UPGRADE}>"
        assert answered["flags"] == EPHEMERAL
        fake.allow("7", "premium_export")
        assert (await bot.slash("export"))["content"] == "done"

    tell(monkeypatch, story)


def test_a_server_may_be_who_pays(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id is what is asked about; the way to buy may depend on it. In a direct message there is none."""

    async def story(bot: Bot) -> None:
        # Above the decorator that makes the command, this time.
        command = bot.tree.command(name="custom", description="x")(slash_command())
        requires("custom_commands", billed="guild")(command)
        install(bot, fake, upgrade_url=lambda billed: f"{UPGRADE}?server={billed}")
        assert (await bot.slash("custom"))["content"] == (
            f"This server's plan does not include custom_commands. Upgrade: <{UPGRADE}?server={GUILD}>"
        )
        assert (await bot.slash("custom", guild=None))["content"] == "This works in a server only."
        fake.allow(GUILD, "custom_commands")
        assert (await bot.slash("custom"))["content"] == "done"

    tell(monkeypatch, story)


def test_text_commands_and_hybrid_ones(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gate; a hybrid command is guarded whichever way it is used."""

    async def story(bot: Bot) -> None:
        bot.command(name="export")(requires("premium_export")(text_command()))
        hybrid = bot.hybrid_command(name="both", description="x")(text_command())
        requires("premium_export", billed=lambda source: "ada")(hybrid)
        install(bot, fake, upgrade_url=UPGRADE)
        told = f"Your plan does not include premium_export. Upgrade: <{UPGRADE}>"
        assert (await bot.write("!export"))["content"] == told
        assert (await bot.write("!both"))["content"] == told
        answered = await bot.slash("both")
        assert (answered["content"], answered["flags"]) == (told, EPHEMERAL)
        fake.allow("7", "premium_export")
        fake.allow("ada", "premium_export")
        assert (await bot.write("!export"))["content"] == "done"
        assert (await bot.write("!both"))["content"] == "done"
        assert (await bot.slash("both"))["content"] == "done"

    tell(monkeypatch, story)


def test_a_hybrid_command_made_of_a_guarded_function(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It carries the check twice, which asks once, and refuses once."""

    async def story(bot: Bot) -> None:
        bot.hybrid_command(name="both", description="x")(requires("premium_export")(text_command()))
        install(bot, fake)
        told = "Your plan does not include premium_export."
        assert (await bot.slash("both"))["content"] == told
        assert (await bot.write("!both"))["content"] == told
        fake.allow("7", "premium_export")
        assert (await bot.slash("both"))["content"] == "done"

    tell(monkeypatch, story)


def test_a_limit_and_its_value_within_a_command(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """`used` is told whom it concerns; `check` gives the value, and the answer that the gate got."""

    async def hours(billed: str) -> int:
        return 3

    async def play(interaction: discord.Interaction) -> None:
        fake.deny("7", "music_hours")
        held = await check(interaction, "music_hours")
        server = await check(interaction, "music_hours", billed="guild")
        await interaction.response.send_message(f"{held.value} {server.value}")

    async def story(bot: Bot) -> None:
        bot.tree.command(name="play", description="x")(requires("music_hours", used=hours)(play))
        install(bot, fake)
        fake.allow("7", "music_hours", 3)
        assert (await bot.slash("play"))["content"] == "Your plan includes 3 of music_hours; 3 are used."
        fake.allow("7", "music_hours", 4)
        assert (await bot.slash("play", guild=None))["content"] == "4 False"

    tell(monkeypatch, story)


def test_an_outage_is_told_as_one(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to buy what they may have; the words may be the bot's own."""

    async def story(bot: Bot) -> None:
        bot.tree.command(name="export", description="x")(requires("premium_export")(slash_command()))
        install(bot, fake, upgrade_url=UPGRADE)
        fake.reachable = False
        assert (await bot.slash("export"))["content"].startswith("What your plan includes cannot be looked up")
        install(bot, fake, text=lambda refused, url: f"{refused.code} {url}")
        assert (await bot.slash("export"))["content"] == "billing-unavailable None"

    tell(monkeypatch, story)


def test_other_errors_go_where_they_went(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bot's own handlers, set before, hear of everything but refusals; of those nothing is logged as a failure."""

    async def story(bot: Bot) -> None:
        @bot.tree.error
        async def on_tree_error(interaction: discord.Interaction, error: app_commands.AppCommandError) -> None:
            await interaction.response.send_message(f"tree: {error}")

        @bot.event
        async def on_command_error(context: commands.Context[Any], error: commands.CommandError) -> None:
            await context.send(f"bot: {error}")

        @app_commands.check
        def never(interaction: discord.Interaction) -> bool:
            return False

        bot.tree.command(name="never", description="x")(never(slash_command()))
        bot.tree.command(name="export", description="x")(requires("premium_export")(slash_command()))
        install(bot, fake)
        with caplog.at_level(logging.ERROR):
            assert (await bot.slash("never"))["content"].startswith("tree: The check functions")
            assert (await bot.write("!nothing"))["content"].startswith("bot: Command")
            assert "premium_export" in (await bot.slash("export"))["content"]
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []

    tell(monkeypatch, story)


def test_a_command_whose_answer_was_put_off(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that defers all its answers tells the refusal in the one that follows."""

    async def defer(interaction: discord.Interaction) -> bool:
        await interaction.response.defer(ephemeral=True)
        return True

    async def story(bot: Bot) -> None:
        monkeypatch.setattr(bot.tree, "interaction_check", defer)
        bot.tree.command(name="export", description="x")(requires("premium_export")(slash_command()))
        install(bot, fake)
        assert await bot.slash("export") == {"flags": EPHEMERAL}
        where, shown = await bot.told()
        assert (where, shown["content"]) == ("/webhooks/1/t", "Your plan does not include premium_export.")

    tell(monkeypatch, story)


def test_a_bot_that_is_no_commands_bot_hands_over_its_tree(fake: Fake) -> None:
    """A bare Client has no tree of its own."""
    client = discord.Client(intents=discord.Intents.none())
    tree = app_commands.CommandTree(client)
    before = tree.on_error
    install(client, fake, tree=tree)
    assert tree.on_error is not before


def test_forgotten_wiring_says_what_to_do(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate in a bot without `install` is named with the call that adds it."""

    async def story(bot: Bot) -> None:
        async def ask(interaction: discord.Interaction) -> None:
            with pytest.raises(ConfigurationError, match="install"):
                await check(interaction, "premium_export")
            await interaction.response.send_message("told")

        bot.tree.command(name="ask", description="x")(ask)
        assert (await bot.slash("ask"))["content"] == "told"

    tell(monkeypatch, story)


def test_the_how_to_page(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, own_environment: None, listings: Callable[[str], list[str]]
) -> None:
    """Its bot, pasted: it refuses a server that has not paid, and serves one that has."""
    (written,) = listings("add-to-a-discord-bot.md")
    page: dict[str, Any] = {"__name__": "page"}
    exec(written, page)
    bot = page["bot"]
    bot.__class__ = Bot

    async def story() -> None:
        async with logged_in(monkeypatch, bot), page["tollhouse"]:
            install(bot, fake, upgrade_url="https://bot.test/upgrade")
            assert (await bot.slash("custom"))["content"].startswith("This server's plan does not include")
            assert (await bot.slash("play"))["content"] == "Playing, 1 hours a day."
            fake.allow(GUILD, "custom_commands")
            fake.allow(GUILD, "music_hours", 5)
            assert (await bot.slash("custom"))["content"] == "Hello."
            assert (await bot.slash("play"))["content"] == "Playing, 5 hours a day."

    asyncio.run(story())
