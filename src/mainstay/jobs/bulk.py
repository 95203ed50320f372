"""Acts on many jobs by a filter: counted first, done at once where they are few, else by a job in steps.

asked --10,000 or fewer--> done (in the transaction that asked)
  \\--more--> waiting --job begins--> running --nothing left--> done
                 \\                      |  \\--its job died--> failed (redriving that job goes on where it stood)
                  \\-----cancelled-------+--> cancelled

Each step is one transaction of up to 1,000 jobs that holds only while its job's claim does: a crash repeats none.
Jobs that came, died or were started after it was asked for are left alone.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast, get_args

import msgspec
import orjson

from mainstay.jobs.dead import MOST_AT_ONCE, Match
from mainstay.jobs.enqueueing import enqueue
from mainstay.jobs.errors import BulkActNotFound, BulkActOver, QueueNotFound
from mainstay.jobs.leases import confirm
from mainstay.jobs.queries import bulk as rows
from mainstay.jobs.queries import planning
from mainstay.jobs.queries import queues as queue_rows
from mainstay.jobs.queues import UPKEEP
from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job, Outcome, Snooze

Act = Literal["redrive", "clear", "cancel", "promote"]
ACTS: Final[tuple[Act, ...]] = get_args(Act)
KIND: Final = "jobs.bulk"
COUNTED_TO: Final = 100_000
ATTEMPTS: Final = 20
KEPT: Final = timedelta(days=30)
LISTED: Final = 100
_STEP: Final = 1_000
_TURN_SECONDS: Final = 30.0
_SET: Final = ("redrive", "clear")
"""What acts on the set of failed jobs; the others act on jobs that have not begun."""
_STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "cancel": ("delayed", "retrying", "parked", "waiting"),
    "promote": ("delayed", "retrying"),
}
"""In this order: a job whose time comes meanwhile joins the end of the line, which is walked last."""
_ANNOUNCED: Final = {
    "redrive": "jobs.redriven",
    "clear": "jobs.cleared",
    "cancel": "jobs.cancelled",
    "promote": "jobs.promoted",
}


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs match; a floor where counting ended early."""

    matched: int
    is_floor: bool


async def count(tx: Tx, act: Act, match: Match) -> Count:
    """How many jobs the act would reach now; nothing is written. Exact to 100,000. QueueNotFound, Invalid."""
    _check(act, match)
    if not await queue_rows.queue_exists_everywhere(tx, match.queue):
        raise QueueNotFound(f"There is no queue {match.queue!r}.")
    return await _count(tx, act, match)


async def begin(tx: Tx, actor: Actor, act: Act, match: Match) -> dict[str, Any]:
    """The act is done when the caller commits, where it means 10,000 jobs or fewer; else a job will do it. What it is.

    Announced as `jobs.redriven`, `jobs.cleared`, `jobs.cancelled` or `jobs.promoted` with its state, where it begins
    and where it ends. QueueNotFound, Invalid.
    """
    found = await count(tx, act, match)
    act_id = ids.new_id()
    row = await rows.add_act_everywhere(
        tx,
        act_id,
        act,
        match.queue,
        orjson.dumps(_kept(match)).decode(),
        msgspec.json.encode(actor).decode(),
        "waiting",
        found.matched,
        found.is_floor,
    )
    del row
    if found.matched <= MOST_AT_ONCE:
        while not await _step(tx, act_id, MOST_AT_ONCE):
            pass
        return await get(tx, act_id)
    job = await enqueue(tx, KIND, act_id, queue=UPKEEP, lane=KIND, attempts=ATTEMPTS, dedupe_key=act_id)
    await rows.name_job_everywhere(tx, act_id, job.id)
    shown = await get(tx, act_id)
    await _announce(tx, actor, shown)
    return shown


async def get(db: Connection, act_id: str) -> dict[str, Any]:
    """The act as it stands; BulkActNotFound. Kept for 30 days after its end."""
    row = await rows.find_act_everywhere(db, act_id) if ids.is_uuid(act_id) else None
    if row is None:
        raise BulkActNotFound
    return _shown(row)


async def read(db: Connection) -> list[dict[str, Any]]:
    """The newest hundred acts."""
    return [_shown(row) for row in await rows.list_acts_everywhere(db, LISTED)]


async def cancel(tx: Tx, actor: Actor, act_id: str) -> dict[str, Any]:
    """The act goes no further; what it has done stays. BulkActNotFound; BulkActOver where it had ended."""
    await get(tx, act_id)
    row = await rows.end_act_everywhere(tx, act_id, "cancelled")
    if row is None:
        raise BulkActOver
    shown = _shown(row)
    await _announce(tx, actor, shown)
    return shown


async def work(db: Database, job: Job) -> Outcome:
    """The job's act goes on from where it stands, for up to half a minute a turn."""
    until = time.monotonic() + _TURN_SECONDS
    while True:
        async with planning.begin_by_line(db) as tx:
            await confirm(tx, job)
            if await _step(tx, job.payload, _STEP):
                return None
        if time.monotonic() >= until:
            return Snooze(timedelta(0))


