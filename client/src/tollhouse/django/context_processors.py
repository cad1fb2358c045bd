"""`allowed` in every template: `{% if allowed.premium_export %}`, `{{ allowed.pages_per_day.value }}`."""

from django.http import HttpRequest

from ..answers import Check
from . import check


class Allowed:
    """Asks for a feature when a template names it, and not before."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getitem__(self, feature: str) -> Check:
        return check(self._request, feature)

    def __iter__(self) -> None:
        raise TypeError("allowed cannot be listed; name a feature")


def allowed(request: HttpRequest) -> dict[str, Allowed]:
    """For TEMPLATES' `context_processors`."""
    return {"allowed": Allowed(request)}
