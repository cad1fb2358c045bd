"""The hot read: what a customer may do, from this process, then Redis, then PostgreSQL."""

from .shared import Cache as Cache
from .shared import Cell as Cell
