"""What a key may do."""

from enum import StrEnum


class Scope(StrEnum):
    """The calls that a key opens. A key of a project has any of the first three, an operator key the last alone."""

    CHECK = "check"
    """Ask: entitlements, customers and their explanations, the catalog."""
    CHECKOUT = "checkout"
    """Sell: checkouts, the portal, reading Stripe again."""
    MANAGE = "manage"
    """The project's own affairs: its metrics, its notification endpoints."""
    OPERATOR = "operator"
    """Everything under /v1/admin, of every project."""


OF_PROJECTS = (Scope.CHECK, Scope.CHECKOUT, Scope.MANAGE)
USUAL = (Scope.CHECK, Scope.CHECKOUT)
"""What a key is given where nothing is said: what an app needs that sells and checks."""
BEFORE_SCOPES = OF_PROJECTS
"""What a key may do that was issued before there were scopes."""
