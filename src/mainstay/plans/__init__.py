"""What a company may do and what it has used: plans, add-ons, meters, periods, thresholds, alerts, allowances.

    period:    open --rollover, daily 02:00, after a recount--> closed, kept as a snapshot that never changes
    threshold: below --checker: used >= limit--> alert raised, once a period --trigger--> sent | recorded | failed
    company at its hard limit:  it chose nothing: counted and told    it chose to be stopped: refused (429)

A meter is one row per workspace, name and calendar month (UTC), raised with `mainstay.meter(...)` or `meter(...)` in
the transaction that uses, so the count is exact: it commits or rolls back with what it counts, and writers of
different workspaces never wait for one another. System workspaces are not metered: whoever calls decides that.

Guarantees: a closed meter takes no count any more: what a transaction from before midnight adds is counted before the
close or refused after it. Meters of events are held against the chains each hour; drift is set right and announced.
One alert a threshold and period; each of its sends arrives at least once, under one `Idempotency-Key`. A company that
chose to be stopped never gets above its allowance, since the database itself refuses the count; only such companies
pay for it. Acts are announced: `plan.changed`, `limit.set`, `limit.dropped`, `add_on.granted`, `add_on.removed`,
`blocking.chosen`, `threshold.added|deleted|crossed`, `alert.sent|failed`, `meter.corrected`, `period.closed`.
Refuses: unknown plans, limits and add-ons; over 20 thresholds a company, 10 targets each; URLs into private networks.

Tables at home: add_ons, company_limits, company_choices. In each region: meter_counts, meter_closings, meter_openings,
meter_caps, usage_snapshots, thresholds, threshold_targets, threshold_alerts, alert_sends.
"""

from mainstay.plans.add_ons import HeldAddOn, grant_add_on, list_add_ons, remove_add_on
from mainstay.plans.caps import Exhausted, exhausted_of
from mainstay.plans.catalogue import ADD_ONS, PLANS, RETENTION_S3_ARCHIVE, Plan, is_at_least
from mainstay.plans.errors import CompanyUnknown, QuotaReached
from mainstay.plans.limits import choose_blocking, drop_limit, set_limit, set_plan
from mainstay.plans.meters import Usage, meter, usage
from mainstay.plans.operator_routes import change_company, operator_router
from mainstay.plans.reports import company_usage, workspace_usage
from mainstay.plans.routes import Parts, router
from mainstay.plans.schemas import NewThreshold
from mainstay.plans.senders import Letter, Recorder, Sender, SendFailed
from mainstay.plans.standing import Book, Standing
from mainstay.plans.tasks import schedules, senders_of, tasks
from mainstay.plans.thresholds import add_threshold

__all__ = [
    "ADD_ONS",
    "PLANS",
    "RETENTION_S3_ARCHIVE",
    "Book",
    "CompanyUnknown",
    "Exhausted",
    "HeldAddOn",
    "Letter",
    "NewThreshold",
    "Parts",
    "Plan",
    "QuotaReached",
    "Recorder",
    "SendFailed",
    "Sender",
    "Standing",
    "Usage",
    "add_threshold",
    "change_company",
    "choose_blocking",
    "company_usage",
    "drop_limit",
    "exhausted_of",
    "grant_add_on",
    "is_at_least",
    "list_add_ons",
    "meter",
    "operator_router",
    "remove_add_on",
    "router",
    "schedules",
    "senders_of",
    "set_limit",
    "set_plan",
    "tasks",
    "usage",
    "workspace_usage",
]
