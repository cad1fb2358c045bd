"""Opens the connection to Stripe and tells its errors apart."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import stripe
import structlog
from stripe import StripeClient as StripeClient

from ..domain.errors import Problem
from .transport import MeasuredClient

API_VERSION = stripe.api_version
"""The version of Stripe's API that the installed library pins; webhook endpoints should be made with it."""

log = structlog.get_logger(__name__)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
MAX_NETWORK_RETRIES = 2
TIMEOUT_SECONDS = 20


class StripeUnavailable(Problem):
    """Stripe cannot be reached or cannot answer now.

    Nothing was lost: try again in a moment.
    """

    status = 503
    code = "upstream-unavailable"

    def __init__(self, detail: str, *, sent: bool = False) -> None:
        """`sent`: what was asked may have been carried out all the same; else it certainly was not."""
        super().__init__(detail)
        self.sent = sent


class StripeRefused(Problem):
    """Stripe understood the request and refused it; trying again as it is will not help.

    The detail is Stripe's own sentence.
    """

    status = 422
    code = "upstream-refused"

    def __init__(self, message: str, stripe_code: str | None, *, declined: bool = False) -> None:
        """`declined`: it was the bank that refused, or there is no card."""
        super().__init__(f"Stripe refused: {message}")
        self.stripe_code = stripe_code
        self.declined = declined


def open_client(secret_key: str, api_base: str) -> stripe.StripeClient:
    """The account's client. The caller closes its transport with `close_client`."""
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        # Its default is 0; and a client made without it never retries even a reset connection.
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=MeasuredClient(timeout=TIMEOUT_SECONDS),
    )


async def close_client(client: stripe.StripeClient) -> None:
    await client._requestor._get_http_client().close_async()  # type: ignore[no-untyped-call]


@contextmanager
def stripe_errors() -> Iterator[None]:
    """Turns the library's errors into ours: StripeUnavailable is worth another try, StripeRefused is not."""
    try:
        yield
    except stripe.RateLimitError as limited:
        raise StripeUnavailable("Stripe limits the rate of requests; try again in a moment.") from limited
    except (
        stripe.InvalidRequestError,
        stripe.CardError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as refused:
        declined = isinstance(refused, stripe.CardError)
        raise StripeRefused(refused.user_message or str(refused), refused.code, declined=declined) from refused
    except stripe.StripeError as failed:
        log.warning("Stripe does not answer", error=str(failed), stripe_request_id=failed.request_id)
        sent = not isinstance(failed.__cause__, _NEVER_SENT)
        said = "Stripe does not answer now; nothing was lost, try again in a moment."
        raise StripeUnavailable(said, sent=sent) from failed
