"""A running sandbox for tests: `with running_sandbox() as stripe_desk: …`."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.sandbox import Exchange, Sandbox

Json = dict[str, Any]


class RunningSandbox:
    """A sandbox on a loopback port, driven over HTTP. `url` is its base, `secret_key` a key it accepts."""

    secret_key = "sk_test_sandbox"  # noqa: S105 - every sk_test_ key opens it

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=300, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def _call(self, path: str, body: Json | None = None, method: str = "POST") -> Json:
        answer = self._http.request(method, f"/_sandbox/{path}", json=body or {})
        if answer.is_error:
            error = answer.json()["error"]
            raise StripeError(error.pop("message"), status=answer.status_code, kind=error.pop("type"), **error)
        return dict(answer.json())

    def reset(self) -> None:
        """Empties it and goes back to real time."""
        self._call("reset")

    def now(self) -> datetime:
        """What time it is for the account; aware, UTC."""
        return datetime.fromtimestamp(self._http.get("/_sandbox/clock").json()["now"], UTC)

    def freeze(self, frozen: bool = True) -> None:
        """Lets time move only by `advance`, or lets it run again."""
        self._call("clock", {"freeze": frozen})

    def advance(self, **by: float) -> None:
        """Moves the clock by a timedelta's arguments (`days=3`) and returns when all that is due is done."""
        self._call("clock", {"advance_seconds": timedelta(**by).total_seconds()})

    def advance_to(self, moment: datetime) -> None:
        """Moves the clock to an aware moment and returns when all that is due until then is done."""
        self._call("clock", {"to": moment.timestamp()})

    def drain(self) -> None:
        """Returns once every delivery that is due has been attempted."""
        self._call("drain")

    def session_id(self, checkout: str) -> str:
        """The id in a hosted page's URL; an id is returned as it is."""
        return checkout.rstrip("/").rsplit("/", 1)[-1].partition("?")[0].partition("#")[0]

    def pay(
        self,
        checkout: str,
        card: str = "pm_card_visa",
        *,
        email: str | None = None,
        authenticated: bool = False,
        answers: dict[str, str] | None = None,
    ) -> str:
        """Pays a hosted page, named by URL or session id, and answers with the URL the browser goes to next.

        `answers` are to what else the page asks: `{"phone": "+49 30 1", "custom_fields[size]": "m", "terms_of_service":
        "yes"}`. Raises `StripeError` when the card is declined or an answer is missing.
        """
        body = {"card": card, "email": email, "authenticated": authenticated, "answers": answers}
        return str(self._call(f"pay/{self.session_id(checkout)}", body)["redirect"])

    def choose_quantity(self, checkout: str, item: str, quantity: int) -> Json:
        """Wants so many of a page's line (its id) or optional item (its price); answers with what the page shows."""
        body = {"item": item, "quantity": quantity}
        return self._call(f"quantity/{self.session_id(checkout)}", body)

    def apply_promotion_code(self, checkout: str, code: str) -> Json:
        """Types a code on a hosted page that takes them; answers with what the page shows (`Sandbox.checkout_view`).

        Raises `StripeError` with a sentence for the customer when the code is refused.
        """
        return self._call(f"promotion_code/{self.session_id(checkout)}", {"code": code})

    def remove_promotion_code(self, checkout: str) -> Json:
        """Takes the typed code off the page again; answers with what it shows then."""
        return self._call(f"promotion_code/{self.session_id(checkout)}")

    def settle(self, checkout: str, *, succeeds: bool = True) -> None:
        """Ends the delayed bank debit of a completed page."""
        self._call(f"settle/{self.session_id(checkout)}", {"succeeds": succeeds})

    def dispute(self, charge: str, status: str = "needs_response", **more: Any) -> Json:
        """Has the bank dispute a charge; answers with the dispute.

        More: `amount`, `reason`, and `closed_first` to hear of the end of a dispute born `lost` before its beginning.
        """
        return self._call("disputes", {"charge": charge, "status": status, **more})

    def decide_dispute(self, dispute: str, status: str) -> Json:
        """Changes a dispute's status, for example to `won` or `lost`; `disputes.py` has the table."""
        return self._call(f"disputes/{dispute}", {"status": status})

    def authenticate(self, intent: str, *, succeeds: bool = True) -> Json:
        """Passes (or fails) the 3-D Secure that a payment or setup intent of the API waits for."""
        return self._call(f"authenticate/{intent}", {"succeeds": succeeds})

    def decide_refund(self, refund: str, status: str) -> Json:
        """Changes a refund's status: a pending one to `succeeded`, `failed` or `canceled`, a done one to `failed`."""
        return self._call(f"refunds/{refund}", {"status": status})

    def fault(self, kind: str, **how: Any) -> str:
        """Switches a fault on and answers with its id; `faults.py` has the kinds and what each can be told.

        All have `times` (None: until it is switched off), `chance` and `seed`: with the same seed the same calls meet
        the same faults again.
        """
        return str(self._call("faults", {"kind": kind, **how})["id"])

    def faults(self) -> list[Json]:
        """The faults that are on, and how often each has struck."""
        return list(self._call("faults", method="GET")["data"])

    def clear_faults(self, fault: str | None = None) -> None:
        """Switches off the fault of that id, or all of them. Deliveries that were struck already stay so."""
        self._call(f"faults/{fault}" if fault else "faults", method="DELETE")

    def fail_next(
        self,
        status: int,
        *,
        times: int = 1,
        method: str | None = None,
        path: str = "",
        after: bool = False,
    ) -> None:
        """Answers the next matching API calls with an error; `after`: they are carried out all the same."""
        self.fault("error", status=status, times=times, method=method, path=path, after=after)

    def settings(self, **chosen: Any) -> Json:
        """Changes settings of the account, which the README lists, and answers with all of them."""
        return self._call("settings", chosen)

    def pause(self, subscription: str) -> Json:
        """Has Stripe itself pause a subscription; answers with the subscription."""
        return self._call(f"pause/{subscription}")

    def after_dunning(self, choice: str) -> None:
        """What becomes of a subscription when the last retry failed: `cancel`, `unpaid`, `pause` or `past_due`."""
        self._call("settings", {"after_dunning": choice})

    def webhook_retries(self, schedule: str | list[int]) -> None:
        """When a failed delivery is tried again: `live`, `sandbox`, or the seconds between the attempts."""
        self._call("settings", {"webhook_retries": schedule})

    def roll_secret(self, endpoint: str, *, expires_in: int = 0) -> str:
        """Gives an endpoint a new signing secret, the answer; for `expires_in` seconds the old one signs too."""
        return str(self._call(f"webhook_endpoints/{endpoint}/roll", {"expires_in": expires_in})["secret"])

    def lose_events(self, lost: bool = True) -> None:
        """While lost, what happens generates no event at all: none is delivered, none is ever listed."""
        if lost:
            self.fault("lose")
        else:
            self._call("faults?kind=lose", method="DELETE")


@contextmanager
def running_sandbox(
    *, data: Path | None = None, frozen: bool = False, watch: Callable[[Exchange], None] | None = None
) -> Iterator[RunningSandbox]:
    """Runs a sandbox in a thread on a free port of 127.0.0.1.

    `data` is a file to keep its state in. `watch` is shown every API call with its answer, in that thread.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sandbox = Sandbox(url, data)
    if watch:
        sandbox.watch = watch
    config = uvicorn.Config(
        build_app(sandbox), log_level="warning", ws="none", lifespan="on", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="tollhouse-sandbox", daemon=True)
    thread.start()
    running = RunningSandbox(url)
    try:
        # The socket already listens, so the first call waits until the server answers.
        running.freeze(frozen)
        yield running
    finally:
        running.close()
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
