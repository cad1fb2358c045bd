"""One question about one user, from the local copy to the service and back. No I/O."""

from . import calls
from .configuration import Limits
from .errors import InsufficientScope, NotFound, ServerError, TollhouseError, Unauthenticated
from .local_copy import ForeignSnapshot, LocalCopy
from .protocol import Exchange, attempts, exchange, read
from .snapshots import Snapshot, from_entitlements


def ask(copy: LocalCopy, limits: Limits, user_id: str, at_least: int | None = None) -> Exchange[bool]:
    """Ask about a user and tell the copy. True when the service answered; never raises what it or the network does."""
    sent = copy.clock()
    call = calls.snapshot(user_id, copy.question(user_id, at_least))
    try:
        try:
            response = yield from attempts(call, limits)
        except NotFound:
            # A service that is older than this client tells of one instant only.
            told = yield from exchange(calls.entitlements(user_id), limits)
            snapshot, etag = from_entitlements(told, copy.project or "", copy.stream.catalog_version), None
        else:
            if response.status == 304:
                copy.unchanged(user_id, sent)
                return True
            snapshot, etag = read(Snapshot, response), response.headers.get("ETag")
        if snapshot.user_id != user_id:
            raise ForeignSnapshot("the answer is about another user")
        return copy.answered(snapshot, etag, sent)
    except ForeignSnapshot as foreign:
        error: TollhouseError = ServerError(200, "unreadable-answer", str(foreign), "-")
    except TollhouseError as failure:
        error = failure
    copy.failed(user_id, error)
    warn(copy, error)
    return False


def warn(copy: LocalCopy, error: TollhouseError) -> None:
    """Log what keeps the copy from being current."""
    if isinstance(error, Unauthenticated | InsufficientScope):
        copy.warned.once("key", "Tollhouse refuses the API key, checks are answered from the local copy: %s", error)
    else:
        copy.warned.once(
            type(error).__name__, "Tollhouse was asked in vain, checks are answered from the local copy: %s", error
        )
