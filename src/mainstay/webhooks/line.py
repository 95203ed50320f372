"""Deliveries in order: one job serves the line of an endpoint, one try in flight, and the head blocks until it is over.

line with something in it <=> one job holds its key (mainstay.line_up, start, the sweep each minute)
job: head sent --delivered, or failed for good--> next head --none left, endpoint off--> key given back, job ends
         \\--the try failed, held by limit or breaker--> asleep until its time comes
"""

import time
from datetime import timedelta
from typing import Any, Final

from mainstay import jobs
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.work import Job, Outcome, Snooze
from mainstay.webhooks import operational
from mainstay.webhooks.courier import UNWANTED, Courier
from mainstay.webhooks.pacing import Gated, Held, Parcel
from mainstay.webhooks.queries import line as rows
from mainstay.webhooks.queries import sending

DELIVERIES_PER_RUN: Final = 200
RUN_SECONDS: Final = 20.0
STARTS_AT_MOST: Final = 10
UNFINISHED: Final = "no worker could finish a try"

_FRESH_SECONDS: Final = 3.0
_CLEARED_AT_ONCE: Final = 1_000
_DATABASE_AWAY: Final = timedelta(seconds=1)
_SOON: Final = timedelta(milliseconds=50)
_OPEN: Final = frozenset({"PENDING", "RETRYING"})


class Line:
    """Serves lines from one worker process."""

    def __init__(self, db: Database, courier: Courier) -> None:
        self._db = db
        self._courier = courier

    async def run(self, job: Job) -> Outcome:
        """The line was served for up to 200 deliveries or 20 s, or as far as it goes now; what becomes of its job."""
        try:
            return await self._run(job)
        except Unavailable:
            return Snooze(_DATABASE_AWAY, "the database was away")

    async def _run(self, job: Job) -> Outcome:
        until = time.monotonic() + RUN_SECONDS
        for _ in range(DELIVERIES_PER_RUN):
            if time.monotonic() >= until:
                break
            started = time.monotonic()
            row = await rows.load_head_everywhere(self._db, job.payload, job_id=job.id, epoch=job.epoch)
            if row is None:
                return await self._end(job)
            if not row["is_ours"]:
                return await self._give_way(job)
            if row["status"] not in _OPEN or row["message_id"] is None:
                await self._drop(job, row)
                continue
            if not row["is_wanted"]:
                return await self._end(job)
            if row["due_seconds"] is not None and row["due_seconds"] > 0:
                return Snooze(timedelta(seconds=row["due_seconds"]), "the head waits for its next try")
            ending = await self._serve(job, row, started)
            if ending is not None:
                return ending
        return Snooze(timedelta(0), "others' turn")

    async def _serve(self, job: Job, row: Any, loaded: float) -> Outcome:
        """The head was tried once and that is recorded; None where the line may go on."""
        parcel = self._courier.pack(row, loaded)
        assert isinstance(parcel, Parcel)
        slot = None
        if row["is_gated"]:
            gated: Gated = (await self._courier.admit({job.id: parcel}))[job.id]
            if isinstance(gated.turn, Held):
                return Snooze(timedelta(seconds=gated.turn.seconds), "the endpoint's limit or breaker")
            slot = job.id
            if not await self._courier.reaches(gated.turn):
                return None
        if time.monotonic() - loaded > _FRESH_SECONDS:
            return None
        _, attempt = await self._courier.send(parcel, slot=slot)
        async with self._db.begin() as tx:
            await jobs.confirm(tx, job)
            await self._courier.record_tries(tx, [attempt])
            if attempt.standing not in _OPEN:
                await rows.step_everywhere(tx, job.payload, row["pos"])
            if job.attempt > 1:
                await rows.renew_everywhere(tx, job_id=job.id, epoch=job.epoch)
        if attempt.wait_seconds is not None:
            return Snooze(timedelta(seconds=attempt.wait_seconds), attempt.error or "")
        return None

    async def _drop(self, job: Job, row: Any) -> None:
        """A head that is over, or whose message is no longer kept, is out of the line."""
        async with self._db.begin() as tx:
            await jobs.confirm(tx, job)
            if row["status"] in _OPEN:
                await sending.discard_everywhere(tx, [row["delivery_id"]], reason=UNWANTED)
            await rows.step_everywhere(tx, job.payload, row["pos"])

    async def _end(self, job: Job) -> Outcome:
        """The key of the line is given back, unless somebody adds to it just now or there is more to do."""
        async with self._db.begin() as tx:
            await jobs.confirm(tx, job)
            endpoint = await rows.lock_everywhere(tx, job.payload)
            if endpoint is None:
                return Snooze(_SOON, "somebody adds to the line")
            if endpoint["deleted_at"] is not None:
                if await rows.clear_everywhere(tx, job.payload, reason=UNWANTED, limit=_CLEARED_AT_ONCE):
                    return Snooze(timedelta(0), "more to discard")
            elif endpoint["is_active"] and not await rows.is_empty_everywhere(tx, job.payload):
                return Snooze(timedelta(0), "more came")
            await rows.release_everywhere(tx, job_id=job.id, epoch=job.epoch)
        return None

    async def _give_way(self, job: Job) -> Outcome:
        """This job had given the key back before its end was recorded: whoever has it now serves the line."""
        async with self._db.begin() as tx:
            await rows.start(tx, company_id=job.company_id or "", endpoint_id=job.payload)
        return None


async def sweep(tx: Tx) -> None:
    """Lines without a job have one again; heads over which a job died have failed, so that the rest can go on."""
    buried = await rows.buried_heads_everywhere(tx)
    if buried:
        reasons = [f"{UNFINISHED}: {row['error']}" for row in buried]
        failed = [row["id"] for row in buried]
        await sending.give_up_everywhere(tx, failed, reasons=reasons)
        await operational.tell_dead(tx, failed)
    await rows.start_idle_everywhere(tx)
    await sending.drop_slots_everywhere(tx)
