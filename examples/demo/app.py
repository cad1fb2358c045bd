"""Two small apps that sell through Tollhouse: a PDF tool (a person pays) and a chat bot (a server is paid for).

There is no billing code here. All of it is in the calls on `pdf_tool` and `guild_bot`, and in one guard, `Requires`.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pdf_file import pdf_of

from tollhouse import AsyncTollhouse, Checkout, CheckoutStatus, NotFound, Price, TollhouseError
from tollhouse.fastapi import Requires, install

HERE = Path(__file__).parent
DEMO_URL = os.environ["DEMO_URL"]
PEOPLE = ("ada", "grace", "alan", "katherine")
ServerId = Literal["chess-cellar", "pixel-pioneers"]
SERVERS: dict[ServerId, str] = {"chess-cellar": "The Chess Cellar", "pixel-pioneers": "Pixel Pioneers"}
FREE_PAGES_PER_DAY = 10
FREE_MUSIC_HOURS = 1

pdf_tool = AsyncTollhouse(os.environ["TOLLHOUSE_URL"], os.environ["TOLLHOUSE_API_KEY_PDF_TOOL"])
guild_bot = AsyncTollhouse(os.environ["TOLLHOUSE_URL"], os.environ["TOLLHOUSE_API_KEY_GUILD_BOT"])


@asynccontextmanager
async def clients_closed_at_the_end(_: FastAPI) -> AsyncIterator[None]:
    async with pdf_tool, guild_bot:
        yield


def signed_in(request: Request) -> str:
    """A demo's sign-in: a cookie that anybody may set. A real app has its own."""
    user = request.cookies.get("user", "")
    return user if user in PEOPLE else PEOPLE[0]


User = Annotated[str, Depends(signed_in)]

