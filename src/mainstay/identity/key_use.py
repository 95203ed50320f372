"""How keys are used and refused: counted in the process, written to the database each second."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from mainstay.identity.allow_lists import place_of
from mainstay.identity.queries import key_uses as use_rows
from mainstay.kernel import telemetry
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.logs import logger

_log = logger(__name__)
Why = Literal["address", "read_only", "scope"]
"""Why a key that works was refused: it came from elsewhere, may only read, or is narrowed to other things."""

FLUSH_EVERY = timedelta(seconds=1)
KEEP = timedelta(days=30)
WINDOW = timedelta(minutes=5)
_MOST_REFUSED = 10_000
_MOST_ADDRESSES = 100


@dataclass(slots=True)
class _Use:
    """What one key did since the last flush."""

    uses: int = 0
    last_address: str = ""
    addresses: set[str] = field(default_factory=set)

    def add(self, other: "_Use") -> None:
        self.uses += other.uses
        self.last_address = self.last_address or other.last_address
        self.addresses |= other.addresses


class KeyUse:
    """Counts uses and refusals by key id. A crash loses at most the counts of the last second."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}
        self._refusals: dict[tuple[str, Why], tuple[int, str]] = {}

    def count(self, key_id: str, address: str = "") -> None:
        """One more use of the key, from that network address."""
        use = self._uses.get(key_id)
        if use is None:
            use = self._uses[key_id] = _Use()
        use.uses += 1
        if address != use.last_address:
            use.last_address = address
            if len(use.addresses) < _MOST_ADDRESSES:
                use.addresses.add(address)

    def count_refusal(self, key_id: str, why: Why, address: str) -> None:
        """One more refusal of a key that works."""
        times, _ = self._refusals.get((key_id, why), (0, ""))
        if times or len(self._refusals) < _MOST_REFUSED:
            self._refusals[key_id, why] = (times + 1, address)

    async def flush_once(self, db: Database) -> int:
        """What was counted is stored; how many uses that were. On an error they are counted again later."""
        uses, self._uses = self._uses, {}
        refusals, self._refusals = self._refusals, {}
        if not uses and not refusals:
            return 0
        try:
            await _store(db, uses, refusals)
        except BaseException:
            for key_id, use in uses.items():
                self._uses.setdefault(key_id, _Use()).add(use)
            for about, (times, address) in refusals.items():
                more, later = self._refusals.get(about, (0, ""))
                self._refusals[about] = (times + more, later or address)
            raise
        return sum(use.uses for use in uses.values())

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


async def _store(db: Database, uses: dict[str, _Use], refusals: dict[tuple[str, Why], tuple[int, str]]) -> None:
    places = sorted({(key_id, place_of(address)) for key_id, use in uses.items() for address in use.addresses})
    places = [(key_id, place) for key_id, place in places if place]
    async with db.begin() as tx:
        if uses:
            last = [place_of(use.last_address) for use in uses.values()]
            await use_rows.add_uses_everywhere(tx, list(uses), [use.uses for use in uses.values()], last)
        if places:
            await use_rows.add_addresses_everywhere(tx, [key for key, _ in places], [place for _, place in places])
        if refusals:
            times = [count for count, _ in refusals.values()]
            last = [place_of(address) for _, address in refusals.values()]
            await use_rows.add_refusals_everywhere(
                tx, [key for key, _ in refusals], [why for _, why in refusals], times, last
            )


async def usage_5m(db: Connection, company_id: str, key_id: str) -> int:
    """Stored uses of the key in the last five minutes, and in all of the minute in which those begin."""
    return await use_rows.uses_within(db, company_id, key_id, WINDOW)


async def prune_key_uses(db: Connection) -> int:
    """Counts older than 30 days are gone, but for each key's newest, and addresses not used for so long; how many."""
    return await use_rows.prune_uses_everywhere(db, KEEP) + await use_rows.prune_addresses_everywhere(db, KEEP)
