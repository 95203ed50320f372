"""What a company's plan allows and what it has used. So far: plans, standings and the meters.

A meter is one row per workspace, name and calendar month (UTC), raised with `mainstay.meter(...)` or `meter(...)` in
the transaction that uses, so the count is exact: it commits or rolls back with what it counts. One row a workspace
means that writers of different workspaces never wait for one another. System workspaces are not metered: that is
decided by whoever calls.
"""

from mainstay.plans.catalogue import ADD_ONS, PLANS, RETENTION_S3_ARCHIVE, Plan, is_at_least
from mainstay.plans.errors import CompanyUnknown, QuotaReached
from mainstay.plans.meters import Usage, meter, usage
from mainstay.plans.standing import Book, Standing

__all__ = [
    "ADD_ONS",
    "PLANS",
    "RETENTION_S3_ARCHIVE",
    "Book",
    "CompanyUnknown",
    "Plan",
    "QuotaReached",
    "Standing",
    "Usage",
    "is_at_least",
    "meter",
    "usage",
]
