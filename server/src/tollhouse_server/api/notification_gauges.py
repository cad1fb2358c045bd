"""What the metrics tell of notifications, as it stands in the database."""

from collections.abc import Iterator

from prometheus_client import Gauge

from .. import deliveries
from ..db.engine import Tx
from ..telemetry import NOTIFICATION_ENDPOINTS, NOTIFICATION_OLDEST_SECONDS, NOTIFICATIONS_KEPT


async def measure(tx: Tx) -> None:
    kept, oldest = await deliveries.depth(tx)
    for state, count in kept.items():
        NOTIFICATIONS_KEPT.labels(state).set(count)
    NOTIFICATION_OLDEST_SECONDS.set(oldest.total_seconds())
    for state, count in (await deliveries.endpoints(tx)).items():
        NOTIFICATION_ENDPOINTS.labels(state).set(count)


def gauges() -> Iterator[Gauge]:
    """Each, to say that it is not known."""
    yield NOTIFICATION_OLDEST_SECONDS
    yield from (NOTIFICATIONS_KEPT.labels(state) for state in deliveries.KEPT)
    yield from (NOTIFICATION_ENDPOINTS.labels(state) for state in deliveries.ENDPOINTS)
