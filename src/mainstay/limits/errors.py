"""What the limits room refuses."""

from mainstay.kernel.errors import NotFound


class PolicyUnknown(NotFound):
    """There is no such limit."""

    code = "limit-not-found"


class CompanyUnknown(NotFound):
    """There is no such company."""

    code = "company-not-found"
