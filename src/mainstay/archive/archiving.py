"""Archiving: the candidates of a day become one object, which is read back before any of them counts as archived."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date

from mainstay import events
from mainstay.archive import forms, queries
from mainstay.archive.errors import Contended, Damaged, DayNotFound, ReadBackDiffers
from mainstay.archive.ground import Ground
from mainstay.archive.names import object_name
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.objects import ObjectChanged, ObjectExists, ObjectNotFound, Objects, Stored

Fence = Callable[[Tx], Awaitable[None]]
_PAGE = 500
_FLAG_BATCH = 2_000
_TRIES = 5
_NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one workspace."""

    company_id: str
    workspace_id: str
    day: date

    @property
    def name(self) -> str:
        """The name of its object."""
        return object_name(self.company_id, self.workspace_id, self.day)


async def due_days(ground: Ground) -> AsyncIterator[Day]:
    """Yields days to archive now: of companies with the add-on, over (no event of them is still within its window).

    They are read by pages as they are wanted: what was archived meanwhile is passed over.
    """
    after = (date.min, _NIL)
    while rows := await queries.waiting_days_everywhere(ground.db, after=after, limit=_PAGE):
        rules = await ground.rules_of(rows)
        for row in rows:
            day = Day(str(row["company_id"]), str(row["workspace_id"]), row["day"])
            rule = rules.get(day.workspace_id)
            if rule is None or not rule.is_archived or ground.stores.find(row["data_region"]) is None:
                continue
            is_stored = row["archived_seq"] >= row["last_seq"]
            behind = await ground.retirement.day_of(day.company_id, day.workspace_id, row["last_seq"] + 1)
            if is_stored or behind != day.day:
                yield day
        after = (rows[-1]["day"], str(rows[-1]["workspace_id"]))


async def archive_day(ground: Ground, day: Day, fence: Fence | None = None) -> int:
    """All candidates of the day are in its object and marked as archived; how many are marked just now.

    What was in the object stays in it. `fence` runs in each transaction that changes anything. Raises Unavailable
    while the store does not do its work, Unproven where an event is not what was written (nothing is archived then),
    Contended where others keep writing the same object; the failure is kept with the day.
    """
    try:
        for _ in range(_TRIES):
            try:
                row = await _stored_whole(ground, day, fence)
            except (ObjectExists, ObjectChanged):
                continue
            return await _flag(ground, day, row, fence)
        raise Contended
    except (MainstayError, events.Unproven, Damaged) as error:
        await queries.record_failure(ground.db, day.company_id, day.workspace_id, day.day, str(error))
        raise


async def rewrite_day(ground: Ground, day: Day, change: Callable[[bytes], bytes], fence: Fence | None = None) -> bool:
    """The day's object holds each event's JSON as `change` gives it, still proven; False where there is no object.

    For what may leave an event without breaking its proof. A rewriting that was cut off is ended by running it again;
    until then a verification says `changed`. Raises as `archive_day`, and ObjectNotFound.
    """
    for _ in range(_TRIES):
        row = await _get(ground, day)
        if not row["archived_seq"]:
            return False
        store = ground.stores.get(row["data_region"])
        there = await store.head(day.name)
        row = await _get(ground, day)
        stretch = events.Stretch(day.company_id, day.workspace_id, row["first_seq"], row["archived_seq"])
        lines = forms.unpacked(store.get(day.name, etag=there.etag))
        packed = forms.Packed(ground.retirement.proven_changes(stretch, lines, change))
        try:
            stored = await store.put(day.name, packed.pieces(), replaces=there.etag)
            await _read_back(store, stored, packed)
            await _record(ground, day, row, stretch.last_seq, packed, fence)
        except ObjectChanged:
            continue
        return True
    raise Contended


async def read_day(ground: Ground, day: Day) -> AsyncIterator[list[bytes]]:
    """Yields the events of the day's object as their JSON stands in it; nothing where none is on record."""
    row = await _get(ground, day)
    if row["archived_seq"]:
        async for lines in forms.unpacked(ground.stores.get(row["data_region"]).get(day.name)):
            yield lines


async def renew_day(ground: Ground, day: Day, fence: Fence | None = None) -> None:
    """Whatever object of the day is not on record yet is made of what the table has now, or made anew.

    For what changes events of the table that an archiving under way may have read before.
    """
    async with ground.db.begin() as tx:
        if fence is not None:
            await fence(tx)
        await queries.renew(tx, day.company_id, day.workspace_id, day.day)
    row = await _get(ground, day)
    store = ground.stores.find(row["data_region"])
    if not row["archived_seq"] and store is not None and await _find(store, day.name) is not None:
        await archive_day(ground, day, fence)


async def _stored_whole(ground: Ground, day: Day, fence: Fence | None) -> Record:
    """The object holds every candidate; ObjectExists or ObjectChanged where another writer was first."""
    row = await _get(ground, day)
    if row["archived_seq"] >= row["last_seq"]:
        return row
    store = ground.stores.get(row["data_region"])
    there = await _find(store, day.name)
    # Read after the object: whoever wrote that object knew no more events than this row tells now.
    row = await _get(ground, day)
    stretch = events.Stretch(day.company_id, day.workspace_id, row["first_seq"], row["last_seq"])
    earlier = None if there is None else forms.unpacked(store.get(day.name, etag=there.etag))
    packed = forms.Packed(ground.retirement.proven_lines(stretch, earlier))
    stored = await store.put(
        day.name, packed.pieces(), create_only=there is None, replaces=None if there is None else there.etag
    )
    await _read_back(store, stored, packed)
    await _record(ground, day, row, stretch.last_seq, packed, fence)
    return await _get(ground, day)


async def _record(ground: Ground, day: Day, row: Record, seq: int, packed: forms.Packed, fence: Fence | None) -> None:
    async with ground.db.begin() as tx:
        if fence is not None:
            await fence(tx)
        if not await queries.record_archived(
            tx,
            day.company_id,
            day.workspace_id,
            day.day,
            seq=seq,
            sha256=packed.sha256,
            size=packed.bytes,
            renewals=row["renewals"],
        ):
            raise ObjectChanged


async def _read_back(store: Objects, stored: Stored, packed: forms.Packed) -> None:
    digest = hashlib.sha256()
    count = 0

    async def seen() -> AsyncIterator[bytes]:
        async for piece in store.get(stored.name, etag=stored.etag):
            digest.update(piece)
            yield piece

    async for lines in forms.unpacked(seen()):
        count += len(lines)
    if (count, digest.digest()) != (packed.count, packed.sha256):
        raise ReadBackDiffers


async def _flag(ground: Ground, day: Day, row: Record, fence: Fence | None) -> int:
    """The events that the object holds are marked as archived, a bounded number a transaction."""
    flagged = 0
    start = max(row["flagged_seq"], row["first_seq"] - 1)
    for after in range(start, row["archived_seq"], _FLAG_BATCH):
        until = min(after + _FLAG_BATCH, row["archived_seq"])
        async with ground.db.begin() as tx:
            if fence is not None:
                await fence(tx)
            flagged += await ground.retirement.flag(tx, day.company_id, day.workspace_id, after=after, until=until)
            await queries.record_flagged(tx, day.company_id, day.workspace_id, day.day, seq=until)
    return flagged


async def _get(ground: Ground, day: Day) -> Record:
    row = await queries.find_day(ground.db, day.company_id, day.workspace_id, day.day)
    if row is None:
        raise DayNotFound
    return row


async def _find(store: Objects, name: str) -> Stored | None:
    try:
        return await store.head(name)
    except ObjectNotFound:
        return None
