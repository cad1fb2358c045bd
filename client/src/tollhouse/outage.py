"""What an app wants to happen with a feature while nobody can be asked: one policy each.

```
Tollhouse(outage={"premium_export": last_known_good(timedelta(hours=72)), "sign_up": allow, "*": deny})
```
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from typing import TypeAlias

from .answers import Value
from .errors import ConfigurationError

FRESH = 60.0
"""Seconds for which an answer counts as known although nothing confirms it: no policy is asked sooner."""


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """How old an answer may become before this policy decides in its place, and what it then says."""

    max_age: float
    """Seconds since the service last confirmed the answer."""
    allowed: bool
    value: Value | None = None
    """What `allow` is worth; None: True for a switch, unlimited for a limit."""

    def __call__(self, value: Value | None = None) -> "OutagePolicy":
        """`allow(value=500)`: the same, with what it is worth while the outage lasts."""
        if not self.allowed or self.max_age != FRESH:
            raise ConfigurationError("only `allow` takes a value")
        if value is not None and (not isinstance(value, bool | int | float) or value != value or value <= 0):
            raise ConfigurationError("allow(value=…) takes True or a number greater than 0")
        return replace(self, value=value)

    def worth(self, kind: str | None) -> Value:
        """The value that a feature of this kind (None: unknown) has while the policy decides."""
        if self.allowed:
            return self.value if self.value is not None else inf if kind == "limit" else True
        return 0 if kind == "limit" else False


allow = OutagePolicy(FRESH, allowed=True)
"""While nobody can be asked, everybody may, up to `allow(value=…)`; a limit without that is unlimited."""

deny = OutagePolicy(FRESH, allowed=False)
"""While nobody can be asked, nobody may."""


def last_known_good(max_age: timedelta = timedelta(hours=24), otherwise: OutagePolicy = deny) -> OutagePolicy:
    """What was last known stands for `max_age`; then, and for users never asked about, `otherwise` decides."""
    if max_age < timedelta(0):
        raise ConfigurationError("last_known_good(max_age=…) must not be negative")
    return replace(otherwise, max_age=max_age.total_seconds())


Policies: TypeAlias = Mapping[str, OutagePolicy] | OutagePolicy


def by_feature(policies: Policies) -> Mapping[str, OutagePolicy]:
    """The policies by feature code, `*` for all that are not named. Raises ConfigurationError."""
    named = {"*": policies} if isinstance(policies, OutagePolicy) else policies
    if not isinstance(named, Mapping) or not all(isinstance(policy, OutagePolicy) for policy in named.values()):
        raise ConfigurationError("outage= takes last_known_good(…), allow or deny, or a mapping of them by feature")
    return {"*": last_known_good(), **named}
