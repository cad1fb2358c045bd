"""What goes wrong behind an app's back is logged: each cause once a minute, without keys and without user ids."""

import logging
from collections.abc import Callable

logger = logging.getLogger("tollhouse")

EVERY = 60.0


class Warned:
    """What was logged lately."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def once(self, cause: str, message: str, *values: object) -> None:
        """Warn, unless this cause was told within the last minute. `cause` is one of few."""
        now = self._clock()
        if now - self._last.get(cause, -EVERY) >= EVERY:
            self._last[cause] = now
            logger.warning(message, *values)
