"""Which API processes live: each beats twice a second, and one that joins waits until the others count for all.

joining --in line with who leaves the others alone--> alone: memory
    |                                                   | another one lives: what it counted goes into the table
    +--others live; each counts in the table, or 2 s--> several: the table --alone for a minute--> alone
"""

import asyncio
import time
from datetime import timedelta

from mainstay.kernel import ids
from mainstay.kernel.db import Database, Tx
from mainstay.limits.queries import nodes as rows

BEAT = timedelta(seconds=0.5)
_LIVES = timedelta(seconds=5)
_FORGOTTEN = timedelta(hours=1)
_KNOWN_WITHIN_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class Nodes:
    """This process among those that live."""

    def __init__(self, db: Database) -> None:
        self.id = ids.new_id()
        self._db = db

    async def join(self) -> bool:
        """The process is known to live; whether others do, and then each counts for all by now, or 2 s passed."""
        async with self._db.begin() as tx:
            others = await self.others_locked(tx)
            await rows.forget_nodes_everywhere(tx, _FORGOTTEN)
            await rows.beat_everywhere(tx, self.id, "postgresql" if others else "memory")
        if not others:
            return False
        until = time.monotonic() + _KNOWN_WITHIN_SECONDS
        while time.monotonic() < until:
            living = await rows.other_nodes_everywhere(self._db, self.id, _LIVES)
            if all(one["store"] != "memory" for one in living):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def beat(self, store: str) -> bool:
        """The process lives and counts there; whether others live."""
        await rows.beat_everywhere(self._db, self.id, store)
        return bool(await rows.other_nodes_everywhere(self._db, self.id, _LIVES))

    async def others_locked(self, tx: Tx) -> bool:
        """Whether others live; nobody joins or leaves the others alone until the transaction ends."""
        await rows.lock_nodes_everywhere(tx)
        return bool(await rows.other_nodes_everywhere(tx, self.id, _LIVES))

    async def moved(self, tx: Tx, store: str) -> None:
        """The process counts there once the transaction commits."""
        await rows.beat_everywhere(tx, self.id, store)

    async def leave(self) -> None:
        """The process lives no longer."""
        await rows.leave_everywhere(self._db, self.id)
