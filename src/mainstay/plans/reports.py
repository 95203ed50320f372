"""What people and keys are told of plans and usage."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import orjson

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Record
from mainstay.plans import calendar, caps, thresholds
from mainstay.plans.catalogue import EVENTS, METERS
from mainstay.plans.queries import alerting, limits
from mainstay.plans.queries import metering as queries
from mainstay.plans.schemas import (
    AlertShown,
    AlertState,
    CompanyStats,
    CompanyUsage,
    EventStats,
    Limits,
    MeterShown,
    PeriodShown,
    Snapshot,
    StandingShown,
    ThresholdShown,
    WorkspaceUsage,
    WorkspaceUse,
)
from mainstay.plans.standing import Book, Standing
from mainstay.plans.thresholds import Threshold

WORKSPACES_SHOWN: Final = 100
PERIODS_SHOWN: Final = 24
ALERTS_SHOWN: Final = 100
MINUTES_OF_A_DAY: Final = 1_440

PerMinute = Callable[[Connection, str, int], Awaitable[Sequence[tuple[datetime, int]]]]
"""Events stored in each of a company's newest minutes, oldest first."""
WebhookFigures = Callable[[Connection, str], Awaitable[Mapping[str, Any]]]
"""What an overview tells of a company's deliveries."""


async def company_usage(home: Connection, regional: Connection, book: Book, company_id: str) -> CompanyUsage:
    """What the company used in this period, may use, is warned of, and used before; CompanyUnknown."""
    standing = await book.standing(home, company_id)
    now, period = await _period(regional)
    return CompanyUsage(
        company_id=company_id,
        plan=standing.plan,
        add_ons=sorted(standing.add_ons),
        period=_period_shown(period, now),
        meters=await _meters(regional, standing, period, now, workspace_id=None),
        limits=_limits(standing),
        blocks_at_limit=standing.blocks_at_limit,
        allowance=await limits.find_allowance(regional, company_id, EVENTS),
        thresholds=await threshold_list(regional, standing, period, with_targets=False),
        history=await _history(regional, company_id, workspace_id=None),
    )


async def workspace_usage(
    home: Connection, regional: Connection, book: Book, company_id: str, *, workspace_id: str
) -> WorkspaceUsage:
    """What one workspace used in this period and before, against its company's quota; CompanyUnknown."""
    standing = await book.standing(home, company_id)
    now, period = await _period(regional)
    return WorkspaceUsage(
        company_id=company_id,
        workspace_id=workspace_id,
        plan=standing.plan,
        period=_period_shown(period, now),
        meters=await _meters(regional, standing, period, now, workspace_id=workspace_id),
        history=await _history(regional, company_id, workspace_id=workspace_id),
    )


async def company_stats(
    home: Connection,
    regional: Connection,
    book: Book,
    company_id: str,
    *,
    per_minute: PerMinute,
    webhooks: WebhookFigures,
) -> CompanyStats:
    """The company's figures at a glance; CompanyUnknown."""
    standing = await book.standing(home, company_id)
    now, period = await _period(regional)
    (events,) = await _meters(regional, standing, period, now, workspace_id=None, meters=[EVENTS])
    minutes = await per_minute(regional, company_id, MINUTES_OF_A_DAY)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return CompanyStats(
        company_id=company_id,
        plan=standing.plan,
        events=EventStats(
            today=sum(count for minute, count in minutes if minute >= midnight),
            last24h=sum(count for _, count in minutes),
            this_month=events.quantity,
            by_workspace=events.workspaces,
        ),
        webhooks=dict(await webhooks(regional, company_id)),
        at=iso(now),
    )


async def threshold_list(
    regional: Connection, standing: Standing, period: date, *, with_targets: bool
) -> list[ThresholdShown]:
    """The company's thresholds with their state in that period."""
    found = await thresholds.list_thresholds(regional, standing.company_id, period=period)
    return [_threshold(one, standing, with_targets) for one in found]


