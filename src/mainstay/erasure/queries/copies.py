"""Statements on copies of what events hold, in tables of every room: walked by blocks, so that no step is long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

BLOCKS = 1_000
"""Blocks of 8 KiB that one step looks at."""
_OWN = "t.company_id = $1"


@dataclass(frozen=True, slots=True)
class Copies:
    """Columns of a table in which texts of events may stand, and which rows are the company's ($1).

    Rows of a table that `loses_rows` go as a whole: they would mean nothing without the person.
    """

    table: str
    columns: Mapping[str, str]
    owner: str = _OWN
    loses_rows: bool = False


COPIES = (
    Copies("messages", {"body": "text"}),
    Copies("deliveries", {"last_error": "text"}),
    Copies(
        "attempts",
        {"error": "text", "response_headers": "jsonb", "response_body": "text"},
        "exists (select from mainstay.deliveries d where d.id = t.delivery_id and d.company_id = $1)",
    ),
    Copies("replays", {"wanted": "jsonb", "error": "text"}),
    Copies("event_flags", {"flags": "jsonb"}),
    Copies("template_reports", {"examples": "jsonb"}),
    Copies("streams", {"reason": "text", "probe": "jsonb"}),
    Copies("stream_refusals", {"reason": "text"}),
    Copies("emitted_events", {"event": "jsonb", "detail": "text"}),
    Copies("announcements", {"actor": "jsonb", "data": "jsonb", "last_error": "text"}),
    Copies("jobs", {"payload": "jsonb"}),
    Copies("finished_jobs", {"payload": "jsonb"}),
    Copies("dead_jobs", {"payload": "jsonb", "error": "text"}),
    Copies(
        "job_attempts",
        {"error": "text"},
        """(exists (select from mainstay.jobs j where j.id = t.job_id and j.company_id = $1)
            or exists (select from mainstay.dead_jobs j where j.id = t.job_id and j.company_id = $1))""",
    ),
    Copies("function_runs", {"input": "json", "output": "json", "error": "json", "reason": "text"}),
    Copies(
        "function_steps",
        {"output": "json", "error": "json", "match_value": "text"},
        "exists (select from mainstay.function_runs r where r.id = t.run_id and r.company_id = $1)",
    ),
    Copies("legal_holds", {"reason": "text"}),
    Copies("erasures", {"reason": "text", "failure": "text"}),
    Copies("company_jobs", {"failure": "text"}),
    Copies("archive_days", {"failure": "text", "finding": "jsonb"}),
    Copies("saved_filters", {"name": "text", "filters": "jsonb"}, loses_rows=True),
)
_LEAVES = Sql(
    "erasure.leaves",
    """select c.oid::regclass::text as name from pg_class c
        where c.oid in (select relid from pg_partition_tree(to_regclass($1)) where isleaf)
           or (c.oid = to_regclass($1) and c.relkind = 'r')
        order by 1""",
)
_SIZE = Sql(
    "erasure.blocks", "select pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint as blocks"
)
_OLDEST_RUNNING = Sql("erasure.oldest_running", "select pg_snapshot_xmin(pg_current_snapshot())::xid::text")
_REPLACE_BODIES = Sql(
    "erasure.replace_bodies",
    """update mainstay.messages m set body = g.body from unnest($2::uuid[], $3::text[]) as g (id, body)
        where m.company_id = $1 and m.id = g.id""",
)


async def leaves_everywhere(connection: Connection, table: str) -> list[str]:
    """The names of the table, or of its partitions; none where there is no such table."""
    return [row["name"] for row in await connection.rows(_LEAVES, f"mainstay.{table}")]


async def blocks_everywhere(connection: Connection, leaf: str) -> int:
    """How many blocks the table has just now."""
    return int(await connection.value(_SIZE, leaf) or 0)


async def oldest_running_everywhere(connection: Connection) -> str:
    """The oldest transaction that may still write; rows of those before it are all there."""
    return str(await connection.value(_OLDEST_RUNNING))


async def lock_with(
    tx: Tx, company_id: str, copies: Copies, leaf: str, *, block: int, texts: tuple[Sequence[str], Sequence[str]],
    since: str | None = None,
) -> list[Record]:  # fmt: skip
    """The company's rows of some blocks that hold one of the texts: where they stand, and their columns as text.

    With `since` only those that this transaction or a later one has written.
    """
    shown = ", ".join(f"t.{name}::text as {name}" for name in copies.columns)
    hay = ", ".join(f"t.{name}::text" for name in copies.columns)
    statement = Sql(
        f"erasure.copies_in_{copies.table}",
        f"""select t.ctid::text as place, {shown} from only {leaf} t
              cross join lateral (select concat_ws(E'\\n', {hay}) as text) h
             where t.ctid >= $4::text::tid and t.ctid < $5::text::tid and {copies.owner}
               and ($6::text is null or age(t.xmin) <= age($6::text::xid))
               and (exists (select from unnest($2::text[]) n where strpos(h.text, n) > 0)
                    or exists (select from unnest($3::text[]) n where strpos(lower(h.text), lower(n)) > 0))
             for update of t""",  # noqa: S608 - names from this file and from the database's own catalogue
    )
    ends = f"({block},0)", f"({block + BLOCKS},0)"
    return await tx.rows(statement, company_id, *(list(some) for some in texts), *ends, since)


async def replace(
    tx: Tx, company_id: str, copies: Copies, leaf: str, place: str, values: Mapping[str, str | None]
) -> None:
    """The row at that place, which this transaction has locked, has these values."""
    given = ", ".join(f"{name} = ${number}::text::{copies.columns[name]}" for number, name in enumerate(values, 3))
    statement = Sql(
        f"erasure.replace_in_{copies.table}",
        f"update only {leaf} t set {given} where t.ctid = $2::text::tid and {copies.owner}",  # noqa: S608 - as above
    )
    await tx.run(statement, company_id, place, *values.values())


async def drop(tx: Tx, company_id: str, copies: Copies, leaf: str, place: str) -> None:
    """The row at that place, which this transaction has locked, is gone."""
    statement = Sql(
        f"erasure.drop_from_{copies.table}",
        f"delete from only {leaf} t where t.ctid = $2::text::tid and {copies.owner}",  # noqa: S608 - as above
    )
    await tx.run(statement, company_id, place)


async def replace_bodies(tx: Tx, company_id: str, bodies: Mapping[str, str]) -> int:
    """Those messages that are still kept have these bodies; how many."""
    return count_of(await tx.run(_REPLACE_BODIES, company_id, list(bodies), list(bodies.values())))


async def empty_answers(tx: Tx, company_id: str, erasure_id: str, leaf: str, *, block: int) -> int:
    """What receivers answered to messages of erased events is gone from some blocks of attempts: they may have sent
    back what they got; how many answers."""
    statement = Sql(
        "erasure.empty_answers",
        f"""update only {leaf} t set response_headers = '{{}}', response_body = ''
             where t.ctid >= $3::text::tid and t.ctid < $4::text::tid
               and (t.response_body <> '' or t.response_headers <> '{{}}')
               and exists (select from mainstay.deliveries d
                             join mainstay.erased_events x on x.id = d.message_id and x.erasure_id = $2
                            where d.id = t.delivery_id and d.company_id = $1)""",  # noqa: S608 - as above
    )
    return count_of(await tx.run(statement, company_id, erasure_id, f"({block},0)", f"({block + BLOCKS},0)"))
