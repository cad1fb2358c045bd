"""What a payment page costs less: by the merchant's discount, or by a promotion code typed on it."""

from collections.abc import Sequence

from tollhouse_sandbox import discounts, money, redemption
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.discounts import Cost, Given
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.redemption import Promotion, Purchase
from tollhouse_sandbox.store import Json


def priced(mode: str, lines: Sequence[Json], promotions: Sequence[Promotion]) -> Json:
    """The fields of a session that say what it costs, with these lines and less these promotions."""
    given = [Given(promotion.coupon["id"], discounts.terms(promotion.coupon)) for promotion in promotions]
    costs = [Cost(line["amount_subtotal"], line["_product"]) for line in lines]
    taken = discounts.taken_off(costs, given, lines[0]["currency"]) if lines else []
    less = [sum(one.amounts[place] for one in taken) for place in range(len(lines))]
    subtotal, off = sum(cost.amount for cost in costs), sum(less)
    return {
        "amount_subtotal": subtotal if lines else None,
        "amount_total": subtotal - off if lines else None,
        "discounts": [_named(promotion) for promotion in promotions],
        "payment_status": "unpaid" if subtotal - off or mode == "subscription" else "no_payment_required",
        "total_details": {"amount_discount": off, "amount_shipping": 0, "amount_tax": 0} if lines else None,
        "_line_items": [
            {**line, "amount_discount": each, "amount_total": line["amount_subtotal"] - each}
            for line, each in zip(lines, less, strict=True)
        ],
    }


def _named(promotion: Promotion) -> Json:
    if promotion.code:
        return {"coupon": None, "promotion_code": promotion.code["id"]}
    return {"coupon": promotion.coupon["id"], "promotion_code": None}


def purchase(lines: Sequence[Json], customer: str | None) -> Purchase:
    """What a page's promotions are asked for."""
    return Purchase(lines[0]["currency"], sum(line["amount_subtotal"] for line in lines), customer)


def promotions(account: Account, session: Json) -> list[Promotion]:
    """The page's promotions. Raises 400 when one can no longer be redeemed."""
    if not session["discounts"]:
        return []
    asked = purchase(session["_line_items"], session["customer"])
    given = [{name: value for name, value in one.items() if value} for one in session["discounts"]]
    return [redemption.named(account, one, asked, f"discounts[{place}]") for place, one in enumerate(given)]


def apply_code(account: Account, session: Json, text: str) -> Json:
    """Takes a typed code's discount off the page, in place of one typed before."""
    if not session["allow_promotion_codes"]:
        raise StripeError("This page does not take promotion codes.", param="code")
    promotion = redemption.typed(account, text, purchase(session["_line_items"], session["customer"]))
    return reprice(account, session, [promotion])


def remove_code(account: Account, session: Json) -> Json:
    """Takes the typed code off the page again; the merchant's own discount stays."""
    return reprice(account, session, []) if session["allow_promotion_codes"] else session


def reprice(account: Account, session: Json, chosen: Sequence[Promotion]) -> Json:
    """The session with its lines priced anew, less these promotions."""
    return account.store.change(session, **priced(session["mode"], session["_line_items"], chosen))


def shown(account: Account, session: Json) -> Json:
    """What the page tells of its discount: `{"allow_promotion_codes", "promotion_code", "discount"}`."""
    found: Json = {"allow_promotion_codes": bool(session["allow_promotion_codes"])}
    if not session["discounts"]:
        return {**found, "promotion_code": None, "discount": None}
    named = session["discounts"][0]
    code = account.require("promotion_code", named["promotion_code"]) if named["promotion_code"] else None
    coupon = account.require("coupon", code["promotion"]["coupon"] if code else named["coupon"])
    return {
        **found,
        "promotion_code": code["code"] if code else None,
        "discount": {
            "name": coupon["name"] or coupon["id"],
            "terms": _terms(coupon, session["currency"]),
            "amount": session["total_details"]["amount_discount"],
        },
    }


def _terms(coupon: Json, currency: str) -> str:
    if coupon["percent_off"] is not None:
        off = f"{coupon['percent_off']:g}% off"
    else:
        off = f"{money.written(discounts.terms(coupon)['amounts_off'][currency], currency)} off"
    months = coupon["duration_in_months"]
    if months:
        return f"{off} for {months} month{'' if months == 1 else 's'}"
    return f"{off} for ever" if coupon["duration"] == "forever" else off
