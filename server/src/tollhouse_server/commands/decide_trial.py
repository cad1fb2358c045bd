"""Whether a checkout begins with a trial: once for each user and address in a plan."""

from dataclasses import dataclass
from typing import Literal

from ..catalogs import Project
from ..db.engine import Tx
from ..domain.catalog import Catalog, OnTrialAgain, Price
from ..domain.owning import group_of
from ..trial_memory import Known, TrialMemory


@dataclass(frozen=True, slots=True)
class Trial:
    """`refused` says why there is none though one was asked for."""

    days: int
    refused: Literal["used"] | None = None


async def decide_trial(
    tx: Tx,
    memory: TrialMemory,
    owner: Project,
    catalog: Catalog,
    price: Price,
    asked_days: int | None,
    known: Known,
) -> Trial:
    """The price's trial, or the app's where it asks for one; `known` is whose."""
    days = (price.trial_days if asked_days is None else asked_days) or 0
    if not days or price.interval is None or catalog.policy_of(price.product).on_trial_again is OnTrialAgain.ALLOW:
        return Trial(days)
    plan = group_of(catalog.products[price.product])
    used = await memory.uses(tx, owner.id, plan, known)
    return Trial(0, "used") if used else Trial(days)
