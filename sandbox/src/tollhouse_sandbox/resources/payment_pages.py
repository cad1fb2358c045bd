"""Payment pages: /v1/payment_pages, with which Stripe's own command line pays a checkout session."""

from tollhouse_sandbox import checkout, payment_methods
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import integer, text
from tollhouse_sandbox.store import Json


def _page(session: Json) -> Json:
    """Stripe does not document this object; its command line reads nothing of it."""
    return {
        "id": session["id"],
        "object": "payment_page",
        "livemode": False,
        "mode": session["mode"],
        "payment_status": session["payment_status"],
        "session_id": session["id"],
        "status": session["status"],
    }


def _retrieve(call: Call) -> Json:
    return _page(call.target("checkout.session"))


def _confirm(call: Call) -> Json:
    session = checkout.open_session(call.account, call.path["id"])
    due, expected = checkout.due_today(call.account, session), call.params.get("expected_amount")
    if expected is not None and expected != due:
        raise StripeError(f"The page takes {due}, not {expected}.", param="expected_amount")
    method = payment_methods.resolve(call.account, call.params["payment_method"])
    card, email = payment_methods.card_of(method).name, method["billing_details"]["email"]
    return _page(checkout.pay(call.account, session, card, email))


OPERATIONS = [
    Operation("GET", "/v1/payment_pages/{id}", _retrieve),
    Operation(
        "POST",
        "/v1/payment_pages/{id}/confirm",
        _confirm,
        {"payment_method": text, "expected_amount": integer},
        ("payment_method",),
    ),
]
