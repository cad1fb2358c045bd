"""Objects as an answer or an event shows them: joined with what Stripe embeds, without the sandbox's own fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tollhouse_sandbox import currency_options
from tollhouse_sandbox.account import TEST_CLOCK, Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.redeemable import code_is_active, coupon_is_valid
from tollhouse_sandbox.store import Json

MAX_DEPTH = 4
"""Parts of a path, `data` counted: `data.items.data.price.product` is refused by Stripe too."""


def public(account: Account, body: Json) -> Json:
    """The object as Stripe would write it, nothing expanded; of a deleted one only that it is deleted."""
    if body.get("deleted") and body["object"] != "discount":  # which Stripe still shows whole
        return {"id": body["id"], "object": body["object"], "deleted": True}
    shown = _without_own(body)
    join = _JOINED.get(body["object"])
    return join(account, shown) if join else shown


def _without_own(body: Json) -> Json:
    return {key: value for key, value in body.items() if not key.startswith("_")}


def listed(data: list[Json], url: str, *, has_more: bool = False) -> Json:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def plan(price: Json) -> Json:
    """The plan, which Stripe still writes beside every recurring price."""
    recurring = price["recurring"] or {
        "interval": "month",
        "interval_count": 1,
        "usage_type": "licensed",
        "meter": None,
    }
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def subscription_item(account: Account, item: Json) -> Json:
    price = public(account, account.require("price", item["price"]))
    return {**_without_own(item), "price": price, "plan": plan(price)}


def _subscription(account: Account, body: Json) -> Json:
    items = [subscription_item(account, item) for item in body["items"]]
    url = f"/v1/subscription_items?subscription={body['id']}"
    shown = {**body, "items": {**listed(items, url), "total_count": len(items)}}
    # Real payloads still carry these two for a subscription of one item.
    shown["plan"] = items[0]["plan"] if len(items) == 1 else None
    shown["quantity"] = items[0]["quantity"] if len(items) == 1 else None
    return shown


def _invoice(_account: Account, body: Json) -> Json:
    lines = body["lines"]
    return {**body, "lines": {**listed(lines[:10], f"/v1/invoices/{body['id']}/lines", has_more=len(lines) > 10)}}


def _credit_note(_account: Account, body: Json) -> Json:
    lines = body["lines"]
    return {**body, "lines": listed(lines[:10], f"/v1/credit_notes/{body['id']}/lines", has_more=len(lines) > 10)}


def _coupon(account: Account, body: Json) -> Json:
    return {**body, "valid": coupon_is_valid(body, account.now)}


def _promotion_code(account: Account, body: Json) -> Json:
    coupon = account.require("coupon", body["promotion"]["coupon"])
    restrictions = {name: value for name, value in body["restrictions"].items() if name != "currency_options"}
    return {**body, "active": code_is_active(body, coupon, account.now), "restrictions": restrictions}


_JOINED: dict[str, Callable[[Account, Json], Json]] = {
    "coupon": _coupon,
    "credit_note": _credit_note,
    "invoice": _invoice,
    "promotion_code": _promotion_code,
    "subscription": _subscription,
}


def line_items(account: Account, session: Json) -> list[Json]:
    """The lines of a checkout session, which it shows only when asked."""
    return [
        public(account, {**line, "price": public(account, account.require("price", line["price"]))})
        for line in session["_line_items"]
    ]


def _line_items(account: Account, session: Json) -> Json:
    return listed(line_items(account, session), f"/v1/checkout/sessions/{session['id']}/line_items")


def _related(kind: str, field: str, path: str) -> Callable[[Account, Json], Json]:
    def find(account: Account, body: Json) -> Json:
        found = [public(account, other) for other in account.store.newest_first(kind, **{field: body["id"]})]
        return listed(found[:10], path.format(id=body["id"]), has_more=len(found) > 10)

    return find


def _subscriptions(account: Account, customer: Json) -> Json:
    found = [
        public(account, body)
        for body in account.store.newest_first("subscription", customer=customer["id"])
        if body["status"] != "canceled"
    ]
    return listed(found[:10], f"/v1/customers/{customer['id']}/subscriptions", has_more=len(found) > 10)


def _products(_account: Account, coupon: Json) -> Json | None:
    return {"products": coupon["_products"]} if coupon["_products"] else None


def _amounts_off(_account: Account, coupon: Json) -> Json | None:
    if coupon["amount_off"] is None:
        return None
    return {coupon["currency"]: {"amount_off": coupon["amount_off"]}, **(coupon["_currency_options"] or {})}


def _currency_options(_account: Account, price: Json) -> Json:
    return currency_options.options(price)


def _minimums(_account: Account, code: Json) -> Json:
    return dict(code["restrictions"]["currency_options"])


def _confirmation_secret(account: Account, invoice: Json) -> Json | None:
    intent = account.store.get("payment_intent", invoice["_intent"] or "")
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None


INCLUDABLE: dict[str, dict[str, Callable[[Account, Json], Json | None]]] = {
    "charge": {"refunds": _related("refund", "charge", "/v1/charges/{id}/refunds")},
    "checkout.session": {"line_items": _line_items},
    "coupon": {"applies_to": _products, "currency_options": _amounts_off},
    "customer": {"subscriptions": _subscriptions},
    "invoice": {
        "confirmation_secret": _confirmation_secret,
        "payments": _related("invoice_payment", "invoice", "/v1/invoice_payments?invoice={id}"),
    },
    "price": {"currency_options": _currency_options},
    "promotion_code": {"restrictions.currency_options": _minimums},
}
"""Kind → fields that are absent until they are expanded."""

_METHOD = {"payment_method": "payment_method"}
_TEST_CLOCK = {"test_clock": TEST_CLOCK}
EXPANDABLE: dict[str, dict[str, str]] = {
    "billing_portal.session": {"configuration": "billing_portal.configuration"},
    "charge": {
        "balance_transaction": "balance_transaction",
        "customer": "customer",
        "payment_intent": "payment_intent",
    },
    "checkout.session": {
        "customer": "customer",
        "invoice": "invoice",
        "payment_intent": "payment_intent",
        "setup_intent": "setup_intent",
        "subscription": "subscription",
    },
    "credit_note": {"customer": "customer", "invoice": "invoice"},
    "customer": {"invoice_settings.default_payment_method": "payment_method", **_TEST_CLOCK},
    "discount": {"customer": "customer", "promotion_code": "promotion_code", "source.coupon": "coupon"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "entitlements.active_entitlement": {"feature": "entitlements.feature"},
    "invoice": {
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "parent.subscription_details.subscription": "subscription",
        **_TEST_CLOCK,
    },
    "invoice_payment": {"invoice": "invoice", "payment.payment_intent": "payment_intent"},
    "invoiceitem": {"customer": "customer", "discounts": "discount", "invoice": "invoice", **_TEST_CLOCK},
    "line_item": {"discounts": "discount", "pricing.price_details.price": "price"},
    "payment_intent": {"customer": "customer", "latest_charge": "charge", **_METHOD},
    "payment_method": {"customer": "customer"},
    "price": {"product": "product"},
    "product": {"default_price": "price"},
    "promotion_code": {"customer": "customer", "promotion.coupon": "coupon"},
    "refund": {
        "balance_transaction": "balance_transaction",
        "charge": "charge",
        "customer": "customer",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
        **_METHOD,
    },
    "setup_intent": {"customer": "customer", **_METHOD},
    "subscription": {
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "latest_invoice": "invoice",
        "pending_setup_intent": "setup_intent",
        "schedule": "subscription_schedule",
        **_TEST_CLOCK,
    },
    "subscription_item": {"discounts": "discount"},
    "subscription_schedule": {"customer": "customer", "subscription": "subscription", **_TEST_CLOCK},
    "item": {},
}
"""Kind → the fields that hold an id and can hold the object instead, with the kind of that object."""


@dataclass(frozen=True)
class Expansion:
    """How ids are replaced by objects in an answer.

    For older versions, `expandable` is what can be expanded in them and `render` makes an object what they show.
    """

    account: Account
    expandable: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: EXPANDABLE)
    render: Callable[[Json], Json] = lambda shown: shown

    def along(self, paths: list[str], shown: Json) -> Json:
        """Replaces along paths like `data.customer` or `latest_invoice.payments`, in the answer itself.

        Refuses a path of more than four parts and one that leads to something that is not expandable.
        """
        for path in paths:
            parts = path.split(".")
            if len(parts) > MAX_DEPTH:
                message = f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}"
                raise StripeError(message, param="expand")
            self._expand(shown, parts)
        return shown

    def _expand(self, shown: Json, parts: list[str]) -> None:
        if not parts or shown.get("deleted"):
            return
        if shown["object"] == "list":
            if parts[0] != "data":
                raise _refused(parts[0])
            shown["data"] = [dict(body) for body in shown["data"]]
            for body in shown["data"]:
                self._expand(body, parts[1:])
            return
        expandable = self.expandable.get(shown["object"], {})
        for length in range(len(parts), 0, -1):
            field = ".".join(parts[:length])
            if field in INCLUDABLE.get(shown["object"], {}):
                self._include(shown, parts[:length])
            elif field in expandable:
                self._replace(shown, parts[:length], expandable[field])
            elif not (length == 1 and _embeds(shown.get(field))):
                continue
            inner = _at(shown, parts[:length])
            for each in inner if isinstance(inner, list) else [inner]:
                if isinstance(each, dict):
                    self._expand(each, parts[length:])
            return
        raise _refused(".".join(parts))

    def _include(self, shown: Json, parts: list[str]) -> None:
        holder, field = _holder(shown, parts), parts[-1]
        if field not in holder:
            stored = self.account.require(shown["object"], shown["id"])
            included = INCLUDABLE[shown["object"]][".".join(parts)](self.account, stored)
            holder[field] = self.render(included) if isinstance(included, dict) else included

    def _replace(self, shown: Json, parts: list[str], kind: str) -> None:
        value = _at(shown, parts)
        if not isinstance(value, str | list):
            return
        holder = _holder(shown, parts)
        if isinstance(value, list):
            holder[parts[-1]] = [self._found(kind, each) if isinstance(each, str) else each for each in value]
        else:
            holder[parts[-1]] = self._found(kind, value)

    def _found(self, kind: str, object_id: str) -> Json:
        found = self.account.store.get(kind, object_id)
        return self.render(public(self.account, found)) if found else {"id": object_id, "object": kind, "deleted": True}


def _embeds(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("object"), str)


def _refused(field: str) -> StripeError:
    return StripeError(
        f"This property cannot be expanded ({field}). You may want to try expanding it at a different level.",
        param="expand",
    )


def _at(shown: Json, parts: list[str]) -> Any:
    value: Any = shown
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _holder(shown: Json, parts: list[str]) -> Json:
    """The dict with a path's last field; those on the way are copied, because below the first level they are stored."""
    holder = shown
    for part in parts[:-1]:
        holder[part] = dict(holder[part])
        holder = holder[part]
    return holder
