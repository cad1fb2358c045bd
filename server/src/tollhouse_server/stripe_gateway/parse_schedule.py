"""What a subscription schedule has planned next."""

from collections.abc import Mapping

from ..domain.evidence import PlannedItem, ScheduledChange
from ..domain.time import from_timestamp
from .shapes import Raw, Shape


class _PhaseItem(Shape):
    price: str
    quantity: int | None = None


class _Phase(Shape):
    start_date: int
    items: list[_PhaseItem]


class _CurrentPhase(Shape):
    end_date: int


class _Schedule(Shape):
    id: str
    current_phase: _CurrentPhase | None
    phases: list[_Phase]


def schedule_id(schedule: str | Raw | None) -> str | None:
    return schedule["id"] if isinstance(schedule, Mapping) else schedule


def scheduled_change(schedule: str | Raw | None) -> ScheduledChange | None:
    """The phase after the one that runs; None in the last, and where the schedule itself was not read."""
    if not isinstance(schedule, Mapping):
        return None
    shape = _Schedule.model_validate(schedule)
    if shape.current_phase is None:
        return None
    turns = shape.current_phase.end_date
    following = next((phase for phase in shape.phases if phase.start_date >= turns), None)
    if following is None:
        return None
    items = (PlannedItem(one.price, None, None, 1 if one.quantity is None else one.quantity) for one in following.items)
    return ScheduledChange(from_timestamp(following.start_date), tuple(items))
