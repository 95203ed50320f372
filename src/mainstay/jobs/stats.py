"""How much is in each queue, read from the job tables."""

from dataclasses import dataclass
from datetime import datetime

from mainstay.jobs.queries import planning
from mainstay.jobs.queries import queues as queue_rows
from mainstay.kernel.db import Database

COUNTED_TO = 100_000


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The jobs of one queue by state (G-24). `completed` is of the last 30 days; `dead` is publicly also `failed`.

    A count of `bound` is a floor: there may be more.
    """

    queue: str
    priority: int
    waiting: int
    delayed: int
    active: int
    retrying: int
    completed: int
    dead: int
    paused_at: datetime | None
    paused_by: str | None
    bound: int

    @property
    def paused(self) -> bool:
        """Whether the queue starts nothing now."""
        return self.paused_at is not None


async def stats(db: Database, *, bound: int = COUNTED_TO) -> dict[str, QueueStats]:
    """Every queue's counts, exact up to `bound` a state; completed is always exact."""
    async with planning.begin_by_line(db) as tx:
        rows = await queue_rows.stats_everywhere(tx, bound)
    return {row["queue"]: QueueStats(**dict(row), bound=bound) for row in rows}
