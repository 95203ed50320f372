"""Statements of erasures: requests, how far each workspace is, and which events lost which parts."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from mainstay.erasure.tables import COUNTS
from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_ADD = Sql(
    "erasure.add",
    """insert into mainstay.erasures
         (id, company_id, is_dry_run, reason, parts, subject_digest, subject_sealed, requested_by)
       values ($1, $2, $3, $4, $5, $6, $7, $8)""",
)
# Up to where: what is stored before the request. Who comes later is not meant.
_ADD_STEPS = Sql(
    "erasure.add_steps",
    """insert into mainstay.erasure_steps (erasure_id, workspace_id, company_id, last_seq, seq)
       select e.id, h.workspace_id, h.company_id, h.seq, coalesce(s.seq, 0)
         from mainstay.erasures e
         join mainstay.chain_heads h on h.company_id = e.company_id and h.seq > 0
         left join mainstay.chain_starts s on s.workspace_id = h.workspace_id
        where e.id = $1 and e.company_id = $2
       on conflict do nothing""",
)
_FIND = Sql("erasure.find", "select * from mainstay.erasures where company_id = $1 and id = $2")
_LOCK = Sql("erasure.lock", "select * from mainstay.erasures where company_id = $1 and id = $2 for update")
_LIST = Sql(
    "erasure.list",
    """select * from mainstay.erasures
        where company_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        order by id desc limit $3""",
)
_UNDER_WAY = Sql(
    "erasure.under_way",
    """select count(*) from mainstay.erasures
        where company_id = $1 and state in ('waiting', 'running', 'held', 'failed')""",
)
_START = Sql(
    "erasure.start",
    """update mainstay.erasures
          set state = 'running', started_at = coalesce(started_at, mainstay.now()), hold_id = null, failure = null
        where company_id = $1 and id = $2 and state <> 'completed'""",
)
_STATE = Sql(
    "erasure.set_state",
    """update mainstay.erasures set state = $3, hold_id = $4, failure = $5
        where company_id = $1 and id = $2 and state <> 'completed'""",
)
_COUNT = Sql(
    "erasure.count",
    f"""update mainstay.erasures
           set {", ".join(f"{name} = {name} + ${place}" for place, name in enumerate(COUNTS, 3))}
         where company_id = $1 and id = $2""",  # noqa: S608 - only columns' names
)
_COMPLETE = Sql(
    "erasure.complete",
    """update mainstay.erasures set state = 'completed', completed_at = mainstay.now(), subject_sealed = null,
         hold_id = null, failure = null
        where company_id = $1 and id = $2 and state <> 'completed' returning *""",
)
_PROGRESS = Sql(
    "erasure.progress",
    """select count(*) as workspaces, count(done_at) as done,
              coalesce(sum(seq), 0)::bigint as looked_at, coalesce(sum(last_seq), 0)::bigint as total
         from mainstay.erasure_steps where company_id = $1 and erasure_id = $2""",
)
_NEXT_STEP = Sql(
    "erasure.next_step",
    """select * from mainstay.erasure_steps where company_id = $1 and erasure_id = $2 and done_at is null
        order by workspace_id limit 1""",
)
_MOVE = Sql(
    "erasure.move_step",
    """update mainstay.erasure_steps set seq = $4
        where company_id = $1 and erasure_id = $2 and workspace_id = $3 and seq = $5""",
)
_REWRITING = Sql(
    "erasure.begin_day",
    """update mainstay.erasure_steps set rewriting = $4
        where company_id = $1 and erasure_id = $2 and workspace_id = $3""",
)
_DAY_DONE = Sql(
    "erasure.end_day",
    """update mainstay.erasure_steps set rewriting = null, day = $4
        where company_id = $1 and erasure_id = $2 and workspace_id = $3""",
)
_DONE = Sql(
    "erasure.end_step",
    """update mainstay.erasure_steps set done_at = mainstay.now()
        where company_id = $1 and erasure_id = $2 and workspace_id = $3""",
)
_ADD_EVENTS = Sql(
    "erasure.add_events",
    """insert into mainstay.erased_events (erasure_id, company_id, workspace_id, seq, id, parts)
       select $1, $2, $3, g.seq, g.id, string_to_array(g.parts, ',')
         from unnest($4::bigint[], $5::uuid[], $6::text[]) as g (seq, id, parts)
       on conflict do nothing""",
)
_OF_EVENT = Sql(
    "erasure.of_events",
    """select x.workspace_id, x.seq, x.id, x.parts, x.at, x.erasure_id from mainstay.erased_events x
        where x.company_id = $1 and x.erasure_id = $2
          and (x.workspace_id, x.seq) > ($3, $4) order by x.workspace_id, x.seq limit $5""",
)


async def add(tx: Tx, company_id: str, erasure_id: str, values: Sequence[Any]) -> None:
    """The request is on record, and so is where every workspace of it ends."""
    await tx.run(_ADD, erasure_id, company_id, *values)
    await tx.run(_ADD_STEPS, erasure_id, company_id)


async def find(connection: Connection, company_id: str, erasure_id: str) -> Record | None:
    """One erasure of the company."""
    return await connection.row(_FIND, company_id, erasure_id)


async def lock(tx: Tx, company_id: str, erasure_id: str) -> Record | None:
    """The same, which nobody else changes meanwhile."""
    return await tx.row(_LOCK, company_id, erasure_id)


async def list_some(connection: Connection, company_id: str, *, before: str | None, limit: int) -> list[Record]:
    """Erasures of the company, newest first."""
    return await connection.rows(_LIST, company_id, before, limit)


async def count_under_way(connection: Connection, company_id: str) -> int:
    """How many erasures of the company have not ended."""
    count: int = await connection.value(_UNDER_WAY, company_id)
    return count


async def start(tx: Tx, company_id: str, erasure_id: str) -> bool:
    """Whether the erasure runs now; not where it is completed."""
    return count_of(await tx.run(_START, company_id, erasure_id)) == 1


async def set_state(
    connection: Connection, company_id: str, erasure_id: str, state: str, *, hold_id: str | None = None,
    failure: str | None = None,
) -> None:  # fmt: skip
    """The erasure waits, is held by that hold, or failed."""
    text = None if failure is None else failure[:1000]
    await connection.run(_STATE, company_id, erasure_id, state, hold_id, text)


async def count(tx: Tx, company_id: str, erasure_id: str, counted: Mapping[str, int]) -> None:
    """What was found just now is added."""
    await tx.run(_COUNT, company_id, erasure_id, *(counted.get(name, 0) for name in COUNTS))


async def complete(tx: Tx, company_id: str, erasure_id: str) -> Record | None:
    """The erasure is completed and knows nobody any more; None where it was before."""
    return await tx.row(_COMPLETE, company_id, erasure_id)


async def progress_of(connection: Connection, company_id: str, erasure_id: str) -> Record:
    """Workspaces in all and done, events looked at and in all."""
    found = await connection.row(_PROGRESS, company_id, erasure_id)
    assert found is not None
    return found


async def next_step(connection: Connection, company_id: str, erasure_id: str) -> Record | None:
    """The workspace to go on with."""
    return await connection.row(_NEXT_STEP, company_id, erasure_id)


async def move(tx: Tx, company_id: str, erasure_id: str, workspace_id: str, *, before: int, seq: int) -> bool:
    """Whether the workspace's events were looked at up to that seq just now, by nobody else."""
    return count_of(await tx.run(_MOVE, company_id, erasure_id, workspace_id, seq, before)) == 1


