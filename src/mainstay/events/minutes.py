"""Events per minute of a company, taken from what its chain heads grew by, off the path of storing."""

from datetime import datetime, timedelta

from mainstay.events.queries import minutes as queries
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault, Invalid

MOST_MINUTES = 2_880
_OLDEST = timedelta(days=2)


async def sample(tx: Tx) -> None:
    """Every event committed so far is in its company's minutes exactly once, when the transaction commits.

    What a workspace stored since the sample before counts for the minute of its newest event, so a count lies up to
    one period of sampling beside its minute, and what was stored while no worker ran stands in one minute.
    """
    await queries.sample_everywhere(tx, _OLDEST)


async def per_minute(connection: Connection, *, company_id: str, minutes: int = 60) -> list[tuple[datetime, int]]:
    """How many events the company's workspaces stored in each of its newest minutes (1 to 2,880), oldest first.

    The system workspace is left out; the newest events appear with the next sample, within about 10 s.
    """
    if not 1 <= minutes <= MOST_MINUTES:
        raise Invalid(faults=[Fault(f"must be from 1 to {MOST_MINUTES}", "minutes")])
    rows = await queries.per_minute(connection, company_id, minutes)
    return [(row["minute"], row["events"]) for row in rows]
