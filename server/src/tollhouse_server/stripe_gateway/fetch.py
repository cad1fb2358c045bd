"""Reads a customer's whole truth from Stripe: every list to its last page."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, cast

import stripe

from ..domain.facts import CustomerFacts, PriceFacts
from .client import StripeRefused, stripe_errors
from .parse import Raw, UnexpectedShape, fingerprint_of, parse_customer, parse_price
from .parse_billing import MoneyRead, changed_since_billed, parse_money
from .price_worth import costs_in, prices_of

PAGE = 100

Row = dict[str, Any]


async def fetch_customer(client: stripe.StripeClient, customer_id: str) -> CustomerFacts | None:
    """Everything of the customer that money or access depends on; None where Stripe knows no such customer.

    Six requests at once, a further one for each charge refunded or disputed, one where a change waits for its bill, one
    for the card of a trial, and one for each price of old bills that this process has not met. Raises
    StripeUnavailable, StripeRefused, UnexpectedShape, UnknownStatus.
    """
    v1 = client.v1
    try:
        with stripe_errors():
            customer, subscriptions, invoices, sessions, charges = await _together(
                v1.customers.retrieve_async(customer_id),
                _subscriptions(client, customer_id),
                _invoices(client, customer_id),
                _sessions(client, customer_id),
                _everything(v1.charges.list_async({"customer": customer_id, "limit": PAGE})),
            )
            refunds, disputes = await _what_became_of(client, charges)
            pending = (
                await _everything(
                    v1.invoice_items.list_async({"customer": customer_id, "pending": True, "limit": PAGE})
                )
                if changed_since_billed(subscriptions, invoices)
                else []
            )
            prices = await _prices(client, subscriptions, invoices)
            cards = await _cards(client, customer.to_dict(), subscriptions)
    except StripeRefused as refused:
        if refused.stripe_code == "resource_missing":
            return None
        raise
    except KeyError as missing:
        raise UnexpectedShape(f"Stripe's objects of {customer_id} lack {missing}") from missing
    facts = parse_customer(customer.to_dict(), subscriptions, invoices, sessions, charges, refunds, disputes)
    money = parse_money(MoneyRead(subscriptions, invoices, pending, charges, refunds, disputes, prices))
    return replace(facts, billings=money.billings, cash=money.cash, cards=cards)


async def _what_became_of(client: stripe.StripeClient, charges: list[Row]) -> tuple[list[Row], list[Row]]:
    """The refunds and the disputes of the charges that have any."""
    v1 = client.v1
    refunded = [
        v1.refunds.list_async({"charge": one["id"], "limit": PAGE}) for one in charges if one["amount_refunded"]
    ]
    disputed = [v1.disputes.list_async({"charge": one["id"], "limit": PAGE}) for one in charges if one["disputed"]]
    refunds = [row for listed in refunded for row in await _everything(listed)]
    return refunds, [row for listed in disputed for row in await _everything(listed)]


async def _cards(client: stripe.StripeClient, customer: Row, subscriptions: list[Row]) -> tuple[tuple[str, str], ...]:
    """The fingerprint of what each trial will be charged to: its own payment method, or the customer's."""
    usual = (customer.get("invoice_settings") or {}).get("default_payment_method")
    trials = [one for one in subscriptions if one["status"] == "trialing"]
    charged = {one["id"]: method for one in trials if (method := one["default_payment_method"] or usual)}
    prints = {method: await _fingerprint(client, method) for method in sorted(set(charged.values()))}
    return tuple((id_, known) for id_, method in charged.items() if (known := prints[method]))


async def _fingerprint(client: stripe.StripeClient, method_id: str) -> str | None:
    try:
        return fingerprint_of((await client.v1.payment_methods.retrieve_async(method_id)).to_dict())
    except stripe.InvalidRequestError as refused:
        if refused.code == "resource_missing":  # a legacy source, or gone since: that the customer is here is known
            return None
        raise


_KEPT = 10_000
_met: dict[str, Raw] = {}


async def _prices(client: stripe.StripeClient, subscriptions: list[Row], invoices: list[Row]) -> Mapping[str, Raw]:
    """Every price that the bills name. What one costs in a currency never changes, so a process asks once."""
    shown, further = prices_of(subscriptions, invoices)
    for price_id, currency in sorted(further):
        if costs_in(_met.get(price_id), currency):
            continue
        if len(_met) >= _KEPT:
            _met.pop(next(iter(_met)))
        read = await client.v1.prices.retrieve_async(price_id, {"expand": ["currency_options"]})
        _met[price_id] = read.to_dict()
    return shown | {price_id: _met[price_id] for price_id, _ in further}


async def _together(*reads: Awaitable[Any]) -> list[Any]:
    """The reads' answers, made at once; the first error ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_answer(read)) for read in reads]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _answer(read: Awaitable[Any]) -> Any:
    return await read


async def fetch_customer_of_charge(client: stripe.StripeClient, charge_id: str) -> str | None:
    """The customer (`cus_…`) whom a charge belongs to; None for a charge of nobody's, or none."""
    try:
        with stripe_errors():
            charge = await client.v1.charges.retrieve_async(charge_id)
    except StripeRefused as refused:
        if refused.stripe_code == "resource_missing":
            return None
        raise
    return charge.customer if isinstance(charge.customer, str) else None


async def fetch_prices(client: stripe.StripeClient, product_id: str) -> list[PriceFacts]:
    """All prices of the product as they are now; none where it is gone."""
    try:
        with stripe_errors():
            listed = client.v1.prices.list_async({"product": product_id, "limit": PAGE, "expand": ["data.product"]})
            return [parse_price(row) for row in await _everything(listed)]
    except StripeRefused as refused:
        if refused.stripe_code == "resource_missing":
            return []
        raise


async def _subscriptions(client: stripe.StripeClient, customer_id: str) -> list[Row]:
    listed = client.v1.subscriptions.list_async(
        {"customer": customer_id, "status": "all", "limit": PAGE, "expand": ["data.schedule"]}
    )
    return [await _with_whole(one, "items") for one in await _objects(listed)]


async def _invoices(client: stripe.StripeClient, customer_id: str) -> list[Row]:
    listed = client.v1.invoices.list_async(
        {"customer": customer_id, "limit": PAGE, "expand": ["data.payments", "data.discounts.source.coupon"]}
    )
    return [await _with_whole(one, "lines", "payments") for one in await _objects(listed)]


async def _sessions(client: stripe.StripeClient, customer_id: str) -> list[Row]:
    listed = client.v1.checkout.sessions.list_async(
        {"customer": customer_id, "limit": PAGE, "expand": ["data.line_items", "data.payment_intent"]}
    )
    return [await _with_whole(one, "line_items") for one in await _objects(listed)]


async def _objects(listed: Any) -> list[stripe.StripeObject]:
    return [one async for one in (await listed).auto_paging_iter()]


async def _everything(listed: Any) -> list[Row]:
    return [one.to_dict() for one in await _objects(listed)]


async def _with_whole(one: stripe.StripeObject, *lists: str) -> Row:
    """The object as a dictionary whose embedded lists are whole: Stripe embeds ten rows and says `has_more`."""
    whole: Row = one.to_dict()
    for name in lists:
        embedded = cast("stripe.ListObject[Any]", one[name])
        whole[name] = [row.to_dict() async for row in embedded.auto_paging_iter()]
    return whole
