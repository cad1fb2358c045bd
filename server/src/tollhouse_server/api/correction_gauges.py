"""What the metrics tell of corrections, as it stands in the database."""

from collections.abc import Iterator

from prometheus_client import Gauge

from .. import corrections
from ..db.engine import Tx
from ..telemetry import CORRECTIONS_KEPT


async def measure(tx: Tx) -> None:
    for state, count in (await corrections.kept(tx)).items():
        CORRECTIONS_KEPT.labels(state).set(count)


def gauges() -> Iterator[Gauge]:
    """Each, to say that it is not known."""
    yield from (CORRECTIONS_KEPT.labels(state) for state in corrections.STATES if state != "done")
