"""Test clocks: /v1/test_helpers/test_clocks."""

from tollhouse_sandbox import customers, test_clocks
from tollhouse_sandbox.account import TEST_CLOCK
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import PAGING, Call, Operation, page
from tollhouse_sandbox.params import moment, text
from tollhouse_sandbox.store import Json


def _create(call: Call) -> Json:
    given = call.params
    customer = customers.existing(call.account, given["customer"]) if "customer" in given else None
    if customer and customer["test_clock"]:
        raise StripeError("This customer already has a test clock.", param="customer")
    return test_clocks.create(call.account, given["frozen_time"], given.get("name"), customer)


_PATH = "/v1/test_helpers/test_clocks"
OPERATIONS = [
    Operation("POST", _PATH, _create, {"customer": text, "frozen_time": moment, "name": text}, ("frozen_time",)),
    Operation("GET", _PATH, lambda call: page(call, TEST_CLOCK), PAGING),
    Operation("GET", _PATH + "/{id}", lambda call: call.target(TEST_CLOCK)),
    Operation("DELETE", _PATH + "/{id}", lambda call: test_clocks.delete(call.account, call.target(TEST_CLOCK))),
    Operation(
        "POST",
        _PATH + "/{id}/advance",
        lambda call: test_clocks.advance(call.account, call.target(TEST_CLOCK), call.params["frozen_time"]),
        {"frozen_time": moment},
        ("frozen_time",),
    ),
]
