"""Figures: how many tries, how many delivered, how fast, by endpoint and company, read from roll-ups alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database
from mainstay.webhooks.queries import figures as rows

WHOLE_COMPANY: Final = "00000000-0000-0000-0000-000000000000"
BATCHES_A_ROUND: Final = 2_000
ROUNDS_AT_MOST: Final = 50

Window = Literal["hour", "day", "month"]
WINDOWS: Final[dict[str, Window]] = {"hour": "hour", "day": "day", "month": "month"}


@dataclass(frozen=True, slots=True)
class _Cut:
    table: str
    step: timedelta
    steps: int


_CUTS: Final[dict[Window, _Cut]] = {
    "hour": _Cut("endpoint_minutes", timedelta(minutes=1), 60),
    "day": _Cut("endpoint_minutes", timedelta(minutes=15), 96),
    "month": _Cut("endpoint_hours", timedelta(hours=6), 120),
}


async def fold(db: Database) -> int:
    """Every try that was recorded before is part of the figures; how many batches were folded."""
    total = 0
    for _ in range(ROUNDS_AT_MOST):
        async with db.begin() as tx:
            folded = await rows.fold_everywhere(tx, limit=BATCHES_A_ROUND)
        total += folded
        if folded < BATCHES_A_ROUND:
            break
    return total


async def read(
    connection: Connection, *, company_id: str, endpoint_id: str | None = None, window: Window = "day"
) -> dict[str, Any]:
    """The tries of the window: a series without gaps, and totals with p50 and p99 in milliseconds (None without tries).

    `status` counts by the receiver's answer, 0 for none. What was tried in the last 10 s may be missing.
    """
    cut = _CUTS[window]
    start, series, codes, latencies = await rows.read_figures(
        connection,
        company_id=company_id,
        endpoint_id=endpoint_id or WHOLE_COMPANY,
        table=cut.table,
        step=cut.step,
        steps=cut.steps,
    )
    found = {row["bucket"]: row for row in series}
    points = []
    for moment in (start + cut.step * n for n in range(cut.steps)):
        row = found.get(moment)
        attempts, delivered = (row["attempts"], row["delivered"]) if row else (0, 0)
        points.append(_point(attempts, delivered) | {"bucket": iso(moment)})
    attempts = sum(row["attempts"] for row in series)
    delivered = sum(row["delivered"] for row in series)
    counts, bounds = (latencies["counts"], latencies["bounds"]) if latencies else ([], [])
    return {
        "window": window,
        "stepSeconds": int(cut.step.total_seconds()),
        "series": points,
        "totals": {
            **_point(attempts, delivered),
            "successShare": round(delivered / attempts, 6) if attempts else None,
            "p50Ms": quantile(0.5, counts, bounds),
            "p99Ms": quantile(0.99, counts, bounds),
        },
        "status": {str(row["code"]): row["attempts"] for row in codes},
    }


async def read_day_of_each(
    connection: Connection, *, company_id: str, endpoint_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By endpoint its last day, in whole hours: totals as `read` gives them, and the minute of its last failure."""
    found, bounds = await rows.read_day_of_each(connection, company_id=company_id, endpoint_ids=endpoint_ids)
    return {
        str(row["endpoint_id"]): {
            **_point(row["attempts"], row["delivered"]),
            "successShare": round(row["delivered"] / row["attempts"], 6) if row["attempts"] else None,
            "p50Ms": quantile(0.5, row["counts"], bounds),
            "p99Ms": quantile(0.99, row["counts"], bounds),
            "failedAt": None if row["failed_at"] is None else iso(row["failed_at"]),
        }
        for row in found
    }


def quantile(share: float, counts: Sequence[int], bounds: Sequence[int]) -> float | None:
    """The value below which that share lies, straight between the bounds of its count; None without counts.

    `counts[n]` lie from `bounds[n - 1]` (0 before the first) up to `bounds[n]`; the last ones count as the last bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            low = float(bounds[index - 1]) if index else 0.0
            high = float(bounds[min(index, len(bounds) - 1)])
            return round(low + (high - low) * (rank - below) / count, 1)
        below += count
    return float(bounds[-1])


def _point(attempts: int, delivered: int) -> dict[str, Any]:
    return {"attempts": attempts, "delivered": delivered, "failed": attempts - delivered}
