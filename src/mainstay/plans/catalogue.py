"""What can be bought and counted: plans in their order, add-ons, meters and the limits that a plan sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

AddOn = Literal["RETENTION_S3_ARCHIVE"]
LimitName = Literal["export_rows", "retention_days", "event_quota"]

RETENTION_S3_ARCHIVE: Final[AddOn] = "RETENTION_S3_ARCHIVE"
"""The add-on under which events that leave the retention window are archived."""
ADD_ONS: Final[tuple[AddOn, ...]] = get_args(AddOn)
"""The closed set of add-on codes."""
LIMIT_NAMES: Final[tuple[LimitName, ...]] = get_args(LimitName)

EVENTS: Final = "events"
METERS: Final[tuple[str, ...]] = (EVENTS,)
"""What is counted. A further meter is a name here, a call of `meter` where it is used and, if it has one, a quota."""
QUOTA_OF: Final[Mapping[str, LimitName]] = {EVENTS: "event_quota"}
"""The limit of a plan that bounds each meter."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan allows unless settings or a company's own limits say otherwise; None is no limit."""

    name: str
    rank: int
    export_rows: int | None
    retention_days: int | None
    event_quota: int | None


PLANS: Final[Mapping[str, Plan]] = {
    plan.name: plan
    for plan in (
        Plan("free", 0, export_rows=10_000, retention_days=7, event_quota=10_000),
        Plan("starter", 1, export_rows=50_000, retention_days=30, event_quota=100_000),
        Plan("growth", 2, export_rows=250_000, retention_days=90, event_quota=1_000_000),
        Plan("scale", 3, export_rows=1_000_000, retention_days=365, event_quota=10_000_000),
        Plan("enterprise", 4, export_rows=None, retention_days=None, event_quota=None),
    )
}
"""The five plans, smallest first (C-41, G-04, G-05)."""


def is_at_least(plan: str, least: str) -> bool:
    """Whether a plan is `least` or a greater one; KeyError for what is no plan."""
    return PLANS[plan].rank >= PLANS[least].rank
