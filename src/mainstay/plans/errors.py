"""What can go wrong with plans and usage."""

from mainstay.kernel.errors import Conflict, MainstayError, NotFound


class CompanyUnknown(NotFound):
    """There is no such company."""

    code = "company-not-found"


class AddOnUnknown(NotFound):
    """There is no such add-on."""

    code = "add-on-not-found"


class ThresholdNotFound(NotFound):
    """The company has no such threshold."""

    code = "threshold-not-found"


class TooManyThresholds(Conflict):
    """The company has as many thresholds as it may have."""

    code = "too-many-thresholds"


class QuotaReached(MainstayError):
    """The company's allowance for this month is used up, and the company chose to be stopped there."""

    status = 429
    code = "quota-reached"
