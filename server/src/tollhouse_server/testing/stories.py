"""What stories are told with: the app that sells, and the sentence in which a story fails."""

from collections.abc import Mapping
from difflib import get_close_matches
from operator import methodcaller
from typing import Any

import httpx

from tollhouse import Tollhouse


class StoryError(AssertionError):
    """The story cannot go on so; the sentence says why, and what there is instead."""


FROM_THE_STORY = methodcaller("errisinstance", StoryError)
"""As a module's `__tracebackhide__`: pytest shows the line of the story that failed, not ours that says so."""
__tracebackhide__ = FROM_THE_STORY


class App(Tollhouse):
    """The real client of a published project, which asks at each check, and what the app under test needs."""

    def __init__(self, url: str, key: str, document: Mapping[str, Any]) -> None:
        super().__init__(url, key, retries=0, check_timeout=20, stream=False, poll_interval=0)
        self.project = str(document["project"])
        self._origins = document.get("redirect_origins", [])
        self.prices = [
            f"{self.project}.{product}.{price}"
            for product, sold in document.get("products", {}).items()
            for price in sold.get("prices", ())
        ]
        self.environment = {"TOLLHOUSE_URL": url, "TOLLHOUSE_API_KEY": key, "TOLLHOUSE_POLL_INTERVAL": "0"}
        """For the app under test: with these, a `Tollhouse()` of its own asks at each check what the story has come to.

        There is no stream, because that would tell it the time of the wall.
        """

    @property
    def origin(self) -> str:
        """Where people come back to after paying."""
        if not self._origins:
            raise StoryError(
                f"The catalog of {self.project} has no redirect_origins, so nobody can come back from Stripe."
            )
        return str(self._origins[0])

    def sells(self, price: str) -> None:
        """Raises StoryError unless there is such a price."""
        if price not in self.prices:
            raise StoryError(f"{self.project} sells nothing called {price!r}. {_there_are(price, self.prices)}")


def _there_are(wrong: str, names: list[str]) -> str:
    close = get_close_matches(wrong, names, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"There are {', '.join(sorted(names))}."


def refusal(answer: httpx.Response) -> str:
    """A problem that the service answered with, in sentences."""
    problem = answer.json()
    return "; ".join([problem["detail"], *(f"{one['pointer']} {one['detail']}" for one in problem.get("errors", ()))])
