"""What operators see of functions and their runs, and what they do: cancel a run, run one again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import orjson

from mainstay import jobs
from mainstay.functions.declaring import Event, Function
from mainstay.functions.ending import cancel_runs
from mainstay.functions.errors import RunEnded, RunNotFound
from mainstay.functions.queries import operating as rows
from mainstay.functions.queries import runs as run_rows
from mainstay.functions.registry import Registry
from mainstay.functions.starting import RUN_ATTEMPTS, RUN_KIND
from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor

RunState = Literal["queued", "running", "waiting", "completed", "failed", "cancelled", "skipped"]
RUN_STATES: Final[tuple[RunState, ...]] = (
    "queued", "running", "waiting", "completed", "failed", "cancelled", "skipped",
)  # fmt: skip
_OPEN: Final = ("queued", "running", "waiting")
_KEPT: Final = ("open", "completed", "failed", "cancelled", "skipped")
COUNT_BOUND = 10_000


class ListedFunction(NamedTuple):
    """A function as it is declared, and how many of its runs are in each state; `COUNT_BOUND` is a floor."""

    id: str
    group: str
    triggers: Sequence[str]
    attempts: int
    controls: Mapping[str, str]
    runs: Mapping[str, int]


class RunCounts(NamedTuple):
    """How many runs of a function are in each state of their rows; `COUNT_BOUND` is a floor."""

    function_id: str
    group: str
    runs: Mapping[str, int]


class ListedRun(NamedTuple):
    """A run in a list."""

    id: str
    function_id: str
    state: RunState
    event_name: str
    company_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    error: Mapping[str, Any] | None
    job_id: int | None
    rerun_of: str | None


class StepShown(NamedTuple):
    """A step in the timeline of its run."""

    id: str
    kind: str
    state: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    wake_at: datetime | None
    event_name: str | None
    output: Any
    error: Mapping[str, Any] | None


class RunShown(NamedTuple):
    """A run with what it was given, what it gave, and its steps in the order in which they began."""

    run: ListedRun
    events: Sequence[Mapping[str, Any]]
    output: Any
    parent_id: str | None
    steps: Sequence[StepShown]


async def list_functions(db: Connection, registry: Registry) -> list[ListedFunction]:
    """Every function that this process knows, by group and id, with its runs by state."""
    known = sorted(registry, key=lambda one: (one.group, one.id))
    counts = await _counts_of(db, [one.id for one in known])
    return [
        ListedFunction(one.id, one.group, _triggers_of(one), one.attempts, _controls_of(one), counts.get(one.id, {}))
        for one in known
    ]


async def count_runs(db: Connection) -> list[RunCounts]:
    """Every function that has runs, known to this process or not, by id."""
    found = await _counts_of(db, await rows.functions_with_runs_everywhere(db))
    return [RunCounts(one, one.partition(".")[0], found[one]) for one in sorted(found)]


async def list_runs(
    db: Connection,
    *,
    function_id: str | None = None,
    state: RunState | None = None,
    before_id: str | None = None,
    limit: int = 50,
) -> list[ListedRun]:
    """Runs, newest first, at most 1,000: of a function, in a state, with ids below the given one."""
    states = _KEPT if state is None else ("open",) if state in _OPEN else (state,)
    shown = state if state in _OPEN else None
    found = await rows.list_runs_everywhere(db, states, before_id, min(max(limit, 1), 1_000), shown, function_id)
    return [_listed(row) for row in found]


async def get_run(db: Connection, run_id: str) -> RunShown:
    """The run with its timeline; RunNotFound."""
    row = await rows.get_run_everywhere(db, run_id) if ids.is_uuid(run_id) else None
    if row is None:
        raise RunNotFound
    steps = [
        StepShown(
            one["step_id"], one["kind"], one["state"], one["attempt"], one["started_at"], one["ended_at"],
            one["wake_at"], one["event_name"], _json(one["output"]), _json(one["error"]),
        )
        for one in await rows.steps_of_run_everywhere(db, run_id)
    ]  # fmt: skip
    parent = None if row["parent_id"] is None else str(row["parent_id"])
    return RunShown(_listed(row), orjson.loads(row["input"]), _json(row["output"]), parent, steps)


async def cancel_run(tx: Tx, actor: Actor, run_id: str) -> None:
    """No step of the run begins any more; RunNotFound, RunEnded. Announced as `function_run.cancelled`."""
    if not ids.is_uuid(run_id) or not await cancel_runs(tx, [run_id], f"cancelled by {actor.name or actor.id}"):
        await get_run(tx, run_id)
        raise RunEnded
    await _announce(tx, actor, "function_run.cancelled", (await get_run(tx, run_id)).run)


async def rerun(tx: Tx, actor: Actor, run_id: str) -> str:
    """A new run of the same function with the same events is in line, from its first step; its id. RunNotFound.

    Announced as `function_run.rerun`.
    """
    shown = await get_run(tx, run_id)
    row = await rows.get_run_everywhere(tx, run_id)
    assert row is not None
    new_id, function_id, company_id = ids.new_id(), row["function_id"], shown.run.company_id
    job = await jobs.enqueue(
        tx,
        RUN_KIND,
        {"run": new_id, "function": function_id},
        queue=jobs.WORKFLOW,
        lane=company_id or function_id,
        company_id=company_id,
        attempts=RUN_ATTEMPTS,
    )
    await run_rows.insert_runs_everywhere(
        tx,
        [
            (
                new_id, job.id, company_id, row["event_id"], run_id, None, None, function_id, row["event_name"],
                row["input"], row["limits"], "open", None,
            )
        ],
    )  # fmt: skip
    await _announce(tx, actor, "function_run.rerun", shown.run, {"newRunId": new_id})
    return new_id


async def _announce(tx: Tx, actor: Actor, name: str, run: ListedRun, more: Mapping[str, str] | None = None) -> None:
    data = {"runId": run.id, "functionId": run.function_id, **(more or {})}
    await outbox.announce(tx, name, company_id=run.company_id, actor=actor, data=data)


async def _counts_of(db: Connection, function_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row in await rows.figures_everywhere(db, function_ids, _KEPT, COUNT_BOUND):
        counts.setdefault(row["function_id"], {})[row["state"]] = row["runs"]
    return counts


def _listed(row: Record) -> ListedRun:
    return ListedRun(
        str(row["id"]), row["function_id"], row["state"], row["event_name"], _text(row["company_id"]),
        row["created_at"], row["started_at"], row["ended_at"], row["reason"], _json(row["error"]), row["job_id"],
        _text(row["rerun_of"]),
    )  # fmt: skip


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _triggers_of(function: Function) -> list[str]:
    return [
        f"event {one.name}" + (f" if {one.if_}" if isinstance(one.if_, str) else " if …" if one.if_ else "")
        if isinstance(one, Event)
        else f"cron {one.text}"
        for one in function.triggers
    ]


def _controls_of(function: Function) -> dict[str, str]:
    """What steers its runs, in words."""
    given: dict[str, Any] = {
        "idempotency": function.idempotency,
        "concurrency": [*function.concurrency],
        "throttle": function.throttle,
        "rateLimit": function.rate_limit,
        "debounce": function.debounce,
        "batch": function.batch,
        "cancelOn": [*function.cancel_on],
    }
    return {name: _in_words(one) for name, one in given.items() if one}


def _in_words(given: Any) -> str:
    several = given if isinstance(given, list) else [given]
    return "; ".join(one if isinstance(one, str) else _fields_of(one) for one in several)


def _fields_of(one: Any) -> str:
    if callable(one):
        return "by code"
    named = {name: getattr(one, name) for name in one.__slots__}
    return ", ".join(
        f"{name.rstrip('_')} {'by code' if callable(value) else value}"
        for name, value in named.items()
        if value is not None
    )
