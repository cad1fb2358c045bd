"""Everything that can go wrong, as classes a program can tell apart. No message ever holds the API key."""

from collections.abc import Mapping


class TollhouseError(Exception):
    """The base of every error this package raises on purpose."""


class ConfigurationError(TollhouseError):
    """The client cannot be built from what it was given: a missing or malformed URL, key or limit."""


class Unreachable(TollhouseError):
    """No answer came in time: connection refused, cut or silent, through all retries.

    Whether a write was carried out is then unknown; the service's log can tell by `request_id`, sent each time.
    """

    def __init__(self, detail: str, request_id: str) -> None:
        super().__init__(detail, request_id)
        self.detail = detail
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.detail} (request {self.request_id})"


class ApiError(TollhouseError):
    """Tollhouse answered with a problem (RFC 9457).

    `status` is the HTTP status, `code` the stable name of the problem (`price-not-found`), `detail` a sentence saying
    what to do, `request_id` what to quote to the people who run Tollhouse, and `errors` the faulty fields, each with a
    JSON `pointer` and a `detail`.
    """

    retry_after: float = 0.0
    """Seconds the service asks to wait before the next call; 0 where it does not say."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str,
        errors: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(status, code, detail, request_id, errors)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors

    def __str__(self) -> str:
        fields = "".join(f"; {error.get('pointer', '')}: {error.get('detail', '')}" for error in self.errors)
        return f"{self.status} {self.code}: {self.detail}{fields} (request {self.request_id})"


class Unauthenticated(ApiError):
    """401: the API key is unknown, expired or revoked."""


class InsufficientScope(ApiError):
    """403: the API key is good, but was not issued for this call; `detail` names the scope that it needs."""


class NotFound(ApiError):
    """404: no such feature, price, checkout or customer in this project; `code` says which."""


class Invalid(ApiError):
    """422: a value is refused; `errors` names the fields."""


class RateLimited(ApiError):
    """429: too many calls with this key, and it stayed so through the retries."""


class ServerError(ApiError):
    """5xx, or an answer that cannot be read: the fault is not the caller's."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: InsufficientScope,
    404: NotFound,
    422: Invalid,
    429: RateLimited,
}


def error_class(status: int) -> type[ApiError]:
    """The class that stands for an HTTP status."""
    return ServerError if status >= 500 else _BY_STATUS.get(status, ApiError)
