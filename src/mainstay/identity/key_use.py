"""How often keys are used: counted in the process, written to the database each second."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from mainstay.identity.queries import keys as key_rows
from mainstay.kernel import telemetry
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.logs import logger

_log = logger(__name__)
FLUSH_EVERY = timedelta(seconds=1)
KEEP = timedelta(days=30)
_WINDOW = timedelta(minutes=5)


class KeyUse:
    """Counts uses by key id. A crash loses at most the counts of the last second."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, key_id: str) -> None:
        """One more use of the key."""
        self._counts[key_id] = self._counts.get(key_id, 0) + 1

    async def flush_once(self, db: Database) -> int:
        """What was counted is stored; how many uses that were. On an error they are counted again later."""
        counts, self._counts = self._counts, {}
        if not counts:
            return 0
        try:
            await key_rows.add_uses_everywhere(db, list(counts), list(counts.values()))
        except BaseException:
            for key_id, uses in counts.items():
                self._counts[key_id] = self._counts.get(key_id, 0) + uses
            raise
        return sum(counts.values())

    async def run(self, db: Database, stopping: asyncio.Event) -> None:
        """Flushes each second until `stopping` is set, and once more then."""
        while not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FLUSH_EVERY.total_seconds())
            try:
                await self.flush_once(db)
                telemetry.LOOP_LAST_RUN.labels("key_use").set_to_current_time()
            except Exception:
                telemetry.LOOP_ERRORS.labels("key_use").inc()
                _log.warning("key uses not written; they are kept", exc_info=True)


async def usage_5m(db: Connection, company_id: str, key_id: str) -> int:
    """Stored uses of the key in the last five minutes, and in all of the minute in which those begin."""
    return await key_rows.uses_within(db, company_id, key_id, _WINDOW)


async def prune_key_uses(db: Connection) -> int:
    """Counts older than 30 days are gone, but for each key's newest; how many went."""
    return await key_rows.prune_uses_everywhere(db, KEEP)
