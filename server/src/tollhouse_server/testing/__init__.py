"""The whole service for tests: real HTTP, a real database, Stripe's sandbox, and one clock that the test moves.

A `World` tells stories: `world.customer("ada").buys("pdf-tool.pro.monthly"); world.passes(days=40)`. Where this package
is installed with its extra `dev`, pytest has one as the fixture `world`.
"""

from .customer import WorldCustomer
from .receiver import Receiver, answering
from .service import FAST, NO_TLS, OPERATOR_KEY, ManualClock, RunningService, running_service
from .stories import App, StoryError
from .world import World, emptied, running_world, world_of

__all__ = [
    "FAST",
    "NO_TLS",
    "OPERATOR_KEY",
    "App",
    "ManualClock",
    "Receiver",
    "RunningService",
    "StoryError",
    "World",
    "WorldCustomer",
    "answering",
    "emptied",
    "running_service",
    "running_world",
    "world_of",
]
