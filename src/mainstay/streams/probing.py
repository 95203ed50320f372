"""Probes: one event that says it is a test goes to the destination, and what came of it stands beside the stream."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from mainstay import jobs
from mainstay.kernel import ids
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job
from mainstay.streams import forms, streams
from mainstay.streams import queries as rows
from mainstay.streams.forms import Batch
from mainstay.streams.pumping import QUEUE, Pump

KIND: Final = "streams.probe"
ACTION: Final = "stream.probe"


async def start(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> Record:
    """A worker sends the test event as soon as it can, whatever the state of the stream; `probe` tells of it."""
    row = await streams.get(tx, company_id, stream_id, lock=True)
    stream_id = str(row["id"])
    await jobs.enqueue(
        tx, KIND, stream_id, queue=QUEUE, lane=f"probe:{stream_id}", company_id=company_id, dedupe_key=stream_id,
        attempts=3,
    )  # fmt: skip
    waiting = _told("waiting", "", 0)
    probed = await rows.change_stream(tx, company_id, stream_id, {"probe": waiting})
    await streams.tell(tx, actor, "stream.probed", probed)
    return probed


async def run(db: Database, pump: Pump, job: Job) -> None:
    """The test event went out, and what came of it is written down; the stream's own standing stays as it is."""
    company_id, stream_id = str(job.company_id), str(job.payload)
    row = await rows.find_stream(db, company_id, stream_id)
    if row is None:
        return
    began = time.monotonic()
    outcome = await pump.deliver(pump.sender(row), Batch(stream_id, [forms.render(_event(row), row["form"])]))
    told = _told("ok" if outcome.ok else "failed", outcome.reason, round((time.monotonic() - began) * 1_000))
    async with db.begin() as tx:
        await jobs.confirm(tx, job)
        if await rows.find_stream(tx, company_id, stream_id, lock=True) is not None:
            await rows.change_stream(tx, company_id, stream_id, {"probe": told})


def _told(state: str, detail: str, took_ms: int) -> str:
    found = {"state": state, "detail": detail, "tookMs": took_ms, "at": iso(datetime.now(UTC))}
    return orjson.dumps(found).decode()


def _event(row: Record) -> dict[str, Any]:
    """An event of no chain: its seq is 0, and its id is new each time."""
    now = datetime.now(UTC)
    return {
        "id": ids.new_id(),
        "company_id": row["company_id"],
        "workspace_id": "00000000-0000-0000-0000-000000000000",
        "data_region": "US",
        "action": ACTION,
        "category": "probe",
        "actor_id": "mainstay",
        "actor_name": "Mainstay",
        "target_id": str(row["id"]),
        "target_type": "stream",
        "payload": '{"test":true}',
        "occurred_at": now,
        "received_at": now,
        "seq": 0,
        "prev_hash": bytes(32),
        "hash": bytes(32),
        "trace_id": "0" * 32,
        "archived": False,
        "archival_candidate": False,
        **dict.fromkeys(("project_id", "actor_email", "metadata", "changes")),
    }
