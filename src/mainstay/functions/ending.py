"""How runs end: whom that wakes, whose places it frees, and what is told of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from mainstay.functions.errors import EventRefused, EventTooLarge
from mainstay.functions.limits import Limits, release_places
from mainstay.functions.queries import runs as rows
from mainstay.functions.queries import steps as step_rows
from mainstay.functions.registry import FAILED, FINISHED, Registry
from mainstay.functions.sending import send
from mainstay.kernel import outbox, telemetry
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.outbox import Actor

ACTOR = Actor(kind="system", id="functions", name="Functions")


class Ended(NamedTuple):
    """A run that has ended, with what others want to know of it."""

    run_id: str
    function_id: str
    state: str
    event: Mapping[str, Any]
    company_id: str | None
    output: str | None = None
    error: str | None = None


async def cancel_runs(tx: Tx, run_ids: Sequence[str], reason: str) -> list[str]:
    """Those of the runs that had not ended are cancelled with the commit: no step of theirs begins any more."""
    cancelled = await rows.cancel_runs_everywhere(tx, run_ids, reason)
    if not cancelled:
        return []
    ids = [str(row["id"]) for row in cancelled]
    limits = {str(row["id"]): found for row in cancelled if (found := Limits.parse(row["limits"])) is not None}
    if limits:
        await release_places(tx, limits)
    await step_rows.cancel_waits_everywhere(tx, ids)
    for row in cancelled:
        await _tell_parent(tx, row, "failed", None, '{"name":"Cancelled","message":"the invoked run was cancelled"}')
        telemetry.FUNCTION_RUNS.labels(row["function_id"], "cancelled").inc()
    await rows.end_jobs_everywhere(tx, ids)
    return ids


async def tell(tx: Tx, registry: Registry, ended: Sequence[tuple[Ended, Record]]) -> None:
    """Who invoked these runs goes on, failures are announced and sent as events, ends are where they start something.

    Each comes with the row that its end gave back.
    """
    for one, row in ended:
        telemetry.FUNCTION_RUNS.labels(one.function_id, one.state).inc()
        state = "done" if one.state == "completed" else "failed"
        await _tell_parent(tx, row, state, one.output, one.error)
        if one.state == "failed":
            await _announce_failure(tx, one)
        # What listens to failures and fails itself is not told of it: it would go on for ever.
        if one.state == "failed" and one.event.get("name") != FAILED:
            await _send(tx, FAILED, one)
        if registry.started_by(FINISHED) and one.event.get("name") != FINISHED:
            await _send(tx, FINISHED, one)


async def _tell_parent(tx: Tx, row: Record, state: str, output: str | None, error: str | None) -> None:
    if row["parent_id"] is not None:
        parent = str(row["parent_id"])
        if await step_rows.end_wait_everywhere(tx, parent, row["parent_step"], state, output, error):
            await rows.hasten_runs_everywhere(tx, [parent])


async def _announce_failure(tx: Tx, one: Ended) -> None:
    error = orjson.loads(one.error or "{}")
    await outbox.announce(
        tx,
        "function_run.failed",
        company_id=one.company_id,
        actor=ACTOR,
        data={"runId": one.run_id, "functionId": one.function_id, "error": error.get("message", "")[:500]},
    )


async def _send(tx: Tx, name: str, one: Ended) -> None:
    """How a run ended, as an event with Inngest's members; without its event where that cannot be sent again."""
    data: dict[str, Any] = {"function_id": one.function_id, "run_id": one.run_id, "event": one.event}
    if one.error is not None:
        data["error"] = orjson.loads(one.error)
    if name == FINISHED and one.output is not None and len(one.output) < 100_000:
        data["result"] = orjson.loads(one.output)
    try:
        await send(tx, [{"name": name, "data": data}], company_id=one.company_id)
    except (EventTooLarge, EventRefused):
        data = {key: value for key, value in data.items() if key != "event"}
        await send(tx, [{"name": name, "data": data}], company_id=one.company_id)
