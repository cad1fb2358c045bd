"""Features, which products have them, and who is entitled to them: /v1/entitlements, /v1/products/:id/features."""

from collections.abc import Iterator
from typing import Any

from tollhouse_sandbox import customers, entitlements, ids
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, page, paged
from tollhouse_sandbox.params import flag, merged, metadata, text
from tollhouse_sandbox.store import Json

_FEATURE = "entitlements.feature"
_ATTACHED = "product_feature"


def _create(call: Call) -> Json:
    key = call.params["lookup_key"]
    if any(call.account.store.oldest_first(_FEATURE, lookup_key=key)):
        raise StripeError(
            f"A feature with lookup_key `{key}` already exists.", code="resource_already_exists", param="lookup_key"
        )
    return _store(
        call,
        _FEATURE,
        active=True,
        lookup_key=key,
        metadata=call.params.get("metadata") or {},
        name=call.params["name"],
    )


def _update(call: Call) -> Json:
    feature = call.target(_FEATURE)
    changes: Json = {name: call.params[name] for name in ("active", "name") if name in call.params}
    if "metadata" in call.params:
        changes["metadata"] = merged(feature["metadata"], call.params["metadata"])
    return call.account.store.change(feature, **changes)


def _list(call: Call) -> Page:
    key, archived = call.params.get("lookup_key"), call.params.get("archived", False)
    return page(call, _FEATURE, lambda one: one["active"] is not archived and (key is None or one["lookup_key"] == key))


def _attach(call: Call) -> Json:
    product = call.target("product")
    feature = call.account.require(_FEATURE, call.params["entitlement_feature"], param="entitlement_feature")
    if any(one["entitlement_feature"]["id"] == feature["id"] for one in _of(call, product)):
        raise StripeError("This feature is already attached to the product.", param="entitlement_feature")
    return _store(call, _ATTACHED, entitlement_feature=feature, _product=product["id"])


def _store(call: Call, kind: str, **fields: Any) -> Json:
    """These two kinds have no birthday."""
    return call.account.store.put({"id": ids.new(kind), "object": kind, "livemode": False, **fields})


def _attached(call: Call) -> Page:
    call.params["product"] = call.target("product")["id"]
    return page(call, _ATTACHED)


def _one_attached(call: Call) -> Json:
    product, wanted = call.target("product"), call.path["feature"]
    found = next((one for one in _of(call, product) if one["id"] == wanted), None)
    if found is None:
        raise missing(_ATTACHED, wanted)
    return found


def _detach(call: Call) -> Json:
    attached = _one_attached(call)
    call.account.store.remove(attached)
    return {"id": attached["id"], "object": _ATTACHED, "deleted": True}


def _of(call: Call, product: Json) -> Iterator[Json]:
    return call.account.store.oldest_first(_ATTACHED, product=product["id"])


def _entitled(call: Call) -> Page:
    customer = customers.existing(call.account, call.params["customer"])
    return paged(call, entitlements.KIND, iter(entitlements.of_customer(call.account, customer["id"])))


OPERATIONS = [
    Operation("GET", "/v1/entitlements/active_entitlements", _entitled, {**PAGING, "customer": text}, ("customer",)),
    Operation("GET", "/v1/entitlements/active_entitlements/{id}", lambda call: call.target(entitlements.KIND)),
    Operation(
        "POST",
        "/v1/entitlements/features",
        _create,
        {"lookup_key": text, "name": text, "metadata": metadata},
        ("lookup_key", "name"),
    ),
    Operation("GET", "/v1/entitlements/features", _list, {**PAGING, "lookup_key": text, "archived": flag}),
    Operation("GET", "/v1/entitlements/features/{id}", lambda call: call.target(_FEATURE)),
    Operation("POST", "/v1/entitlements/features/{id}", _update, {"active": flag, "name": text, "metadata": metadata}),
    Operation("POST", "/v1/products/{id}/features", _attach, {"entitlement_feature": text}, ("entitlement_feature",)),
    Operation("GET", "/v1/products/{id}/features", _attached, PAGING),
    Operation("GET", "/v1/products/{id}/features/{feature}", _one_attached),
    Operation("DELETE", "/v1/products/{id}/features/{feature}", _detach),
]
