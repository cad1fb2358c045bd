"""What people, the merchant and banks do with one customer at Stripe, at random."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reliability.desk import Desk, Json
from tollhouse_sandbox import disputes
from tollhouse_sandbox.errors import StripeError
from tollhouse_server.commands.open_checkout import CheckoutDesk, CheckoutRequest

PRICES = ("shop.pro.monthly", "shop.pro.yearly", "shop.pro.trial", "shop.basic.monthly", "shop.extra.monthly")
ONCE = "shop.lifetime.once"
GOOD, FAILING = "pm_card_visa", "pm_card_chargeCustomerFail"
"""The second can be saved, and is declined whenever it is charged without its owner."""
SLOW_DEBITS = ("pm_sepaDebit", "pm_usBankAccount")


@dataclass
class Customer:
    """One customer's history. Each step does one thing that Stripe would let happen; what it refuses is no step."""

    desk: Desk
    user_id: str
    chance: random.Random
    stripe_id: str = ""

    async def begin(self) -> None:
        """Becomes a customer by a first checkout, which may be left unpaid."""
        with contextlib.suppress(StripeError):  # the card was declined
            await self._buy(self.chance.choice((*PRICES, ONCE)))

    async def step(self) -> bool:
        """False where Stripe refused, so that nothing has happened."""
        actions: tuple[Callable[[], Awaitable[object]], ...] = (
            self._buy_any,
            self._buy_any,
            self._toggle_cancel,
            self._toggle_cancel,
            self._end,
            self._toggle_pause,
            self._change_plan,
            self._refund,
            self._dispute,
            self._decide,
            self._change_card,
            self._pay_what_is_owed,
            self._made_by_the_merchant,
        )
        try:
            await self.chance.choice(actions)()
        except (StripeError, IndexError):  # refused, or there is nothing of the kind
            return False
        return True

    async def _buy_any(self) -> None:
        await self._buy(self.chance.choice((*PRICES, ONCE)))

    async def _buy(self, price: str) -> None:
        quantity = self.chance.choice((1, 1, 3))
        asked = CheckoutRequest(self.user_id, price, quantity, "https://app.test/", "https://app.test/")
        desk = self.desk
        counter = CheckoutDesk(desk.resources.database, desk.resources.stripe, desk.resources.pipeline)
        opened = await counter.open(desk.owner, asked, at=desk.resources.clock.now())
        if opened.url is None:
            raise StripeError("It is owned already.")
        session = desk.sandbox.account.require("checkout.session", opened.url.rpartition("/")[2].partition("#")[0])
        self.stripe_id = str(session["customer"])
        if self.chance.random() < 0.9:
            cards = (GOOD, GOOD, FAILING, self.chance.choice(SLOW_DEBITS))
            await desk.sandbox.pay(session["id"], self.chance.choice(cards))

    async def _toggle_cancel(self) -> None:
        one = self._any("subscription")
        wanted = str(not one["cancel_at_period_end"]).lower()
        await self.desk.ask("POST", f"/v1/subscriptions/{one['id']}", cancel_at_period_end=wanted)

    async def _end(self) -> None:
        await self.desk.ask("DELETE", f"/v1/subscriptions/{self._any('subscription')['id']}")

    async def _toggle_pause(self) -> None:
        one = self._any("subscription")
        given = {"pause_collection": ""} if one["pause_collection"] else {"pause_collection__behavior": "void"}
        await self.desk.ask("POST", f"/v1/subscriptions/{one['id']}", **given)

    async def _change_plan(self) -> None:
        one = self._any("subscription")
        [item, *_] = one["items"]
        price = self._price(self.chance.choice(PRICES))
        form = {"items[0][id]": item["id"], "items[0][price]": price, "items[0][quantity]": self.chance.randint(1, 4)}
        await self.desk.ask("POST", f"/v1/subscriptions/{one['id']}", **form)

    async def _refund(self) -> None:
        charge = self._any("charge")
        form = {} if self.chance.random() < 0.6 else {"amount": max(1, charge["amount"] // 3)}
        await self.desk.ask("POST", "/v1/refunds", charge=charge["id"], **form)

    async def _dispute(self) -> None:
        with self.desk.sandbox.step():
            disputes.open_dispute(self.desk.sandbox.account, self._any("charge"), amount=None)

    async def _decide(self) -> None:
        with self.desk.sandbox.step():
            disputes.decide(self.desk.sandbox.account, self._any("dispute"), self.chance.choice(("won", "lost")))

    async def _change_card(self) -> None:
        card = self.chance.choice((GOOD, GOOD, FAILING))
        method = await self.desk.ask("POST", f"/v1/payment_methods/{card}/attach", customer=self.stripe_id)
        await self.desk.ask(
            "POST", f"/v1/customers/{self.stripe_id}", invoice_settings__default_payment_method=method["id"]
        )
        for one in self._all("subscription"):
            if one["status"] not in ("canceled", "incomplete_expired"):
                await self.desk.ask("POST", f"/v1/subscriptions/{one['id']}", default_payment_method=method["id"])

    async def _pay_what_is_owed(self) -> None:
        owed = [one for one in self._all("invoice") if one["status"] == "open"]
        await self.desk.ask("POST", f"/v1/invoices/{self.chance.choice(owed)['id']}/pay")

    async def _made_by_the_merchant(self) -> None:
        """A subscription from the dashboard, past the checkout and its plan groups."""
        form = {"items[0][price]": self._price(self.chance.choice(PRICES))}
        await self.desk.ask("POST", "/v1/subscriptions", customer=self.stripe_id, **form)

    def _price(self, lookup_key: str) -> str:
        store = self.desk.sandbox.account.store
        return str(next(one["id"] for one in store.oldest_first("price") if one["lookup_key"] == lookup_key))

    def _all(self, kind: str) -> list[Json]:
        desk = self.desk
        return [one for one in desk.sandbox.account.store.newest_first(kind) if desk.owner_of(one) == self.stripe_id]

    def _any(self, kind: str) -> Json:
        return self.chance.choice(self._all(kind))
