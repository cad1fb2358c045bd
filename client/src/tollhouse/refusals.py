"""What a gate tells who may not pass: as exceptions, and as answers over HTTP.

UpgradeRequired and LimitReached (402) are only for users who are known to lack the feature. Where Tollhouse could not
be asked and the outage policy says deny, it is BillingUnavailable (503): nobody who has paid is told to buy.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .errors import TollhouseError


class Refused(TollhouseError):
    """A gate turned the caller away. `status`, `code` and `title` are those of the answer over HTTP."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    feature: str
    detail: str
    """A sentence for the person who was turned away."""

    def __str__(self) -> str:
        return self.detail

    def problem(self) -> dict[str, object]:
        """The members of the answer's problem+json (RFC 9457)."""
        return {
            "type": f"urn:tollhouse:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "feature": self.feature,
        }


class SignedOut(Refused):
    """Nobody is signed in, so there is nobody to ask about."""

    status, code, title = 401, "signed-out", "Nobody is signed in"

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature
        self.detail = "Sign in first."


class BillingUnavailable(Refused):
    """Whether the user may is not known: Tollhouse could not be asked, and the feature's outage policy says deny."""

    status, code, title = 503, "billing-unavailable", "Billing is unavailable"

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature
        self.detail = "What your plan includes cannot be looked up right now. Try again shortly."


class UpgradeRequired(Refused):
    """The user may not use the feature. `reason` is the Check's; `upgrade_url` is the gate's own, if it has one."""

    status, code, title = 402, "upgrade-required", "This needs an upgrade"

    def __init__(self, feature: str, reason: str, upgrade_url: str | None = None) -> None:
        super().__init__(feature, reason, upgrade_url)
        self.feature, self.reason, self.upgrade_url = feature, reason, upgrade_url
        self.detail = f"Your plan does not include {feature}."

    def problem(self) -> dict[str, object]:
        return {**super().problem(), "reason": self.reason}


class LimitReached(UpgradeRequired):
    """The user has the feature and has used it up: `used` is not less than `limit`."""

    code, title = "limit-reached", "The limit of the plan is reached"

    def __init__(self, feature: str, reason: str, used: float, limit: float, upgrade_url: str | None = None) -> None:
        super().__init__(feature, reason, upgrade_url)
        self.args = (feature, reason, used, limit, upgrade_url)
        self.used, self.limit = used, limit
        self.detail = f"Your plan includes {limit:g} of {feature}; {used:g} are used."

    def problem(self) -> dict[str, object]:
        return {**super().problem(), "used": self.used, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a refused request is answered, for any framework."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def http_answer(refused: Refused, *, upgrade_url: str | None, accept: str, redirect_browsers: bool) -> HttpAnswer:
    """problem+json; or, with `redirect_browsers`, 303 to the upgrade page for a request that prefers HTML.

    `upgrade_url` is the app's one place to buy, where the gate has none of its own. Only who lacks the feature is sent
    there: not who is signed out, nor anybody during an outage.
    """
    problem, headers = refused.problem(), {"Content-Type": "application/problem+json"}
    if isinstance(refused, UpgradeRequired) and (url := refused.upgrade_url or upgrade_url):
        problem["upgrade_url"] = url
        if redirect_browsers:
            headers["Vary"] = "Accept"
            if prefers_html(accept):
                return HttpAnswer(303, {"Location": url, "Vary": "Accept"})
    return HttpAnswer(refused.status, headers, json.dumps(problem).encode())


def prefers_html(accept: str) -> bool:
    """Whether an Accept header is a browser's: it asks for text/html above all; programs ask for JSON or anything."""
    quality = {"text/html": 0.0, "application/json": 0.0, "application/problem+json": 0.0, "*/*": 0.0}
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type in quality:
            quality[media_type] = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    return quality.pop("text/html") > max(quality.values())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