async def begin_day(connection: Connection, company_id: str, erasure_id: str, workspace_id: str, day: date) -> None:
    """The object of that day is being rewritten."""
    await connection.run(_REWRITING, company_id, erasure_id, workspace_id, day)


async def end_day(tx: Tx, company_id: str, erasure_id: str, workspace_id: str, day: date) -> None:
    """The archived days of the workspace were looked at, from the newest back to that one."""
    await tx.run(_DAY_DONE, company_id, erasure_id, workspace_id, day)


async def end_step(tx: Tx, company_id: str, erasure_id: str, workspace_id: str) -> None:
    """Nothing is left to do in the workspace."""
    await tx.run(_DONE, company_id, erasure_id, workspace_id)


async def add_events(
    tx: Tx, company_id: str, erasure_id: str, workspace_id: str, found: Sequence[tuple[int, str, Sequence[str]]]
) -> int:
    """Which events lost which parts is on record, once each; how many are new."""
    if not found:
        return 0
    columns = [one[0] for one in found], [one[1] for one in found], [",".join(one[2]) for one in found]
    return count_of(await tx.run(_ADD_EVENTS, erasure_id, company_id, workspace_id, *columns))


async def events_of(
    connection: Connection, company_id: str, erasure_id: str, *, after: tuple[str, int], limit: int
) -> list[Record]:
    """The events that the erasure touched, by workspace and seq."""
    return await connection.rows(_OF_EVENT, company_id, erasure_id, *after, limit)
