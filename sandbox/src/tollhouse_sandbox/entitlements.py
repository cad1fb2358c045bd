"""What customers may use: the features of the products they subscribe to. Kept in step, and told when it changes."""

from tollhouse_sandbox import events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.lifecycle import Status
from tollhouse_sandbox.rendering import listed
from tollhouse_sandbox.store import Json

ENTITLING = (Status.TRIALING, Status.ACTIVE, Status.PAST_DUE)
"""The states of a subscription in which its products' features may be used."""

KIND = "entitlements.active_entitlement"
SUMMARY = "entitlements.active_entitlement_summary"


def follow(account: Account) -> None:
    """Brings the entitlements of everybody whom the step under way may have touched in line, and tells each change."""
    if not (account.store.count("product_feature") or account.store.count(KIND)):
        return
    for customer in _touched(account):
        _refresh(account, customer)


def _touched(account: Account) -> list[str]:
    """The customers of the subscriptions that changed, and of those that have a product whose features changed."""
    changed = [body["customer"] for body in account.store.touched("subscription")]
    for product in {body["_product"]: None for body in account.store.touched("product_feature")}:
        for price in account.store.oldest_first("price", product=product):
            changed += [body["customer"] for body in account.store.oldest_first("subscription", price=price["id"])]
    return list(dict.fromkeys(changed))


def _products(account: Account, subscription: Json) -> list[str]:
    return [account.require("price", item["price"])["product"] for item in subscription["items"]]


def _refresh(account: Account, customer: str) -> None:
    held, owed = of_customer(account, customer), _owed(account, customer)
    kept = {one["feature"] for one in held}
    if kept == owed.keys():
        return
    before = _summary(customer, held)
    for one in held:
        if one["feature"] not in owed:
            account.store.remove(one)
    for feature, key in owed.items():
        if feature not in kept:
            _entitle(account, customer, feature, key)
    events.emit(account, f"{SUMMARY}.updated", _summary(customer, of_customer(account, customer)), before=before)


def _entitle(account: Account, customer: str, feature: str, key: str) -> None:
    """Keeps one id for as long as the customer has the feature, whichever product it comes from."""
    entitlement = {"id": ids.new(KIND), "object": KIND, "feature": feature, "livemode": False, "lookup_key": key}
    account.store.put({**entitlement, "_customer": customer})


def of_customer(account: Account, customer: str) -> list[Json]:
    """The active entitlements of a customer, newest first."""
    return [*account.store.newest_first(KIND, customer=customer)]


def _owed(account: Account, customer: str) -> dict[str, str]:
    """The features a customer's subscriptions open, with their lookup keys; the oldest subscription's come first."""
    opened: dict[str, str] = {}
    products = {
        product: None
        for subscription in account.store.oldest_first("subscription", customer=customer)
        if subscription["status"] in ENTITLING
        for product in _products(account, subscription)
    }
    for product in products:
        for attached in account.store.oldest_first("product_feature", product=product):
            feature = attached["entitlement_feature"]
            opened[feature["id"]] = feature["lookup_key"]
    return opened


def _summary(customer: str, held: list[Json]) -> Json:
    """All a customer is entitled to, as its event tells it: no more than the first ten."""
    shown = [{name: value for name, value in one.items() if name != "_customer"} for one in held[:10]]
    entitlements = listed(shown, f"/v1/customer/{customer}/entitlements", has_more=len(held) > 10)
    return {"object": SUMMARY, "customer": customer, "entitlements": entitlements, "livemode": False}