async def alert_list(regional: Connection, company_id: str) -> list[AlertShown]:
    """The company's newest 100 alerts."""
    return [
        AlertShown(
            id=str(row["id"]),
            threshold_id=str(row["threshold_id"]),
            meter=row["meter"],
            kind=row["kind"],
            unit=row["unit"],
            amount=row["amount"],
            period_start=row["period_start"],
            limit=row["limit_quantity"],
            quantity=row["quantity"],
            raised_at=iso(row["raised_at"]),
            settled_at=_iso_or_none(row["settled_at"]),
            sends=orjson.loads(row["sends"]),
        )
        for row in await alerting.alerts(regional, company_id, limit=ALERTS_SHOWN)
    ]


def standing_shown(standing: Standing) -> StandingShown:
    """A standing as operators see it."""
    return StandingShown(
        company_id=standing.company_id,
        plan=standing.plan,
        add_ons=sorted(standing.add_ons),
        limits=_limits(standing),
        blocks_at_limit=standing.blocks_at_limit,
    )


async def _period(regional: Connection) -> tuple[datetime, date]:
    row = await queries.period_everywhere(regional)
    return row["now"], row["start"].date()


def _period_shown(period: date, now: datetime) -> PeriodShown:
    return PeriodShown(
        start=iso(calendar.start_of(period)),
        end=iso(calendar.start_of(calendar.following(period))),
        elapsed_share=round(calendar.elapsed_share(period, now), 4),
    )


async def _meters(
    regional: Connection,
    standing: Standing,
    period: date,
    now: datetime,
    *,
    workspace_id: str | None,
    meters: Sequence[str] = METERS,
) -> list[MeterShown]:
    rows = await queries.usage_by_workspace(
        regional, standing.company_id, period, meters=list(meters), workspace_id=workspace_id
    )
    return [_meter(name, [row for row in rows if row["meter"] == name], standing, period, now) for name in meters]


def _meter(name: str, rows: list[Record], standing: Standing, period: date, now: datetime) -> MeterShown:
    quantity, quota = sum(row["quantity"] for row in rows), standing.quota_of(name)
    uses = [WorkspaceUse(workspace_id=str(row["workspace_id"]), quantity=row["quantity"]) for row in rows]
    return MeterShown(
        meter=name,
        quantity=quantity,
        quota=quota,
        percent=None if quota is None else round(100 * quantity / quota, 2),
        remaining=None if quota is None else max(0, quota - quantity),
        projected=calendar.projected(quantity, period, now),
        workspaces=uses[:WORKSPACES_SHOWN],
        workspace_count=len(uses),
    )


async def _history(regional: Connection, company_id: str, *, workspace_id: str | None) -> list[Snapshot]:
    rows = await queries.snapshots(regional, company_id, workspace_id=workspace_id, limit=PERIODS_SHOWN * len(METERS))
    return [
        Snapshot(
            meter=row["meter"],
            period_start=row["period_start"],
            period_end=calendar.following(row["period_start"]),
            quantity=row["quantity"],
            closed_at=iso(row["closed_at"]),
        )
        for row in rows
    ]


def _limits(standing: Standing) -> Limits:
    return Limits(
        export_rows=standing.export_rows,
        retention_days=standing.retention_days,
        event_quota=standing.event_quota,
        own=sorted(standing.own_limits),
    )


def _threshold(one: Threshold, standing: Standing, with_targets: bool) -> ThresholdShown:
    alert = one.alert
    return ThresholdShown(
        id=one.id,
        meter=one.meter,
        kind=one.kind,
        unit=one.unit,
        amount=one.amount,
        limit=caps.limit_of(one.unit, one.amount, standing.quota_of(one.meter)),
        state="below" if alert is None else "crossed",
        alert=None
        if alert is None
        else AlertState(
            id=alert.id,
            quantity=alert.quantity,
            raised_at=iso(alert.raised_at),
            settled_at=_iso_or_none(alert.settled_at),
        ),
        targets=list(one.targets) if with_targets else None,
        created_at=iso(one.created_at),
    )


def _iso_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
