"""Sending again what was put aside and is asked for: one event at a time, until one is refused for its place's sake."""

import asyncio
from typing import Any, Final

from mainstay import events, jobs
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.work import Job
from mainstay.streams import forms
from mainstay.streams import queries as rows
from mainstay.streams.destinations import Outcome
from mainstay.streams.forms import Batch
from mainstay.streams.pumping import QUEUE, TURN_SECONDS, Pump

KIND: Final = "streams.again"
_STREAMS_AT_MOST: Final = 1_000
_GONE: Final = Outcome(False, "the log does not keep it any more", True, is_of_events=True)


async def look(tx: Tx) -> int:
    """Every stream with events that are to be sent again has that in line; how many."""
    asked = await rows.asked_everywhere(tx, _STREAMS_AT_MOST)
    for row in asked:
        stream_id = str(row["id"])
        await jobs.enqueue(
            tx, KIND, stream_id, queue=QUEUE, lane=f"again:{stream_id}", company_id=str(row["company_id"]),
            dedupe_key=stream_id, attempts=3,
        )  # fmt: skip
    return len(asked)


async def run(db: Database, pump: Pump, job: Job) -> None:
    """What was asked for has gone out, as far as a minute reaches, or stays put aside with what was answered."""
    company_id, stream_id = str(job.company_id), str(job.payload)
    until = asyncio.get_running_loop().time() + TURN_SECONDS
    while asyncio.get_running_loop().time() < until:
        row = await rows.find_stream(db, company_id, stream_id)
        asked = await rows.next_asked(db, company_id, stream_id)
        if row is None or asked is None:
            return
        event = await _read(db, company_id, asked)
        outcome = _GONE
        if event is not None:
            outcome = await pump.deliver(pump.sender(row), Batch(stream_id, [forms.render(event, row["form"])]))
        event_id = str(asked["event_id"])
        async with db.begin() as tx:
            await jobs.confirm(tx, job)
            if outcome.ok:
                await rows.sent_again(tx, company_id, stream_id, event_id)
            else:
                await rows.refused_again(
                    tx, company_id, stream_id, event_id, reason=outcome.reason, ends_all=not outcome.is_of_events
                )


async def _read(db: Database, company_id: str, asked: Record) -> Any:
    """The event as the log has it now, None where it is not kept."""
    name, place = str(asked["workspace_id"]), (asked["seq"], asked["received_at"])
    found = await events.Following(db, company_id).read_on(
        {name: (place[0] - 1, place[1])}, {name: place}, limit=1, most_bytes=1
    )
    return next((row for row in found.rows if row["id"] == asked["event_id"]), None)
