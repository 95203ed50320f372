"""Marking: events that lie outside the retention window of their workspace are candidates, by the day of receivedAt."""

from datetime import timedelta

from mainstay.archive import queries
from mainstay.archive.ground import Ground

_HEADS = 500
_BATCH = 2_000


async def mark(ground: Ground) -> int:
    """Every event older than its workspace's window is a candidate; how many were marked just now.

    In transactions of 2,000 events, each with what it adds to the days: a run that is cut off goes on where it was.
    """
    now = await queries.now_everywhere(ground.db)
    marked = 0
    after: str | None = None
    while heads := await ground.retirement.heads(after=after, limit=_HEADS):
        rules = await ground.rules_of(heads)
        done = await queries.marked_everywhere(ground.db, [str(head["workspace_id"]) for head in heads])
        for head in heads:
            company_id, workspace_id = str(head["company_id"]), str(head["workspace_id"])
            rule = rules.get(workspace_id)
            start = done.get(workspace_id, 0)
            if rule is None or rule.window_days is None or head["seq"] <= start:
                continue
            edge = now - timedelta(days=rule.window_days)
            until = await ground.retirement.first_seq_from(company_id, workspace_id, edge) - 1
            marked += await _mark(ground, company_id, workspace_id, after=start, until=until)
        after = str(heads[-1]["workspace_id"])
    return marked


async def _mark(ground: Ground, company_id: str, workspace_id: str, *, after: int, until: int) -> int:
    for start in range(after, until, _BATCH):
        async with ground.db.begin() as tx:
            days = await ground.retirement.mark(
                tx, company_id, workspace_id, after=start, until=min(start + _BATCH, until)
            )
            for day in days:
                await queries.add_day(
                    tx,
                    company_id,
                    workspace_id,
                    day=day["day"],
                    region=day["data_region"],
                    first_seq=day["first_seq"],
                    last_seq=day["last_seq"],
                )
    return max(0, until - after)
