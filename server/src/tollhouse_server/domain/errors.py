"""Problems the rules can find. An error is a class whose docstring says what happened and what to do."""

from typing import ClassVar


class Problem(Exception):
    """Something the caller can understand and act on; never a bug of ours.

    `detail` is one sentence for the person who reads it: what is wrong and what to do. It never holds a secret.
    """

    status: ClassVar[int] = 400
    """The HTTP status the API answers with."""
    code: ClassVar[str] = "problem"
    """The stable name of the problem, in kebab-case; programs may depend on it."""

    retry_after: int | None = None
    """Seconds after which another try may be answered otherwise."""

    def __init__(
        self, detail: str, *, errors: list[dict[str, str]] | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after or type(self).retry_after

    @classmethod
    def title(cls) -> str:
        """The first line of the class's docstring."""
        return (cls.__doc__ or cls.code).strip().splitlines()[0].rstrip(".")


class CatalogInvalid(Problem):
    """The catalog breaks a rule; each entry of `errors` names the place and the rule."""

    status = 422
    code = "catalog-invalid"


class UrlNotAllowed(Problem):
    """The service does not send people, or notifications, to this URL.

    A page must be at one of the catalog's redirect_origins; a notification endpoint must be public and speak https.
    """

    status = 422
    code = "url-not-allowed"


class SecretKeyMissing(Problem):
    """The service has no SECRET_KEY, from which the secrets of notification endpoints and the keys that sign are made.

    An operator sets it (openssl rand -hex 32) and restarts the service and its workers.
    """

    status = 409
    code = "secret-key-missing"


class UnknownStatus(Exception):
    """Stripe used a status these rules do not know; the customer keeps the last known state until someone decides."""

    def __init__(self, kind: str, raw: str) -> None:
        super().__init__(
            f"unknown {kind} status {raw!r}: add it to domain/standing.py before it may open or close anything"
        )
        self.kind, self.raw = kind, raw
