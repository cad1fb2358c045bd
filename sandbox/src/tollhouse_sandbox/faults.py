"""Faults on order: the next calls that match are answered with an error, before or after they are carried out."""

from dataclasses import dataclass

from tollhouse_sandbox.errors import StripeError


@dataclass
class Fault:
    """`after`: the call is carried out and only its answer is lost. `times` counts down."""

    status: int
    times: int = 1
    method: str | None = None
    path: str | None = None
    after: bool = False

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and path.startswith(self.path or "")

    def error(self) -> StripeError:
        if self.status == 429:
            return StripeError("Request rate limit exceeded.", status=429, code="rate_limit")
        return StripeError("Something went wrong on our end.", status=self.status, kind="api_error")


class Faults:
    def __init__(self) -> None:
        self._ordered: list[Fault] = []

    def order(self, fault: Fault) -> None:
        self._ordered.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault this call meets; it is used up by one."""
        for fault in self._ordered:
            if fault.matches(method, path):
                fault.times -= 1
                if fault.times < 1:
                    self._ordered.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self._ordered.clear()
