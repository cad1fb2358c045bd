"""Opens the page on which a customer manages what was bought."""

from ..catalogs import Project
from ..db.engine import Database
from ..domain.errors import Problem
from ..snapshot import stripe_customer_of
from ..stripe_gateway import StripeClient
from ..stripe_gateway.sessions import create_portal_session
from .open_checkout import check_url


class CustomerNotFound(Problem):
    """This user never became a customer, so there is nothing to manage.

    Offer a checkout instead.
    """

    status = 404
    code = "customer-not-found"


async def open_portal(database: Database, stripe: StripeClient, owner: Project, user_id: str, return_url: str) -> str:
    """For anyone who ever opened a checkout. Raises CustomerNotFound, UrlNotAllowed, StripeUnavailable."""
    check_url(owner, return_url, "/return_url")
    async with database.transaction(project=owner.id) as tx:
        stripe_customer_id = await stripe_customer_of(tx, owner.id, user_id)
    if stripe_customer_id is None:
        raise CustomerNotFound("This user never opened a checkout, so there is nothing to manage: offer one instead.")
    return await create_portal_session(stripe, stripe_customer_id, return_url)
