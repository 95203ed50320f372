"""Events that wait for one another before a run starts: the last of a burst (debounce), or many together (batch)."""

from datetime import timedelta
from typing import Any

import orjson

from mainstay import jobs
from mainstay.functions.declaring import Function, Received, key_of
from mainstay.functions.queries import limits as rows
from mainstay.functions.registry import Registry
from mainstay.functions.starting import Start, body_of, received, start
from mainstay.kernel import ids
from mainstay.kernel.db import Tx
from mainstay.kernel.work import Job, Outcome, Snooze

GATHER_KIND = "functions.gather"
UNKNOWN_AFTER = timedelta(seconds=30)
_MOST_BYTES = 1_000_000
_MOST_OVERDUE = 1_000


async def gather(tx: Tx, function: Function, event: Received) -> None:
    """The event waits with the others of its key; the run starts when its time has come or the batch is full."""
    debounce, batch = function.debounce, function.batch
    assert debounce is not None or batch is not None
    body = orjson.dumps(body_of(event)).decode()
    new_id = ids.new_id()
    if debounce is not None:
        key = of_company(key_of(debounce.key, event), event)
        row = await rows.debounce_everywhere(
            tx, function.id, key, new_id, event.company_id, body, debounce.period, debounce.timeout
        )
        delay = debounce.period
    else:
        assert batch is not None
        key = of_company(key_of(batch.key, event), event)
        row = await rows.batch_everywhere(tx, function.id, key, new_id, event.company_id, body, batch.timeout)
        if row["count"] >= batch.max_size or row["bytes"] > _MOST_BYTES:
            await _start_gathered(tx, function, key, str(row["id"]))
            return
        delay = batch.timeout
    if str(row["id"]) == new_id:
        await _start_later(tx, function, key, new_id, event.company_id, delay)


async def start_due(tx: Tx, registry: Registry, job: Job) -> Outcome:
    """The run of what was gathered has started, or waits on because more has come since."""
    function = registry.find(job.payload["function"])
    if function is None:
        return Snooze(UNKNOWN_AFTER, "this process does not know the function")
    key, gather_id = job.payload["key"], job.payload["id"]
    found = await rows.find_gather_everywhere(tx, job.payload["function"], key, gather_id)
    if found is None:
        return None
    if found["wait"] > timedelta(0):
        return Snooze(found["wait"], "more events have come")
    await _start_gathered(tx, function, key, gather_id)
    return None


async def start_overdue(tx: Tx, registry: Registry) -> None:
    """What was gathered and lost its job, cancelled or dead, has one again, and so starts."""
    for row in await rows.overdue_gathers_everywhere(tx, [one.id for one in registry], _MOST_OVERDUE):
        function = registry.get(row["function_id"])
        company_id = None if row["company_id"] is None else str(row["company_id"])
        await _start_later(tx, function, row["gather_key"], str(row["id"]), company_id, timedelta(0))


async def _start_gathered(tx: Tx, function: Function, key: str, gather_id: str) -> None:
    events = await rows.end_gather_everywhere(tx, function.id, key, gather_id)
    if events:
        await start(tx, [Start(function=function, events=[received(orjson.loads(event)) for event in events])])


async def _start_later(
    tx: Tx, function: Function, key: str, gather_id: str, company_id: str | None, delay: timedelta
) -> None:
    payload: dict[str, Any] = {"function": function.id, "key": key, "id": gather_id}
    await jobs.enqueue(tx, GATHER_KIND, payload, queue=jobs.FUNCTIONS, company_id=company_id, delay=delay)


def of_company(key: str, event: Received) -> str:
    """The key among those of the event's company: what one company sends says nothing of another's."""
    return key if event.company_id is None else f"{event.company_id}/{key}"
