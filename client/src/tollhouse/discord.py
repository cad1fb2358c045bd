"""Gates for commands of a discord.py bot. discord.py is the app's dependency, not this package's.

```
install(bot, tollhouse, upgrade_url="https://bot.example.com/upgrade")

@bot.tree.command()
@requires("custom_commands", billed="guild")
async def custom(interaction: discord.Interaction) -> None: ...
```
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import discord
from discord import app_commands
from discord.ext import commands

from .answers import Check
from .errors import ConfigurationError
from .gates import Client, Gate, Memo, Used, UserId, look_async
from .refusals import Refused, SignedOut, UpgradeRequired

T = TypeVar("T")

Source: TypeAlias = discord.Interaction[Any] | commands.Context[Any]
"""What a command is told of its use: slash commands and context menus by an interaction, others by a context."""
Billed: TypeAlias = Literal["user", "guild"] | Callable[[Any], UserId]
"""Whose plan counts: the person's, the server's (by Discord's id), or what a function of the Source says."""


class FeatureRequired(app_commands.CheckFailure, commands.CheckFailure):
    """A command was not for this user or server; `refused` says why. `install` answers it with `text`."""

    def __init__(self, refused: Refused, text: str) -> None:
        super().__init__(text)
        self.refused = refused
        self.text = text


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` remembers of a bot."""

    client: Client
    upgrade_url: str | Callable[[str], str] | None
    text: "Callable[[Refused, str | None], str] | None"


_installed: WeakKeyDictionary[discord.Client, Installed] = WeakKeyDictionary()


def install(
    bot: discord.Client,
    client: Client,
    *,
    upgrade_url: str | Callable[[str], str] | None = None,
    text: Callable[[Refused, str | None], str] | None = None,
    tree: app_commands.CommandTree[Any] | None = None,
) -> None:
    """Tell a bot's gates, once, which client to ask and where to send those who may not.

    They are answered so that nobody else sees it (where Discord can: not after a text command), with `text` of the
    refusal and the upgrade URL, or words of our own. `upgrade_url` may be a function of the id that is billed. Errors
    of other kinds go where they went: call this after setting error handlers of your own. `tree` is for a bot that is
    no `commands.Bot`.
    """
    _installed[bot] = Installed(client, upgrade_url, text)
    tree = bot.tree if isinstance(bot, commands.Bot | commands.AutoShardedBot) else tree
    if tree is not None:
        _answer_interactions(tree)
    if isinstance(bot, commands.Bot | commands.AutoShardedBot):
        _answer_text_commands(bot)


def requires(
    feature: str, *, billed: Billed = "user", used: Used | None = None, upgrade_url: str | None = None
) -> Callable[[T], T]:
    """A check for a command of any kind, above or below the decorator that makes it one.

    For a limit, `used` is a function of the billed id, plain or async, that tells how much is gone.
    """
    gate = Gate(feature, used, upgrade_url)

    async def predicate(source: Source) -> bool:
        installed = _of(source)
        user_id = _billed(source, billed)
        try:
            await gate.let_pass_async(installed.client, user_id, _memo(source), asyncio.to_thread)
        except Refused as refused:
            raise FeatureRequired(refused, _text(installed, refused, user_id, billed)) from None
        return True

    def decorate(command: T) -> T:
        subject: Any = command
        slash = isinstance(command, app_commands.Command | app_commands.ContextMenu)
        text = isinstance(command, commands.Command)  # hybrid ones too
        # Of a function nothing tells yet which kind it is going to be.
        if not slash:
            commands.check(predicate)(subject)
        if not text:
            app_commands.check(predicate)(subject)
        return command

    return decorate


async def check(source: Source, feature: str, *, billed: Billed = "user") -> Check:
    """What the user or server may do, asked once within a command; never a refusal. For a limit's value, say."""
    return await look_async(_of(source).client, _billed(source, billed), feature, _memo(source), asyncio.to_thread)


def _of(source: Source) -> Installed:
    bot = source.client if isinstance(source, discord.Interaction) else source.bot
    if bot not in _installed:
        raise ConfigurationError("call tollhouse.discord.install(bot, client, …) where the bot is built")
    return _installed[bot]


def _billed(source: Source, billed: Billed) -> UserId:
    if callable(billed):
        return billed(source)
    if billed == "guild":
        return source.guild.id if isinstance(source, commands.Context) and source.guild else _guild_id(source)
    return source.user.id if isinstance(source, discord.Interaction) else source.author.id


def _guild_id(source: Source) -> int | None:
    return source.guild_id if isinstance(source, discord.Interaction) else None


def _memo(source: Source) -> Memo:
    """A hybrid command's context and interaction share it."""
    interaction = source if isinstance(source, discord.Interaction) else source.interaction
    keeper: dict[Any, Any] = vars(source) if interaction is None else interaction.extras
    found: Memo = keeper.setdefault("tollhouse.checks", {})
    return found


def _text(installed: Installed, refused: Refused, user_id: UserId, billed: Billed) -> str:
    url = refused.upgrade_url if isinstance(refused, UpgradeRequired) else None
    if isinstance(refused, UpgradeRequired) and url is None:
        given = installed.upgrade_url
        url = given(str(user_id)) if callable(given) else given
    if installed.text is not None:
        return installed.text(refused, url)
    if isinstance(refused, SignedOut) and billed == "guild":
        return "This works in a server only."
    detail = refused.detail.replace("Your plan", "This server's plan") if billed == "guild" else refused.detail
    return f"{detail} Upgrade: <{url}>" if url else detail


def _answer_interactions(tree: app_commands.CommandTree[Any]) -> None:
    before = tree.on_error

    async def answer(interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        if not isinstance(error, FeatureRequired):
            await before(interaction, error)
        elif interaction.response.is_done():
            await interaction.followup.send(error.text, ephemeral=True)
        else:
            await interaction.response.send_message(error.text, ephemeral=True)

    tree.error(answer)


def _answer_text_commands(bot: "commands.Bot | commands.AutoShardedBot") -> None:
    before = bot.on_command_error

    async def on_command_error(context: commands.Context[Any], error: commands.CommandError) -> None:
        cause = error.original if isinstance(error, commands.HybridCommandError) else error
        if isinstance(cause, FeatureRequired):
            await context.send(cause.text, ephemeral=True)
        else:
            await before(context, error)

    bot.event(on_command_error)
