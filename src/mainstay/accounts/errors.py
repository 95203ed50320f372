"""What signing in, sessions and registering refuse."""

from mainstay.kernel.errors import Conflict, Forbidden, NotFound, Unauthenticated


class NoCompany(Forbidden):
    """This person is not a member of any company, or suspended in each."""

    code = "no-company"


class NoSuchCompany(NotFound):
    """There is no such company here."""


class SeveralCompanies(Conflict):
    """This person is a member of several companies; send `companyId` with one of `companies`."""

    code = "several-companies"


class RefreshRefused(Unauthenticated):
    """The session is over, or this refresh token was used before; sign in again."""

    code = "refresh-refused"


class SessionNotFound(NotFound):
    """There is no such session of yours."""