async def _count(tx: Tx, act: Act, match: Match) -> Count:
    if act in _SET:
        found = await rows.count_dead_everywhere(tx, match.values, COUNTED_TO + 1)
    else:
        found = await rows.count_everywhere(tx, match.unfinished, _STATES[act], COUNTED_TO + 1)
    return Count(min(found, COUNTED_TO), is_floor=found > COUNTED_TO)


async def _step(tx: Tx, act_id: str, most: int) -> bool:
    """Whether the act is over: up to `most` jobs more are done, and how far it came is kept with them."""
    row = await rows.lock_act_everywhere(tx, act_id)
    if row is None or row["finished_at"] is not None:
        return True
    match, position = _match_of(row), None if row["position"] is None else orjson.loads(row["position"])
    step = _dead_step if row["act"] in _SET else _unfinished_step
    done, following = await step(tx, row, match, position, most)
    await rows.move_act_everywhere(tx, act_id, done, None if following is None else orjson.dumps(following).decode())
    if following is not None:
        return False
    ended = await rows.end_act_everywhere(tx, act_id, "done")
    assert ended is not None
    await _announce(tx, msgspec.convert(orjson.loads(row["asked_by"]), Actor), _shown(ended))
    return True


async def _dead_step(
    tx: Tx, row: Record, match: Match, position: Mapping[str, Any] | None, most: int
) -> tuple[int, dict[str, Any] | None]:
    # What dies after it was asked for, a redriven job among it, is not meant.
    until = row["created_at"] + timedelta(microseconds=1)
    match = replace(match, until=until if match.until is None else min(match.until, until))
    after = (datetime.min, 0) if position is None else (datetime.fromisoformat(position["diedAt"]), position["id"])
    if position is None:
        after = (match.since or row["created_at"] - timedelta(days=365), 0)
    found = await rows.step_dead_everywhere(tx, row["act"], match.values, after, most)
    if found["picked"] < most:
        return found["done"], None
    return found["done"], {"diedAt": found["last_at"].isoformat(), "id": found["last_id"]}


async def _unfinished_step(
    tx: Tx, row: Record, match: Match, position: Mapping[str, Any] | None, most: int
) -> tuple[int, dict[str, Any] | None]:
    """Its states are walked one after another, and again until a whole round has found none: jobs change states."""
    states = _STATES[row["act"]]
    at = position or {"state": 0, "kind": "", "place": 0, "found": 0}
    index, after = int(at["state"]), (str(at["kind"]), int(at["place"]))
    found = await rows.step_everywhere(tx, row["act"], states[index], match.unfinished, after, row["created_at"], most)
    seen = int(at["found"]) + found["picked"]
    if found["picked"] == most:
        return found["done"], {"state": index, "kind": found["last_kind"], "place": found["last"], "found": seen}
    if index + 1 < len(states):
        return found["done"], {"state": index + 1, "kind": "", "place": 0, "found": seen}
    return found["done"], {"state": 0, "kind": "", "place": 0, "found": 0} if seen else None


def _check(act: Act, match: Match) -> None:
    if act not in _SET:
        given = (("error", match.error), ("diedSince", match.since), ("diedUntil", match.until))
        faults = [Fault("speaks of dead jobs alone", f"#/filter/{name}") for name, value in given if value is not None]
        if faults:
            raise Invalid(faults=faults)


def _kept(match: Match) -> dict[str, Any]:
    given = {
        "kind": match.kind,
        "lane": match.lane,
        "companyId": match.company_id,
        "error": match.error,
        "diedSince": None if match.since is None else iso(match.since),
        "diedUntil": None if match.until is None else iso(match.until),
    }
    return {name: value for name, value in given.items() if value is not None}


def _match_of(row: Record) -> Match:
    kept = orjson.loads(row["filter"])
    since, until = (kept.get(name) for name in ("diedSince", "diedUntil"))
    return Match(
        row["queue"],
        kept.get("kind"),
        kept.get("lane"),
        kept.get("companyId"),
        kept.get("error"),
        None if since is None else datetime.fromisoformat(since),
        None if until is None else datetime.fromisoformat(until),
    )


def _shown(row: Record) -> dict[str, Any]:
    died = row.get("died")

    def moment(name: str) -> str | None:
        return None if row[name] is None else iso(row[name])

    return {
        "id": str(row["id"]),
        "act": cast(Act, row["act"]),
        "queue": row["queue"],
        "filter": orjson.loads(row["filter"]),
        "askedBy": orjson.loads(row["asked_by"]),
        "state": "failed" if died is not None else row["state"],
        "counted": row["counted"],
        "isFloor": row["is_floor"],
        "done": row["done"],
        "createdAt": iso(row["created_at"]),
        "startedAt": moment("started_at"),
        "finishedAt": moment("finished_at"),
        "error": died if died is not None else row["error"],
    }


async def _announce(tx: Tx, actor: Actor, shown: Mapping[str, Any]) -> None:
    told = ("queue", "filter", "state", "counted", "isFloor", "done")
    data = {"bulkActId": shown["id"], **{name: shown[name] for name in told}}
    await outbox.announce(tx, _ANNOUNCED[shown["act"]], company_id=None, actor=actor, data=data)
