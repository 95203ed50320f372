"""Carrying events out: read behind the marks, send, and move the marks once the destination has confirmed.

Two workers never turn one stream at a time: its turns share a dedupe key and a lane, and a mark moves in a transaction
that confirms the claim of the job.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from mainstay import events, jobs
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job
from mainstay.streams import aside, backfills, destinations, forms, standing, streams
from mainstay.streams import queries as rows
from mainstay.streams.destinations import Bounds, Outcome, Sender, Unopened
from mainstay.streams.forms import Batch
from mainstay.streams.streams import BACKFILL, LIVE

_log = logger(__name__)
TURN: Final = "streams.turn"
QUEUE: Final = jobs.STREAMS
TURN_SECONDS: Final = 60.0
_DUE_AT_MOST: Final = 1_000
_READ_EVENTS_AT_MOST: Final = 20_000
_FAILING: Final = Actor(kind="rule", id="streams.failing", name="Streams that do not get through")


@dataclass(frozen=True, slots=True)
class Turn:
    """A batch that went out, or was to: of which part, and where that part stands behind it."""

    part: str
    marks: dict[str, tuple[int, datetime]]
    sent: int
    is_whole: bool


class Pump:
    """Turns the streams of one database."""

    def __init__(self, db: Database, outbound: Outbound, keyring: Keyring, brand: str) -> None:
        self._db = db
        self._outbound = outbound
        self._keyring = keyring
        self._brand = brand

    async def turn(self, job: Job) -> None:
        """What waits for the stream has gone out, as far as a minute reaches, or a failure is written down."""
        company_id, stream_id = str(job.company_id), str(job.payload)
        until = asyncio.get_running_loop().time() + TURN_SECONDS
        while asyncio.get_running_loop().time() < until:
            row = await rows.find_stream(self._db, company_id, stream_id)
            if row is None or row["state"] not in ("active", "failing"):
                return
            if not await self._carry(job, row):
                return

    def sender(self, row: Record) -> Sender:
        """What carries the stream's batches."""
        try:
            wanted, signing = streams.destination_of(row, self._keyring)
        except Unsealable:
            return Unopened()
        return destinations.sender_of(wanted, self._outbound, signing=signing, brand=self._brand, now=datetime.now(UTC))

    async def deliver(self, sender: Sender, batch: Batch) -> Outcome:
        """What became of the batch; what goes wrong on our side is a failure that is tried again, as any other."""
        if not batch.events:
            return Outcome(True)
        try:
            return await sender.send(batch)
        except Exception as error:
            _log.exception("a batch of a stream failed here", stream=batch.stream_id)
            return Outcome(False, f"it could not be sent from here: {type(error).__name__}")

    async def _carry(self, job: Job, row: Record) -> bool:
        """One batch of what is new, else of the backfill; whether there may be more that can go out now."""
        company_id, stream_id = str(row["company_id"]), str(row["id"])
        chains, sender = events.Following(self._db, company_id), self.sender(row)
        ends = await chains.heads()
        places = await rows.positions(self._db, company_id, stream_id)
        marks = streams.marks_of(places, LIVE)
        part = LIVE
        if all(marks.get(name, (0,))[0] >= seq for name, (seq, _) in ends.items()):
            if row["backfill_state"] != "running":
                return False
            part, marks = BACKFILL, streams.marks_of(places, BACKFILL)
            ends = {
                str(place["workspace_id"]): (place["last_seq"], place["received_at"])
                for place in places
                if place["part"] == BACKFILL
            }
        most = min(sender.bounds.events, row["batch_at_most"] or sender.bounds.events)
        found = await chains.read_on(marks, ends, limit=most, most_bytes=sender.bounds.bytes)
        wanted = orjson.loads(row["filter"])
        batch = Batch(stream_id, [forms.render(one, row["form"]) for one in found.rows if forms.wants(wanted, one)])
        outcome = await self.deliver(sender, batch)
        turn = Turn(part, found.marks, len(batch.events), found.is_whole)
        async with self._db.begin() as tx:
            await jobs.confirm(tx, job)
            if outcome.is_of_events:
                lone = next(one for one in found.rows if str(one["id"]) == batch.events[0].id)
                return await self._refuse(tx, row, turn, lone, outcome)
            if not outcome.ok:
                await self._fail(tx, row, outcome)
                return False
            await self._record(tx, row, turn, sender.bounds)
        return not (batch.events and found.is_whole and sender.bounds.gap and part == LIVE)

    async def _refuse(self, tx: Tx, before: Record, turn: Turn, lone: Record, outcome: Outcome) -> bool:
        """A batch was refused for what it holds, `lone` its first event; whether something can go out now."""
        company_id, stream_id = str(before["company_id"]), str(before["id"])
        row = await rows.find_stream(tx, company_id, stream_id, lock=True)
        if row is None:
            return False
        if turn.part == BACKFILL and not backfills.is_running(row, before):
            return True
        step = standing.after_refusal(
            turn.sent,
            aside.tries_of(row, str(lone["id"])),
            row["on_refusal"],
            is_full=await aside.is_full(tx, row),
        )
        if step == "halve":
            await rows.change_stream(tx, company_id, stream_id, {"batch_at_most": turn.sent // 2})
            return True
        if step == "aside":
            await aside.put(tx, row, lone, outcome.reason)
            await self._record(tx, before, replace(turn, sent=0), None)
            return True
        now = await rows.now_everywhere(tx)
        blocked: dict[str, Any] = {"blocked": aside.blocked(lone, turn.part, before=row, now=now)}
        if step == "again":
            rest = now + standing.REFUSED_REST
            await rows.change_stream(
                tx, company_id, stream_id, {**blocked, "reason": outcome.reason, "next_turn_at": rest}
            )
            return False
        await rows.change_stream(tx, company_id, stream_id, blocked)
        await self._fail(tx, before, outcome)
        return False

    async def _record(self, tx: Tx, before: Record, turn: Turn, bounds: Bounds | None) -> None:
        company_id, stream_id = str(before["company_id"]), str(before["id"])
        row = await rows.find_stream(tx, company_id, stream_id, lock=True)
        if row is None:
            return
        is_live = turn.part == LIVE
        is_same = is_live or row["backfill_began_at"] == before["backfill_began_at"]
        if is_same:
            await rows.move(tx, company_id, stream_id, turn.part, turn.marks)
        if turn.sent and bounds is not None:
            await rows.count_sent(
                tx,
                company_id,
                stream_id,
                live=turn.sent if is_live else 0,
                backfilled=0 if is_live else turn.sent,
                rest=bounds.gap if is_live and turn.is_whole else timedelta(0),
                whole_batch=bounds.events,
            )
            if row["state"] == "failing":
                await streams.tell(tx, _FAILING, "stream.recovered", row, failures=row["failures"])
        elif bounds is not None and is_same and (passed := aside.passed(row, turn.part, turn.marks, bounds.events)):
            await rows.change_stream(tx, company_id, stream_id, passed)
        if not is_live and turn.is_whole and is_same:
            await backfills.finish(tx, company_id, stream_id)

    async def _fail(self, tx: Tx, before: Record, outcome: Outcome) -> None:
        company_id, stream_id = str(before["company_id"]), str(before["id"])
        row = await rows.find_stream(tx, company_id, stream_id, lock=True)
        if row is None:
            return
        verdict = standing.after_failure(
            row["state"],
            row["failures"],
            is_permanent=outcome.is_permanent,
            failing_since=row["failing_since"],
            now=await rows.now_everywhere(tx),
            retry_after=outcome.retry_after,
        )
        await rows.count_failure(
            tx, company_id, stream_id, reason=outcome.reason, state=verdict.state, rest=verdict.rest
        )
        if verdict.state != row["state"] and verdict.state != "active" and row["state"] != "paused":
            await streams.tell(tx, _FAILING, f"stream.{verdict.state}", row, reason=outcome.reason)


async def look(tx: Tx) -> int:
    """Every stream that has something to send and may has a turn in line; how many."""
    due = await rows.due_everywhere(tx, _DUE_AT_MOST)
    for row in due:
        await put_in_line(tx, str(row["company_id"]), str(row["id"]))
    return len(due)


async def put_in_line(tx: Tx, company_id: str, stream_id: str) -> None:
    """The stream has a turn in line, unless one is there or running."""
    await jobs.enqueue(
        tx, TURN, stream_id, queue=QUEUE, lane=f"stream:{stream_id}", company_id=company_id, dedupe_key=stream_id
    )
