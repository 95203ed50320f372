"""Transactions whose plans do not hang on statistics, for the hot tables."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mainstay.kernel.db import Database, Tx

# Plans of hot statements must not hang on statistics: the table is empty one minute and has a million rows the next.
# So jobs are reached by their lines in order, or by `id = any(...)` for which only the primary key serves.
_SAME_PLAN = (
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_mergejoin = off;"
    "set local jit = off; set local plan_cache_mode = force_generic_plan;"
)
# Whoever freezes while it claims must not hold up a pause for ever.
_BY_LINE = _SAME_PLAN + (
    "set local idle_in_transaction_session_timeout = '10s';"
    "set local enable_sort = off; set local enable_incremental_sort = off; set local enable_hashjoin = off;"
    "set local enable_nestloop = on"
)
_FREE = "; ".join(
    f"set local {name} to default"
    for name in (
        "enable_seqscan", "enable_bitmapscan", "enable_mergejoin", "enable_hashjoin", "enable_nestloop", "jit",
        "plan_cache_mode",
    )
)  # fmt: skip
_ROLLBACK_SECONDS = 5.0
_BY_ID = _SAME_PLAN + "set local enable_nestloop = off; set local enable_hashjoin = on"


@asynccontextmanager
async def begin_by_line(db: Database) -> AsyncIterator[Tx]:
    """A transaction in which every plan walks an index in its order. It has no savepoints."""
    async with _begin(db, _BY_LINE) as tx:
        yield tx


@asynccontextmanager
async def begin_by_id(db: Database) -> AsyncIterator[Tx]:
    """A transaction in which every plan reaches its jobs by id. It has no savepoints."""
    async with _begin(db, _BY_ID) as tx:
        yield tx


async def plan_by_id(tx: Tx) -> None:
    """For the rest of the transaction every plan reaches its jobs by id, and matches them to arrays by hashing."""
    await tx.connection.execute(_BY_ID)


async def plan_freely(tx: Tx) -> None:
    """For the rest of the transaction plans are the planner's choice again."""
    await tx.connection.execute(_FREE)


@asynccontextmanager
async def _begin(db: Database, settings: str) -> AsyncIterator[Tx]:
    """Begin and settings in one trip, because the hot loops make little else than trips.

    Who is cancelled does not ask a server that may be gone to roll back; dropping the connection says the same.
    """
    async with db.connection() as connection:
        try:
            await connection.execute("begin;" + settings)
            yield Tx(connection)
            await connection.execute("commit")
        except asyncio.CancelledError:
            connection.terminate()
            raise
        except BaseException:
            await _roll_back(connection)
            raise


async def _roll_back(connection: Any) -> None:
    try:
        if not connection.is_closed():
            await connection.execute("rollback", timeout=_ROLLBACK_SECONDS)
    except Exception:
        connection.terminate()
