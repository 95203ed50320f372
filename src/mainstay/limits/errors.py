"""What the limits room refuses."""

from mainstay.kernel.errors import NotFound, Unavailable


class PolicyUnknown(NotFound):
    """There is no such limit."""

    code = "limit-not-found"


class CompanyUnknown(NotFound):
    """There is no such company."""

    code = "company-not-found"


class StoreAway(Unavailable):
    """Where this limit is counted does not answer, and it lets nobody pass meanwhile. Try again shortly."""

    code = "limit-unavailable"
