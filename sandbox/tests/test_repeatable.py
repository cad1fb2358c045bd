"""The same again: from a seed, and after a restart in the midst."""

import pytest

from tollhouse_sandbox.faults import Fault

BEGIN = 2_000_000_000
"""Unix seconds, later than now, as the clock never goes back."""

MONTH = 31 * 86_400


def begin(here, receiver):
    """A shop whose endpoint is down, and a subscription of which one event in two is dropped or told twice."""
    here.sandbox.freeze(True)
    here.run(here.sandbox.advance_to(BEGIN))
    here.sandbox.account.settings["webhook_retries"] = [10 * 86_400]
    here.post("webhook_endpoints", {"url": receiver.url, "enabled_events[]": "*"})
    for kind in ("drop", "twin", "reorder"):
        here.sandbox.faults.order(Fault(kind, chance=0.5, seed=3))
    product = here.post("products", {"name": "PDF Tool"})
    price = {"product": product["id"], "currency": "eur", "unit_amount": "900", "recurring[interval]": "month"}
    item = {"items[0][price]": here.post("prices", price)["id"]}
    customer = here.post("customers", {"invoice_settings[default_payment_method]": "pm_card_visa"})
    here.post("subscriptions", {"customer": customer["id"], **item})
    here.sandbox.faults.order(Fault("error", times=1, path="/v1/products", after=True))
    here.run(here.sandbox.drain())
    return customer["id"], order(here)


def order(here):
    """A call with a key of its own; the first time it is carried out and answered with an error."""
    return here.ask("POST", "products", {"name": "Once"}, key="once")


def lived_on(here, customer):
    here.run(here.sandbox.advance(MONTH))
    [subscription] = here.get(f"subscriptions?customer={customer}")["data"]
    here.status("DELETE", f"/v1/subscriptions/{subscription['id']}")
    here.run(here.sandbox.drain())


def log(here):
    """Every event, and every delivery with its attempts, oldest first."""
    store = here.sandbox.account.store
    return [*store.oldest_first("event"), *store.oldest_first("_delivery")]


def test_a_seed(opened, receiver):
    """Two sandboxes of one seed have the same events and deliveries, ids included; a reset begins anew; another seed
    makes other ids."""
    logs = []
    one, other, third = (opened(seed=seed) for seed in (7, 7, 8))
    for here in (one, other, third, one):
        customer, _ = begin(here, receiver)
        lived_on(here, customer)
        logs.append(log(here))
        here.sandbox.reset()
    assert logs[0] == logs[1] == logs[3]
    assert len(logs[0]) > 40
    assert not {told["id"] for told in logs[0]} & {told["id"] for told in logs[2]}


def test_by_chance(opened):
    """Without a seed no two sandboxes make the same ids."""
    assert opened().post("customers")["id"] != opened().post("customers")["id"]


@pytest.mark.parametrize("seed", [None, 7])
def test_a_restart_in_the_midst(opened, receiver, tmp_path, seed):
    """A process that is gone without a word is no loss: the clock, what is due, retries, faults and their draws, keys
    and what is related to what go on as they would have; no id is made twice."""
    receiver.close()
    whole = opened(seed=seed)
    lived_on(whole, begin(whole, receiver)[0])

    file = tmp_path / "desk.sqlite"
    before = opened(data=file, seed=seed)
    customer, first = begin(before, receiver)
    after = opened(data=file, seed=seed)
    again = order(after)
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (500, "true")
    lived_on(after, customer)

    def without_ids(here):
        names = ("object", "type", "created", "pending_webhooks", "attempts", "state", "repeated")
        return [[one.get(name) for name in names] for one in log(here)]

    assert without_ids(after) == without_ids(whole)
    assert len({one["id"] for one in log(after)}) == len(log(after))
