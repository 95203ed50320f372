"""Announcements: facts written in the transaction that made them true, delivered to other rooms at least once.

announced --relay--> every reaction ran in one transaction --> row gone
    |  a reaction raises: its writes are undone, the row waits (1 s, doubling to 5 min) and is counted as stuck
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Database, Sql, Tx
from mainstay.kernel.logs import logger

_log = logger(__name__)
_BATCH = 100
_STUCK_AFTER = 5


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it: a person, an API key, a job, a rule or the operator."""

    kind: str
    id: str
    name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """One fact as a reaction sees it; `id` is the key under which an effect happens once."""

    id: str
    name: str
    company_id: str | None
    actor: Actor
    data: Mapping[str, Any]
    trace_id: str
    at: datetime


Reaction = Callable[[Tx, Announcement], Awaitable[None]]
"""Runs inside the relay's transaction; must bear being run again after a crash."""

Recorder = Callable[[Tx, Sequence[Announcement]], Awaitable[None]]
"""Takes every announcement of a round at once, as the last act of the relay's transaction."""

_INSERT = Sql(
    "outbox.announce",
    "insert into mainstay.announcements (id, name, company_id, actor, data, trace_id) values ($1, $2, $3, $4, $5, $6)",
)
_CLAIM = Sql(
    "outbox.claim",
    """select id, name, company_id, actor, data, trace_id, at, failures from mainstay.announcements
       where due_at <= mainstay.now() order by id limit $1 for update skip locked""",
)
_DONE = Sql("outbox.done", "delete from mainstay.announcements where id = any($1::uuid[])")
_FAILED = Sql(
    "outbox.failed",
    """update mainstay.announcements set failures = failures + 1, last_error = $2,
         due_at = mainstay.now() + least(interval '5 minutes', interval '1 second' * power(2, failures))
       where id = $1""",
)
_LAG = Sql(
    "outbox.lag",
    """select coalesce(extract(epoch from mainstay.now() - min(at)), 0)::float8 as lag_seconds,
              count(*) filter (where failures >= $1) as stuck from mainstay.announcements""",
)


async def announce(
    tx: Tx, name: str, *, company_id: str | None, actor: Actor, data: Mapping[str, Any], trace_id: str | None = None
) -> str:
    """The fact is recorded with the caller's transaction and will reach every reaction; its id."""
    identifier = ids.new_id()
    trace_id = trace_id or telemetry.current_trace().trace_id
    await tx.run(
        _INSERT,
        identifier,
        name,
        company_id,
        msgspec.json.encode(actor).decode(),
        orjson.dumps(data).decode(),
        trace_id,
    )
    return identifier


class Relay:
    """Takes announcements to the reactions that are listed for them, and all of them to one recorder."""

    def __init__(
        self, db: Database, reactions: Mapping[str, Sequence[Reaction]], record: Recorder | None = None
    ) -> None:
        self._db = db
        self._reactions = reactions
        self._record = record

    async def run_once(self) -> int:
        """Up to 100 due announcements have been reacted to, oldest first; how many were taken."""
        async with self._db.begin() as tx:
            taken = await tx.rows(_CLAIM, _BATCH)
            done = [fact for row in taken if (fact := await self._react(tx, row)) is not None]
            if done:
                done = await self._recorded(tx, done)
                await tx.run(_DONE, [fact.id for fact in done])
        lag = await self._db.row(_LAG, _STUCK_AFTER)
        if lag is not None:
            telemetry.ANNOUNCEMENT_LAG.set(max(lag["lag_seconds"], 0.0))
            telemetry.ANNOUNCEMENTS_STUCK.set(lag["stuck"])
        return len(taken)

    async def _recorded(self, tx: Tx, facts: list[Announcement]) -> list[Announcement]:
        """The facts that the recorder took: all at once, or one by one where one of them cannot be recorded."""
        if self._record is None:
            return facts
        try:
            async with tx.savepoint():
                await self._record(tx, facts)
        except Exception as error:
            if tx.connection.is_closed():
                raise
            if len(facts) > 1:
                return [fact for one in facts for fact in await self._recorded(tx, [one])]
            await self._put_off(tx, facts[0], error)
            return []
        return facts

    async def _put_off(self, tx: Tx, fact: Announcement, error: Exception) -> None:
        _log.error("reaction failed", announcement=fact.name, id=fact.id, exc_info=error)
        await tx.run(_FAILED, fact.id, f"{type(error).__name__}: {error}"[:2000])

    async def _react(self, tx: Tx, row: Any) -> Announcement | None:
        fact = Announcement(
            id=str(row["id"]),
            name=row["name"],
            company_id=None if row["company_id"] is None else str(row["company_id"]),
            actor=msgspec.json.decode(row["actor"], type=Actor),
            data=orjson.loads(row["data"]),
            trace_id=row["trace_id"],
            at=row["at"],
        )
        try:
            async with tx.savepoint():
                for reaction in self._reactions.get(fact.name, ()):
                    await reaction(tx, fact)
        except Exception as error:
            if tx.connection.is_closed():
                raise
            await self._put_off(tx, fact, error)
            return None
        return fact
