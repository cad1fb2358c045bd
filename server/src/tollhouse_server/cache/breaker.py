"""Who fails again and again is left alone for a while, so that nobody waits for it."""

import time
from collections.abc import Callable
from typing import Final

FAILURES_BEFORE_REST: Final = 5
REST_SECONDS: Final = 1.0


class Breaker:
    """Opens after a few failures in a row. After each rest one try is let through: it closes again if that succeeds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0
        self._tried_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_BEFORE_REST

    def may_try(self) -> bool:
        """Whether to ask now. Whoever asks then says what came of it."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._rests_until or now < self._tried_until:
            return False
        # For so long at most: whoever was to say what came of it may have been cancelled.
        self._tried_until = now + REST_SECONDS
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> bool:
        """Whether it opened by this failure."""
        self._failures += 1
        if self.is_open:
            self._rests_until = self._clock() + REST_SECONDS
            self._tried_until = 0.0
        return self._failures == FAILURES_BEFORE_REST
