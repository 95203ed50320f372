"""HTTP of the members room."""

from fastapi import APIRouter

from mainstay import identity
from mainstay.kernel.cache import Cache
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.members.company_routes import add_company_routes
from mainstay.members.department_routes import add_department_routes
from mainstay.members.invite_routes import add_invite_routes
from mainstay.members.member_routes import add_member_routes
from mainstay.members.operator_routes import add_operator_routes
from mainstay.web.json import Answer


def router(
    regions: Regions, keyring: Keyring, passwords: identity.Passwords, cursors: Cursors, cache: Cache
) -> APIRouter:
    """The room's routes: people, companies and all that ties them are at home, a company's keys in its region."""
    routes = APIRouter(default_response_class=Answer)
    add_invite_routes(routes, regions, keyring, passwords, cursors)
    add_member_routes(routes, regions, keyring, cursors)
    add_department_routes(routes, regions.home, cursors, cache)
    add_company_routes(routes, regions, cache)
    add_operator_routes(routes, regions.home, keyring)
    return routes
