"""Announcements: facts written in the transaction that made them true, delivered to other rooms at least once.

announced --relay--> every reaction ran in one transaction --> row gone
    |  a reaction raises: its writes are undone, the row waits (1 s, doubling to 5 min) and is counted as stuck
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Database, Sql, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger

_log = logger(__name__)
_BATCH = 100
_STUCK_AFTER = 5
_TELL_SECONDS, _TELL_SHARE = 1.0, 20


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

Forward = Callable[[Tx, Sequence[Announcement]], Awaitable[Mapping[str, Exception | None]]]
"""Hands facts on to the relay of another database: the ids of those, with what was in the way of each, or None."""

_INSERT = Sql(
    "outbox.announce",
    "insert into mainstay.announcements (id, name, company_id, actor, data, trace_id) values ($1, $2, $3, $4, $5, $6)",
)
_ACCEPT = Sql(
    "outbox.accept",
    """insert into mainstay.announcements (id, name, company_id, actor, data, trace_id, at)
       select g.id, g.name, g.company_id, g.actor::jsonb, g.data::jsonb, g.trace_id, g.at
       from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
         as g (id, name, company_id, actor, data, trace_id, at)
       on conflict do nothing""",
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


async def accept(db: Database, facts: Sequence[Announcement]) -> None:
    """Facts that were announced in another database wait here for this one's relay; those that wait already stay."""
    rows = [
        (
            fact.id,
            fact.name,
            fact.company_id,
            msgspec.json.encode(fact.actor).decode(),
            orjson.dumps(dict(fact.data)).decode(),
            fact.trace_id,
            fact.at,
        )
        for fact in facts
    ]
    await db.run(_ACCEPT, *(list(column) for column in zip(*rows, strict=True)))


class Relay:
    """Takes announcements to the reactions that are listed for them, and all of them to one recorder.

    What `forward` knows to belong elsewhere is handed on before.
    """

    def __init__(
        self,
        db: Database,
        reactions: Mapping[str, Sequence[Reaction]],
        record: Recorder | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._db = db
        self._reactions = reactions
        self._record = record
        self._forward = forward
        self._tell_at = float("-inf")

    async def run_once(self) -> int:
        """Up to 100 due announcements have been reacted to, oldest first; how many were taken."""
        async with self._db.begin() as tx:
            taken = await tx.rows(_CLAIM, _BATCH)
            ours, done = await self._handed_on(tx, [_fact_of(row) for row in taken])
            reacted = [fact for fact in ours if await self._react(tx, fact)]
            if reacted:
                done += [fact.id for fact in await self._recorded(tx, reacted)]
            if done:
                await tx.run(_DONE, done)
        if time.monotonic() >= self._tell_at:
            await self._tell()
        return len(taken)

    async def _tell(self) -> None:
        """The metrics tell what waits. Counting reads all of it, so it takes a twentieth of the time at most."""
        started = time.monotonic()
        lag = await self._db.row(_LAG, _STUCK_AFTER)
        if lag is not None:
            telemetry.ANNOUNCEMENT_LAG.set(max(lag["lag_seconds"], 0.0))
            telemetry.ANNOUNCEMENTS_STUCK.set(lag["stuck"])
        ended = time.monotonic()
        self._tell_at = ended + max(_TELL_SECONDS, _TELL_SHARE * (ended - started))

    async def _handed_on(self, tx: Tx, facts: list[Announcement]) -> tuple[list[Announcement], list[str]]:
        """The facts that are this relay's own, and the ids of those that another one has now."""
        if self._forward is None or not facts:
            return facts, []
        elsewhere = await self._forward(tx, facts)
        for fact in facts:
            error = elsewhere.get(fact.id)
            if error is not None:
                await self._put_off(tx, fact, error)
        return [fact for fact in facts if fact.id not in elsewhere], [
            identifier for identifier, error in elsewhere.items() if error is None
        ]

    async def _recorded(self, tx: Tx, facts: list[Announcement]) -> list[Announcement]:
        """The facts that the recorder took: all at once, or one by one where one of them cannot be recorded."""
        if self._record is None:
            return facts
        try:
            async with tx.savepoint():
                await self._record(tx, facts)
        except Exception as error:
            if tx.connection.is_closed() or isinstance(error, Unavailable):
                raise
            if len(facts) > 1:
                return [fact for one in facts for fact in await self._recorded(tx, [one])]
            await self._put_off(tx, facts[0], error)
            return []
        return facts

    async def _put_off(self, tx: Tx, fact: Announcement, error: Exception) -> None:
        if isinstance(error, Unavailable):
            _log.warning("an announcement waits for its database", announcement=fact.name, id=fact.id)
        else:
            _log.error("reaction failed", announcement=fact.name, id=fact.id, exc_info=error)
        await tx.run(_FAILED, fact.id, f"{type(error).__name__}: {error}"[:2000])

    async def _react(self, tx: Tx, fact: Announcement) -> bool:
        """Whether every reaction to the fact ran."""
        reactions = self._reactions.get(fact.name, ())
        if not reactions:
            return True
        try:
            async with tx.savepoint():
                for reaction in reactions:
                    await reaction(tx, fact)
        except Exception as error:
            if tx.connection.is_closed():
                raise
            await self._put_off(tx, fact, error)
            return False
        return True


def _fact_of(row: Any) -> Announcement:
    return Announcement(
        id=str(row["id"]),
        name=row["name"],
        company_id=None if row["company_id"] is None else str(row["company_id"]),
        actor=msgspec.json.decode(row["actor"], type=Actor),
        data=orjson.loads(row["data"]),
        trace_id=row["trace_id"],
        at=row["at"],
    )
