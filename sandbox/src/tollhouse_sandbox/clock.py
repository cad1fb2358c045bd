"""The one clock of a sandbox: real time plus an offset, or frozen."""

import time
from dataclasses import dataclass


@dataclass
class Clock:
    """Says what time it is for the account. Webhook signatures use the wall clock, never this one."""

    offset: float = 0.0
    frozen_at: float | None = None

    def now(self) -> float:
        """Unix seconds."""
        return time.time() + self.offset if self.frozen_at is None else self.frozen_at

    def second(self) -> int:
        """Whole Unix seconds, as every timestamp of the API is."""
        # A clock that was just set to a whole second must not show the one before because of a rounded float.
        return int(self.now() + 0.00001)

    def reset(self) -> None:
        """Real time again."""
        self.offset, self.frozen_at = 0.0, None

    @property
    def frozen(self) -> bool:
        return self.frozen_at is not None

    def freeze(self, frozen: bool = True) -> None:
        """Stops the clock where it stands, or lets it run on from there."""
        now = self.now()
        self.frozen_at = now if frozen else None
        self.offset = now - time.time()

    def move_to(self, moment: float) -> None:
        """Sets the clock forward; it never goes back."""
        moment = max(moment, self.now())
        self.offset = moment - time.time()
        if self.frozen:
            self.frozen_at = moment
