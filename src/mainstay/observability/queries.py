"""Statements about the figures of a database as a whole."""

from mainstay.kernel.db import Connection, Record, Sql

_TAKE = Sql(
    "observability.take_figures",
    """insert into mainstay.system_figures as f (id, taken_at, figures)
       values (1, mainstay.now(),
               mainstay.read_system_figures()
               || jsonb_build_object('database', jsonb_build_object('latencyMs', round($1::float8::numeric, 2))))
       on conflict (id) do update set taken_at = excluded.taken_at, figures = excluded.figures
       where f.taken_at <= excluded.taken_at""",
)
_READ = Sql("observability.read_figures", "select taken_at, figures from mainstay.system_figures")
_PING = Sql("observability.ping", "select 1")


async def ping_everywhere(db: Connection) -> None:
    """The database has answered."""
    await db.value(_PING)


async def take_figures_everywhere(db: Connection, latency_ms: float) -> None:
    """The figures are kept as they are now, with the latency that was measured."""
    await db.run(_TAKE, latency_ms)


async def read_figures_everywhere(db: Connection) -> Record | None:
    """The figures that were taken last, and when."""
    return await db.row(_READ)