app = FastAPI(lifespan=clients_closed_at_the_end, docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"))
install(app, pdf_tool, user_id=signed_in, upgrade_url="/pdf#plans", redirect_browsers=True)
pages = Jinja2Templates(HERE / "templates")


@app.get("/")
def home(request: Request, user: User) -> Response:
    return pages.TemplateResponse(request, "home.html", {"user": user, "people": PEOPLE})


@app.post("/sign-in")
def sign_in(user: Annotated[str, Form()]) -> Response:
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie("user", user, httponly=True, samesite="lax")
    return answer


# --- PDF Tool: the customer is the person who is signed in ---------------------------------------------------------


@app.get("/pdf")
async def pdf(request: Request, user: User, notice: str = "") -> Response:
    customer = await pdf_tool.customer(user)
    catalog = await pdf_tool.catalog()
    held = {plan.price for plan in customer.subscriptions if plan.status in ("active", "trialing", "past_due")}
    held |= {
        purchase.price
        for purchase in customer.purchases
        if purchase.payment_status != "unpaid" and not purchase.refunded
    }
    return pages.TemplateResponse(
        request,
        "pdf.html",
        {
            "user": user,
            "notice": NOTICES.get(notice),
            "customer": customer,
            "catalog": catalog,
            "product_names": {product.code: product.name for product in catalog.products},
            "held": held,
            "may_export": customer.entitlements["premium_export"].allowed,
            "pages_per_day": max(FREE_PAGES_PER_DAY, customer.entitlements["pages_per_day"].value),
        },
    )


@app.post("/pdf/export", dependencies=[Depends(Requires("premium_export"))])
def export(text: Annotated[str, Form()]) -> Response:
    """The guard answers before this is reached: 402 for a program, back to the plans for a browser."""
    headers = {"Content-Disposition": 'attachment; filename="page.pdf"'}
    return Response(pdf_of(text), media_type="application/pdf", headers=headers)


@app.post("/pdf/upgrade")
async def pdf_upgrade(user: User, price: Annotated[str, Form()]) -> Response:
    checkout = await pdf_tool.open_checkout(
        user, price, success_url=f"{DEMO_URL}/pdf/welcome", cancel_url=f"{DEMO_URL}/pdf#plans"
    )
    return RedirectResponse(checkout.url or f"/pdf?notice={notice_without_a_page(checkout)}", status_code=303)


@app.get("/pdf/welcome")
async def pdf_welcome(user: User, checkout_id: str | None = None) -> Response:
    """Where a checkout leads. Asking Tollhouse to read it afresh makes the page right before any webhook arrived.

    Who has changed their plan comes back without a checkout.
    """
    if checkout_id is None:
        await pdf_tool.sync_customer(user)
        return RedirectResponse("/pdf?notice=changed", status_code=303)
    synced = await pdf_tool.sync_checkout(checkout_id)
    return RedirectResponse(f"/pdf?notice={notice_after(synced.checkout)}", status_code=303)


@app.post("/pdf/billing")
async def pdf_billing(user: User) -> Response:
    portal = await pdf_tool.open_portal(user, return_url=f"{DEMO_URL}/pdf/managed")
    return RedirectResponse(portal.url, status_code=303)


@app.get("/pdf/managed")
async def pdf_managed(user: User) -> Response:
    """Where the portal leads back to: what was changed there shows at once."""
    await pdf_tool.sync_customer(user)
    return RedirectResponse("/pdf", status_code=303)


# --- Guild Bot: the customer is the server, whoever pays for it ----------------------------------------------------


@app.get("/bot")
async def bot(request: Request, user: User, server: str = "", command: str = "", notice: str = "") -> Response:
    catalog = await guild_bot.catalog()
    servers = []
    for server_id, name in SERVERS.items():
        customer = await guild_bot.customer(server_id)
        premium = customer.entitlements["custom_commands"].allowed
        reply = await bot_reply(server_id, command) if server_id == server else ""
        servers.append({"id": server_id, "name": name, "customer": customer, "premium": premium, "reply": reply})
    price = catalog.products[0].prices[0]
    context = {"user": user, "notice": NOTICES.get(notice), "servers": servers, "command": command, "price": price}
    return pages.TemplateResponse(request, "bot.html", context)


async def bot_reply(server_id: ServerId, command: str) -> str:
    """What the bot says; in a real bot, the body of a slash command."""
    if command == "play":
        hours = max(FREE_MUSIC_HOURS, (await guild_bot.check(server_id, "music_hours")).value)
        return f"Playing. {hours} {'hour' if hours == 1 else 'hours'} of music a day on this server."
    if await guild_bot.check(server_id, "custom_commands"):
        return "Hello from a command this server made itself."
    return "Commands of your own need Guild Bot Premium on this server."


@app.post("/bot/{server_id}/upgrade")
async def bot_upgrade(server_id: ServerId) -> Response:
    checkout = await guild_bot.open_checkout(
        server_id, "guild-bot.premium.monthly", success_url=f"{DEMO_URL}/bot/welcome", cancel_url=f"{DEMO_URL}/bot"
    )
    return RedirectResponse(checkout.url or f"/bot?notice={notice_without_a_page(checkout)}", status_code=303)


@app.get("/bot/welcome")
async def bot_welcome(checkout_id: str) -> Response:
    synced = await guild_bot.sync_checkout(checkout_id)
    return RedirectResponse(f"/bot?notice={notice_after(synced.checkout)}", status_code=303)


@app.post("/bot/{server_id}/billing")
async def bot_billing(server_id: ServerId) -> Response:
    portal = await guild_bot.open_portal(server_id, return_url=f"{DEMO_URL}/bot/{server_id}/managed")
    return RedirectResponse(portal.url, status_code=303)


@app.get("/bot/{server_id}/managed")
async def bot_managed(server_id: ServerId) -> Response:
    await guild_bot.sync_customer(server_id)
    return RedirectResponse("/bot", status_code=303)


# --- What the pages say -------------------------------------------------------------------------------------------

NOTICES = {
    "welcome": ("good", "Thank you. What you bought is open."),
    "on-its-way": (
        "warn",
        "Thank you. Your payment is on its way: a bank debit takes days. Then it opens by itself.",
    ),
    "unfinished": ("warn", "That checkout was not finished. Nothing was charged."),
    "changed": ("good", "Your plan is changed."),
    "already-yours": ("good", "That is yours already."),
    "in-a-moment": ("warn", "The payment page cannot be opened right now. Please try again in a moment."),
}


def notice_without_a_page(checkout: Checkout) -> str:
    return "already-yours" if checkout.outcome == "already_owned" else "in-a-moment"


def notice_after(checkout: CheckoutStatus) -> str:
    if checkout.paid:
        return "welcome"
    return "on-its-way" if checkout.state == "complete" else "unfinished"


def money(price: Price) -> str:
    return f"€{price.amount / 100:,.2f}"


def day(at: datetime) -> str:
    return f"{at.day} {at:%B %Y}"


def limit(value: float) -> str:
    return "unlimited" if value == inf else f"{value:,}"


pages.env.filters.update(money=money, day=day, limit=limit)


@app.exception_handler(TollhouseError)
async def no_answer(request: Request, error: Exception) -> Response:
    """Billing being away must not look like the app being broken."""
    status = 404 if isinstance(error, NotFound) else 503
    return pages.TemplateResponse(request, "no_answer.html", {"user": signed_in(request), "status": status}, status)


@app.middleware("http")
async def nothing_from_elsewhere(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    answer = await proceed(request)
    answer.headers["Content-Security-Policy"] = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    answer.headers["Cache-Control"] = "no-store"
    return answer
