"""Tasks, jobs and commands behind a gate."""

from typing import assert_type

import discord
from discord.ext import commands

import tollhouse.celery
import tollhouse.rq
from tollhouse import AsyncTollhouse, Check, Tollhouse
from tollhouse.discord import check, install, requires

bot = commands.Bot("!", intents=discord.Intents.default())
install(bot, AsyncTollhouse(), upgrade_url=lambda server_id: f"https://bot.example.com/{server_id}")


@tollhouse.celery.requires("premium_export", client=Tollhouse)
def task(user_id: str, copies: int = 1) -> bytes:
    return user_id.encode() * copies


@tollhouse.rq.requires("premium_export", client=Tollhouse, user_id="owner")
async def job(owner: str) -> bytes:
    return owner.encode()


@bot.tree.command()
@requires("custom_commands", billed="guild")
async def custom(interaction: discord.Interaction, text: str) -> None:
    assert_type(await check(interaction, "music_hours", billed=lambda source: source.user.id), Check)


@bot.command()
@requires("custom_commands")
async def text_custom(context: commands.Context[commands.Bot]) -> None:
    assert_type(await check(context, "music_hours"), Check)


async def use() -> None:
    assert_type(task("ada", copies=2), bytes)
    assert_type(await job("ada"), bytes)
    task(7)  # type: ignore[arg-type]
    await job()  # type: ignore[call-arg]
    tollhouse.celery.requires("premium_export", client=AsyncTollhouse)  # type: ignore[arg-type]
    requires("custom_commands", billed="server")  # type: ignore[arg-type]
