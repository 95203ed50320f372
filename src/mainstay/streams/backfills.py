"""Backfills: what was stored since a date is sent once more, beside what is new.

none --start--> running --the last event went out--> done
                   |  cancel --> cancelled; a new one may begin after either
"""

from datetime import datetime

import orjson

from mainstay import events
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.streams import queries as rows
from mainstay.streams import streams
from mainstay.streams.errors import BackfillRunning
from mainstay.streams.streams import BACKFILL

_OLDEST_YEAR, _NEWEST_YEAR = 1900, 2999
_ENDED = Actor(kind="rule", id="streams.backfill", name="Backfill")


async def start(tx: Tx, actor: Actor, company_id: str, stream_id: str, since: datetime) -> Record:
    """What was stored from then to now goes out again, each with its usual id. BackfillRunning, Invalid."""
    if since.tzinfo is None or not _OLDEST_YEAR <= since.year <= _NEWEST_YEAR:
        years = f"the years {_OLDEST_YEAR} to {_NEWEST_YEAR}"
        detail = f"must be a time of {years} with a zone such as 2026-01-02T03:04:05Z"
        raise Invalid(faults=[Fault(detail, "#/since")])
    row = await streams.get(tx, company_id, stream_id, lock=True)
    if row["backfill_state"] == "running":
        raise BackfillRunning
    stream_id = str(row["id"])
    chains = events.Following(tx, company_id)
    ends = {name: seq for name, (seq, _) in (await chains.heads()).items()}
    marks = {name: mark for name, mark in (await chains.marks_before(since)).items() if mark[0] < ends.get(name, 0)}
    await rows.forget_part(tx, company_id, stream_id, BACKFILL)
    await rows.place(tx, company_id, stream_id, BACKFILL, marks, ends)
    moment = await rows.now_everywhere(tx)
    values = {
        "backfill_state": "running",
        "backfill_since": since,
        "backfill_began_at": moment,
        "backfill_ended_at": None,
        "backfill_sent": 0,
        **_let_go(row),
    }
    begun = await rows.change_stream(tx, company_id, stream_id, values)
    await streams.tell(tx, actor, "stream.backfill_started", begun, since=since.isoformat())
    return begun


async def cancel(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> Record:
    """Nothing more of it goes out after the batch under way; where none runs nothing changes."""
    row = await streams.get(tx, company_id, stream_id, lock=True)
    if row["backfill_state"] != "running":
        return row
    return await _end(tx, actor, row, "cancelled")


def is_running(row: Record, before: Record) -> bool:
    """Whether the backfill that ran before runs still, and no other."""
    return bool(row["backfill_state"] == "running" and row["backfill_began_at"] == before["backfill_began_at"])


async def finish(tx: Tx, company_id: str, stream_id: str) -> None:
    """The backfill that ran has come to its end."""
    row = await rows.find_stream(tx, company_id, stream_id, lock=True)
    if row is not None and row["backfill_state"] == "running":
        await _end(tx, _ENDED, row, "done")


async def _end(tx: Tx, actor: Actor, row: Record, state: str) -> Record:
    values = {"backfill_state": state, "backfill_ended_at": await rows.now_everywhere(tx), **_let_go(row)}
    ended = await rows.change_stream(tx, str(row["company_id"]), str(row["id"]), values)
    name = "stream.backfill_finished" if state == "done" else "stream.backfill_cancelled"
    await streams.tell(tx, actor, name, ended, sent=ended["backfill_sent"])
    return ended


def _let_go(row: Record) -> dict[str, None]:
    """A refused event of the backfill before is none that the stream stands before: to skip it would move marks of
    another backfill."""
    is_of_backfill = row["blocked"] is not None and orjson.loads(row["blocked"])["part"] == BACKFILL
    return {"blocked": None} if is_of_backfill else {}
