"""Partitions by time: made ahead of need, dropped when their keeping is over.

A table is partitioned by a `timestamptz` column, or by a UUIDv7 column whose value holds the time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from mainstay.kernel import ids
from mainstay.kernel.db import Sql, Tx

_LOCK_TIMEOUT = "set local lock_timeout = '2s'"
_ADVISORY_KEY = 0x6D61696E_00000001


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table cut by time: width of a partition, how many to keep ready, how long rows are kept (None: for ever)."""

    table: str
    key: Literal["time", "uuid7"]
    width: Literal["week", "month"]
    ahead: int
    keep: timedelta | None = None


_EXISTING = Sql(
    "partitions.existing",
    """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
       join pg_namespace n on n.oid = p.relnamespace where n.nspname = 'mainstay' and p.relname = $1 order by 1""",
)
_NOW = Sql("partitions.now", "select mainstay.now()")


def bounds(width: Literal["week", "month"], moment: datetime) -> tuple[datetime, datetime]:
    """The start and end of the partition that holds a moment (weeks begin on Monday), in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if width == "week":
        start = day - timedelta(days=day.weekday())
        return start, start + timedelta(days=7)
    start = day.replace(day=1)
    return start, (start + timedelta(days=32)).replace(day=1)


def name_of(spec: Partitioned, start: datetime) -> str:
    """The name of the partition that begins then: `events_p20261101`."""
    return f"{spec.table}_p{start:%Y%m%d}"


def start_of(spec: Partitioned, name: str) -> datetime:
    """The moment at which the partition of that name begins."""
    return datetime.strptime(name.removeprefix(f"{spec.table}_p"), "%Y%m%d").replace(tzinfo=UTC)


async def ensure(tx: Tx, specs: list[Partitioned], *, behind: int = 1) -> list[str]:
    """The partitions of now, `behind` before and each table's `ahead` after exist; the names of those made.

    Takes SHARE UPDATE EXCLUSIVE on the parent, so readers and writers go on; gives up after 2 s of waiting.
    """
    await tx.connection.execute(_LOCK_TIMEOUT)
    await tx.connection.execute(f"select pg_advisory_xact_lock({_ADVISORY_KEY})")
    now: datetime = await tx.value(_NOW)
    made = []
    for spec in specs:
        existing = {row[0] for row in await tx.rows(_EXISTING, spec.table)}
        start, _ = bounds(spec.width, now)
        for _ in range(behind):
            start, _ = bounds(spec.width, start - timedelta(days=1))
        for _ in range(behind + 1 + spec.ahead):
            start, end = bounds(spec.width, start)
            name = name_of(spec, start)
            if name not in existing:
                await _create(tx, spec, name, start, end)
                made.append(name)
            start = end
    return made


async def _create(tx: Tx, spec: Partitioned, name: str, start: datetime, end: datetime) -> None:
    low, high = (f"'{ids.lowest_id(m)}'" if spec.key == "uuid7" else f"'{m.isoformat()}'" for m in (start, end))
    await tx.connection.execute(f"create table mainstay.{name} (like mainstay.{spec.table} including all)")
    await tx.connection.execute(
        f"alter table mainstay.{spec.table} attach partition mainstay.{name} for values from ({low}) to ({high})"
    )


async def drop_expired(tx: Tx, spec: Partitioned) -> list[str]:
    """Partitions whose youngest possible row is older than the keeping are gone; their names. Locks parent and part."""
    if spec.keep is None:
        return []
    await tx.connection.execute(_LOCK_TIMEOUT)
    now: datetime = await tx.value(_NOW)
    dropped = []
    for row in await tx.rows(_EXISTING, spec.table):
        name = row[0]
        _, end = bounds(spec.width, start_of(spec, name))
        if end < now - spec.keep:
            await tx.connection.execute(f"drop table mainstay.{name}")
            dropped.append(name)
    return dropped


async def runway(tx: Tx, spec: Partitioned) -> timedelta:
    """How long from now until rows of this table have no partition to go to."""
    now: datetime = await tx.value(_NOW)
    ends = [bounds(spec.width, start_of(spec, row[0]))[1] for row in await tx.rows(_EXISTING, spec.table)]
    return max(ends, default=now) - now
