"""Has a stored event worked on again."""

from datetime import datetime

from .. import audit, inbox
from ..db.engine import Tx


async def replay_event(tx: Tx, event_id: str, why: audit.Cause, *, at: datetime) -> bool:
    """Makes the event pending, whatever became of it; False where none that changes anything is stored under the id."""
    before = await inbox.get(tx, event_id)
    if before is None or not await inbox.replay(tx, event_id):
        return False
    # Without the error: it may hold what Stripe said of a person.
    said = {"id": event_id, "state": before.state, "outcome": before.outcome, "attempts": before.attempts}
    await audit.record(
        tx,
        "event.replayed",
        why,
        at=at,
        project_id=before.project_id,
        before=said,
        after={**said, "state": "received", "outcome": None, "attempts": 0},
    )
    return True
