"""Requests of the plans room's routes, and its answers."""

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Amount = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]


class NewTarget(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Where alerts go: an email address, the URL of a Slack incoming webhook, or a URL of one's own."""

    kind: Literal["email", "slack", "webhook"]
    to: Annotated[str, msgspec.Meta(min_length=3, max_length=2_048)]


class NewThreshold(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """An amount of a meter, or a percentage of its quota, at which the company is told."""

    kind: Literal["soft", "hard"]
    unit: Literal["absolute", "percentage"]
    amount: Amount
    meter: Annotated[str, msgspec.Meta(max_length=64)] = "events"
    targets: Annotated[list[NewTarget], msgspec.Meta(max_length=10)] = []


class UsageChoices(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What happens at the hard limit."""

    blocks_at_limit: bool


class PlanChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The plan that a company is on."""

    plan: Annotated[str, msgspec.Meta(max_length=64)]


class LimitChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A limit of the company's own; null is no limit."""

    amount: Amount | None


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PeriodShown(_Answer):
    """The current billing period: a calendar month in UTC; `elapsedShare` goes from 0 to 1."""

    start: str
    end: str
    elapsed_share: float


class WorkspaceUse(_Answer):
    """What one workspace used of a meter."""

    workspace_id: str
    quantity: int


class MeterShown(_Answer):
    """One meter in the current period; without a quota `quota`, `percent` and `remaining` are null."""

    meter: str
    quantity: int
    quota: int | None
    percent: float | None
    remaining: int | None
    projected: int
    workspaces: list[WorkspaceUse]
    workspace_count: int


class Snapshot(_Answer):
    """One closed period of one meter."""

    meter: str
    period_start: date
    period_end: date
    quantity: int
    closed_at: str


class AlertState(_Answer):
    """That the threshold was crossed in this period."""

    id: str
    quantity: int
    raised_at: str
    settled_at: str | None


class ThresholdShown(_Answer):
    """A threshold; `limit` is the quantity at which it is reached, null for a share of a quota that has no limit."""

    id: str
    meter: str
    kind: str
    unit: str
    amount: int
    limit: int | None
    state: Literal["below", "crossed"]
    alert: AlertState | None
    targets: list[dict[str, str]] | None = None
    created_at: str


class Limits(_Answer):
    """What the plan and the company's own limits allow; null is no limit."""

    export_rows: int | None
    retention_days: int | None
    event_quota: int | None
    own: list[str]


class CompanyUsage(_Answer):
    """What a company used in this period and may use; `history` has the newest 24 closed periods of a meter."""

    company_id: str
    plan: str
    add_ons: list[str]
    period: PeriodShown
    meters: list[MeterShown]
    limits: Limits
    blocks_at_limit: bool
    allowance: int | None
    thresholds: list[ThresholdShown]
    history: list[Snapshot]


class WorkspaceUsage(_Answer):
    """What a workspace used in this period; the quota is its company's."""

    company_id: str
    workspace_id: str
    plan: str
    period: PeriodShown
    meters: list[MeterShown]
    history: list[Snapshot]


class EventStats(_Answer):
    """Events stored by the company: today and over 24 hours to within 10 s, this month to the event."""

    today: int
    last_24h: int = Field(alias="last24h")
    this_month: int
    by_workspace: list[WorkspaceUse]


class CompanyStats(_Answer):
    """Figures of a company at a glance."""

    company_id: str
    plan: str
    events: EventStats
    webhooks: dict[str, Any]
    at: str


class ThresholdList(_Answer):
    """The company's thresholds, oldest first, with their state in the current period."""

    data: list[ThresholdShown]


class AlertShown(_Answer):
    """One alert with what became of each send: sent, recorded where no sender is configured, failed, or null so far."""

    id: str
    threshold_id: str
    meter: str
    kind: str
    unit: str
    amount: int
    period_start: date
    limit: int
    quantity: int
    raised_at: str
    settled_at: str | None
    sends: list[dict[str, Any]]


class AlertList(_Answer):
    """The company's newest alerts."""

    data: list[AlertShown]


class AddOnShown(_Answer):
    """An add-on that the company holds."""

    code: str
    granted_at: str


class AddOnList(_Answer):
    """The company's add-ons, oldest grant first."""

    data: list[AddOnShown]


class CompanyUsageAnswer(_Answer):
    """A company's usage."""

    data: CompanyUsage


class WorkspaceUsageAnswer(_Answer):
    """A workspace's usage."""

    data: WorkspaceUsage


class CompanyStatsAnswer(_Answer):
    """A company's figures."""

    data: CompanyStats


class StandingShown(_Answer):
    """What a company may do."""

    company_id: str
    plan: str
    add_ons: list[str]
    limits: Limits
    blocks_at_limit: bool


class StandingAnswer(_Answer):
    """What a company may do, as operators see it."""

    data: StandingShown
