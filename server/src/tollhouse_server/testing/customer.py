"""One user of one app, as stories tell of them: each verb is done where a person would do it, and arrives."""

from typing import TYPE_CHECKING, Any

import httpx
import stripe
from sqlalchemy import and_, select

from tollhouse import Check, Customer

from ..db.tables import customer, project
from ..resources import Resources
from .service import NO_TLS
from .stories import FROM_THE_STORY, App, StoryError

if TYPE_CHECKING:
    from .world import World

__tracebackhide__ = FROM_THE_STORY


class WorldCustomer:
    """After each verb, Stripe's webhooks have arrived and the worker has done its work.

    Raises StoryError for what cannot be done, and the sandbox's StripeError where Stripe refuses: a declined card.
    Where a customer has several subscriptions or payments, `price` says of which.
    """

    def __init__(self, world: "World", app: App, user_id: str) -> None:
        self.world, self.app, self.user_id = world, app, user_id
        self._stripe = world.stripe.v1

    # --- What they have

    def may(self, feature: str) -> Check:
        """What the app is told when it asks; true when allowed."""
        return self.app.check(self.user_id, feature)

    def state(self) -> Customer:
        """All that Tollhouse knows of them."""
        return self.app.customer(self.user_id)

    @property
    def stripe_id(self) -> str:
        """The Stripe customer (`cus_…`)."""
        ours = and_(customer.c.user_id == self.user_id, project.c.slug == self.app.project)

        async def find(resources: Resources) -> str | None:
            async with resources.database.transaction() as tx:
                joined = customer.join(project, project.c.id == customer.c.project_id)
                return await tx.scalar(select(customer.c.stripe_customer_id).select_from(joined).where(ours))

        if found := self.world.service.run(find):
            return found
        raise StoryError(f"Stripe does not know {self.user_id} yet: they have opened no checkout.")

    def subscription(self, price: str | None = None) -> stripe.Subscription:
        """The subscription that runs, as Stripe has it."""
        listed = self._stripe.subscriptions.list({"customer": self.stripe_id, "limit": 100}).data
        running = [one for one in listed if price in (None, *_prices_of(one))]
        if len(running) == 1:
            return running[0]
        named = ", ".join(sorted(key or one.id for one in listed for key in _prices_of(one)))
        if running:
            raise StoryError(f"{self.user_id} has several subscriptions: say which by its price, of {named}.")
        raise StoryError(f"{self.user_id} has no subscription {price or ''} that runs. There is {named or 'none'}.")

    def payment(self, price: str | None = None) -> stripe.Charge:
        """The last payment that went through and was not wholly given back."""
        for charge in self._charges():
            kept = charge.status != "failed" and charge.amount_refunded < charge.amount
            if kept and (price is None or price in self._paid_for(charge)):
                return charge
        raise StoryError(f"{self.user_id} has made no payment {f'for {price!r} ' if price else ''}that could be taken.")

    # --- What they do

    def buys(self, price: str, card: str = "pm_card_visa", **asked: Any) -> str:
        """Opens a checkout in the app and pays on the hosted page; answers with the checkout's id.

        `asked` is what `open_checkout` takes: `quantity=3`.
        """
        self.app.sells(price)
        back = {"success_url": f"{self.app.origin}/welcome", "cancel_url": f"{self.app.origin}/"}
        opened = self.app.open_checkout(self.user_id, price, **{**back, **asked})
        if opened.url is None or opened.id is None:
            raise StoryError(f"{self.user_id} was not asked to pay: {opened.outcome}.")
        self.pays(opened.url, card)
        return opened.id

    def pays(self, page: str, card: str = "pm_card_visa") -> str:
        """Pays on a hosted page that the app led to; answers with the URL to which the browser goes next."""
        back = self.world.sandbox.pay(page, card)
        self.world.arrive()
        return back

    def pays_with(self, card: str) -> None:
        """Makes a test card the one that is charged from now on."""
        attached = self._stripe.payment_methods.attach(card, {"customer": self.stripe_id})
        settings: Any = {"invoice_settings": {"default_payment_method": attached.id}}
        self._stripe.customers.update(self.stripe_id, settings)
        for one in self._stripe.subscriptions.list({"customer": self.stripe_id}).data:
            self._stripe.subscriptions.update(one.id, {"default_payment_method": attached.id})
        self.world.arrive()

    def gets_subscription(self, price: str, card: str | None = "pm_card_visa", **asked: Any) -> None:
        """Is subscribed at Stripe itself, as from its dashboard, with `asked` as Stripe takes it; no card: None."""
        self.app.sells(price)
        home = f"{self.app.origin}/"
        self.app.open_checkout(self.user_id, price, success_url=home, cancel_url=home)  # it makes the customer
        if card:
            self.pays_with(card)
        order: Any = {"customer": self.stripe_id, "items": [{"price": self._price_id(price)}], **asked}
        self._stripe.subscriptions.create(order)
        self.world.arrive()

    def card_declines(self) -> None:
        """From now on the card is declined: the next renewal fails."""
        self.pays_with("pm_card_chargeCustomerFail")

    def pays_invoice(self) -> None:
        """Pays the invoice that is open, with the card that is charged now."""
        open_ones = self._stripe.invoices.list({"customer": self.stripe_id, "status": "open"}).data
        if not open_ones:
            raise StoryError(f"{self.user_id} has no invoice to pay.")
        self._stripe.invoices.pay(open_ones[0].id)
        self.world.arrive()

    def in_portal(self, action: str, price: str | None = None, **fields: str) -> None:
        """Presses a button of the portal's page: `cancel`, `resume`, or `save` for a `card`."""
        button = {"action": action, "subscription": self.subscription(price).id, **fields}
        page = self.app.open_portal(self.user_id, return_url=f"{self.app.origin}/").url
        pressed = httpx.post(page, data=button, verify=NO_TLS, trust_env=False)
        if pressed.status_code != httpx.codes.SEE_OTHER:
            raise StoryError(f"The portal did not let {self.user_id} {action}: {pressed.text}")
        self.world.arrive()

    def cancels(self, price: str | None = None, *, now: bool = False) -> None:
        """Cancels in the portal: open to the end of what was paid for. `now` ends it at once, as support would."""
        if now:
            self._stripe.subscriptions.cancel(self.subscription(price).id)
            self.world.arrive()
        else:
            self.in_portal("cancel", price)

    def pauses(self, price: str | None = None) -> None:
        """Has the subscription paused: no access by default, and no invoices."""
        self._stripe.subscriptions.pause(self.subscription(price).id)
        self.world.arrive()

    def resumes(self, price: str | None = None) -> None:
        """Goes on with what was paused, or takes a cancellation back in the portal."""
        one = self.subscription(price)
        if one.status == "paused":
            self._stripe.subscriptions.resume(one.id)
            self.world.arrive()
        else:
            self.in_portal("resume", price)

    def confirms_plan(self, to: str, *, quantity: int | None = None, **asked: Any) -> str:
        """Asks the app for another plan of the group and confirms it on the page that shows what it costs.

        Answers with the URL to which the browser goes next. `asked` as for `buys`; `quantity` is that of the page.
        """
        self.app.sells(to)
        back = {"success_url": f"{self.app.origin}/welcome", "cancel_url": f"{self.app.origin}/"}
        opened = self.app.open_checkout(self.user_id, to, **{**back, **({"quantity": quantity or 1} | asked)})
        if opened.outcome != "plan_change" or opened.url is None or opened.subscription is None:
            raise StoryError(f"{self.user_id} was not asked to confirm a change: {opened.outcome}.")
        [item] = self._stripe.subscriptions.retrieve(opened.subscription)["items"].data
        button = {"action": "change", "subscription": opened.subscription, "price": self._price_id(to)}
        seats = str(quantity or item.quantity)
        pressed = httpx.post(opened.url, data={**button, "quantity": seats}, verify=NO_TLS, trust_env=False)
        if pressed.status_code != httpx.codes.SEE_OTHER:
            raise StoryError(f"The portal did not let {self.user_id} change to {to}: {pressed.text}")
        self.world.arrive()
        return str(pressed.headers["Location"])

    def changes_plan(self, to: str, *, price: str | None = None, **how: Any) -> None:
        """Another price for the subscription; `how` is what Stripe takes: `proration_behavior="always_invoice"`."""
        self.app.sells(to)
        self._change_item(self.subscription(price), {"price": self._price_id(to)}, how)

    def changes_quantity(self, quantity: int, *, price: str | None = None, **how: Any) -> None:
        """More or fewer seats; `how` as for a plan."""
        self._change_item(self.subscription(price), {"quantity": quantity}, how)

    # --- What befalls them

    def refunds(self, amount: int | None = None, *, price: str | None = None) -> None:
        """Is given the last payment back, or `amount` of it, in cents."""
        asked: Any = {"charge": self.payment(price).id, **({} if amount is None else {"amount": amount})}
        self._stripe.refunds.create(asked)
        self.world.arrive()

    def disputes(self, price: str | None = None, *, status: str = "needs_response") -> None:
        """Has the bank dispute the last payment; with `warning_needs_response` it only inquires."""
        self.world.sandbox.dispute(self.payment(price).id, status)
        self.world.arrive()

    def dispute_closes(self, status: str) -> None:
        """The bank decides, in Stripe's words: `won` is yours, `lost` is theirs."""
        disputed = next((charge for charge in self._charges() if charge.disputed), None)
        if disputed is None:
            raise StoryError(f"{self.user_id} has disputed no payment.")
        self.world.sandbox.decide_dispute(self._stripe.disputes.list({"charge": disputed.id}).data[0].id, status)
        self.world.arrive()

    def debit_settles(self, *, succeeds: bool = True) -> None:
        """The bank debit of the last checkout goes through, or comes back."""
        sessions = self._stripe.checkout.sessions.list({"customer": self.stripe_id}).data
        self.world.sandbox.settle(sessions[0].id, succeeds=succeeds)
        self.world.arrive()

    def _price_id(self, price: str) -> str:
        return self._stripe.prices.list({"lookup_keys": [price]}).data[0].id

    def _change_item(self, one: stripe.Subscription, item: dict[str, Any], how: dict[str, Any]) -> None:
        changed: Any = {"items": [{"id": one["items"].data[0].id, **item}], **how}
        self._stripe.subscriptions.update(one.id, changed)
        self.world.arrive()

    def _charges(self) -> list[stripe.Charge]:
        """Newest first."""
        return self._stripe.charges.list({"customer": self.stripe_id, "limit": 100}).data

    def _paid_for(self, charge: stripe.Charge) -> list[str | None]:
        """The lookup keys of what a payment paid for."""
        intent = str(charge.payment_intent)
        for session in self._stripe.checkout.sessions.list({"payment_intent": intent}).data:
            lines = self._stripe.checkout.sessions.line_items.list(session.id).data
            return [line.price.lookup_key for line in lines if line.price]
        of_intent: Any = {"payment": {"type": "payment_intent", "payment_intent": intent}}
        return [
            self._stripe.prices.retrieve(str(line.pricing.price_details.price)).lookup_key
            for bill in self._stripe.invoice_payments.list(of_intent).data
            for line in self._stripe.invoices.retrieve(str(bill.invoice)).lines.data
            if line.pricing and line.pricing.price_details
        ]


def _prices_of(one: stripe.Subscription) -> list[str | None]:
    return [item.price.lookup_key for item in one["items"].data]
