"""Opens the page on which a customer manages what was bought."""

from datetime import datetime

from ..catalogs import Project, current_catalog
from ..db.engine import Database
from ..domain.errors import Problem
from ..domain.owning import groups_held
from ..snapshot import evidence_of, stripe_customer_of
from ..stripe_gateway import StripeClient
from ..stripe_gateway.portal import create_portal_session
from .configure_portal import NO_GROUP, configured_portal
from .return_urls import check_url


class CustomerNotFound(Problem):
    """This user never became a customer, so there is nothing to manage.

    Offer a checkout instead.
    """

    status = 404
    code = "customer-not-found"


async def open_portal(
    database: Database, stripe: StripeClient, owner: Project, user_id: str, return_url: str, *, at: datetime
) -> str:
    """For anyone who ever opened a checkout; plans are changed there within the group that the customer has one of.

    Raises CustomerNotFound, UrlNotAllowed, StripeUnavailable, StripeRefused.
    """
    check_url(owner, return_url, "/return_url")
    async with database.transaction(project=owner.id) as tx:
        stripe_customer_id = await stripe_customer_of(tx, owner.id, user_id)
        groups = groups_held(await current_catalog(tx, owner), await evidence_of(tx, owner.id, user_id))
    if stripe_customer_id is None:
        raise CustomerNotFound("This user never opened a checkout, so there is nothing to manage: offer one instead.")
    # A portal in which there are plans of two groups would let either be changed to the other's.
    group = groups.pop() if len(groups) == 1 else NO_GROUP
    configuration = await configured_portal(database, stripe, owner, group, at=at)
    return await create_portal_session(stripe, stripe_customer_id, configuration, return_url)
