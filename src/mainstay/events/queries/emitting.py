"""Statements about events that transactions of others emitted, until they are in their chains."""

from collections.abc import Sequence

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_LOCK = Sql(
    "events.lock_emitted",
    "select pg_try_advisory_xact_lock(hashtext('mainstay.emitted'), hashtext('mainstay.emitted'))",
)
_ARE_ANY = Sql("events.are_any_emitted", "select exists (select from mainstay.emitted_events where refused_at is null)")
# Both are walks along the line of those that wait, whatever statistics say of a table that is empty most of the time.
_PLANS = (
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_hashjoin = off;"
    "set local enable_mergejoin = off; set local idle_in_transaction_session_timeout = '60s'"
)
_FREE = "; ".join(
    f"set local {name} to default"
    for name in ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin")
)
_WORKSPACES = Sql(
    "events.workspaces_emitted",
    """with recursive line (workspace_id, company_id) as (
         (select workspace_id, company_id from mainstay.emitted_events
           where refused_at is null and workspace_id > $1 order by workspace_id, id limit 1)
         union all
         select n.workspace_id, n.company_id from line l cross join lateral (
           select workspace_id, company_id from mainstay.emitted_events
            where refused_at is null and workspace_id > l.workspace_id order by workspace_id, id limit 1) n
       )
       select workspace_id from line where company_id <> all($2::uuid[]) limit $3""",
)
_TAKE = Sql(
    "events.take_emitted",
    """select e.id, e.workspace_id, e.company_id, e.event_id, e.trace_id, e.event, e.reason
         from mainstay.emitted_events e where e.id = any(array(
           select t.id from (
             select f.id, sum(f.bytes) over (order by f.place, f.id rows unbounded preceding) - f.bytes as before
               from (select w.place, l.id, l.bytes
                       from unnest($1::uuid[]) with ordinality as w (workspace_id, place)
                      cross join lateral (
                        select id, bytes from mainstay.emitted_events
                         where refused_at is null and workspace_id = w.workspace_id order by workspace_id, id limit $2
                      ) l) f) t
            where t.before < $3))
        order by e.workspace_id, e.id for update of e""",
)
_GONE = Sql("events.emitted_stored", "delete from mainstay.emitted_events where id = any($1::bigint[])")
_REFUSE = Sql(
    "events.refuse_emitted",
    """update mainstay.emitted_events e set refused_at = mainstay.now(), reason = g.reason, detail = g.detail
         from unnest($1::bigint[], $2::text[], $3::text[]) as g (id, reason, detail)
        where e.id = any($1) and e.id = g.id""",
)
_HOLD = Sql(
    "events.hold_emitted",
    """update mainstay.emitted_events set reason = $2 where id = any($1::bigint[]) and reason is distinct from $2""",
)
_FIGURES = Sql(
    "events.emitted_figures",
    """select (select count(*) from (
                 select from mainstay.emitted_events where refused_at is null limit $1) w) as waiting,
              (select count(*) from (
                 select from mainstay.emitted_events where refused_at is not null limit $1) r) as refused,
              coalesce((select extract(epoch from mainstay.now() - min(first.emitted_at)) from (
                 select emitted_at from mainstay.emitted_events where refused_at is null order by id limit 1) first
              ), 0)::float8 as lag_seconds""",
)
_REFUSED = Sql(
    "events.list_refused",
    """select id, workspace_id, company_id, event_id, trace_id, event, emitted_at, refused_at, reason, detail
         from mainstay.emitted_events where refused_at is not null and id > $1 order by id limit $2""",
)
_AGAIN = Sql(
    "events.emitted_again",
    """update mainstay.emitted_events set refused_at = null, reason = null, detail = null
        where refused_at is not null and ($1::bigint[] is null or id = any($1))
       returning id, company_id, pg_notify('mainstay_jobs', 'mainstay:emitted')::text""",
)
_DISCARD = Sql(
    "events.discard_emitted",
    """delete from mainstay.emitted_events where refused_at is not null and id = any($1::bigint[])
       returning id, company_id""",
)


async def are_any_everywhere(db: Database) -> bool:
    """Whether an emitted event waits for its place."""
    return bool(await db.value(_ARE_ANY))


async def lock_everywhere(tx: Tx) -> bool:
    """Whether nobody else takes emitted events until the transaction ends."""
    return bool(await tx.value(_LOCK))


async def workspaces_everywhere(tx: Tx, after: str, held: Sequence[str], count: int) -> list[str]:
    """Up to `count` workspaces behind that one for which events wait, of companies that are not held."""
    await tx.connection.execute(_PLANS)
    return [str(row["workspace_id"]) for row in await tx.rows(_WORKSPACES, after, held, count)]


async def take_everywhere(tx: Tx, workspace_ids: Sequence[str], share: int, most_bytes: int) -> list[Record]:
    """Up to `share` events of each, in the order of their ids, to the first past the bytes; nobody changes them."""
    found = await tx.rows(_TAKE, workspace_ids, share, most_bytes)
    await tx.connection.execute(_FREE)
    return found


async def settle_everywhere(tx: Tx, done: Sequence[int], refused: Sequence[tuple[int, str, str]]) -> None:
    """Those that are stored are gone, the others put aside: (id, reason, detail)."""
    if done:
        await tx.run(_GONE, done)
    if refused:
        await tx.run(_REFUSE, *(list(column) for column in zip(*refused, strict=True)))


async def hold_everywhere(tx: Tx, ids: Sequence[int], reason: str) -> None:
    """They go on waiting, and it shows what for."""
    await tx.run(_HOLD, ids, reason)


async def figures_everywhere(db: Connection, bound: int) -> Record:
    """How many wait and are put aside (each up to `bound`), and how long the first has waited."""
    row = await db.row(_FIGURES, bound)
    assert row is not None
    return row


async def refused_everywhere(db: Connection, after: int, count: int) -> list[Record]:
    """Events that were put aside with ids over that one, oldest first."""
    return await db.rows(_REFUSED, after, count)


async def again_everywhere(tx: Tx, ids: Sequence[int] | None) -> list[Record]:
    """Those that were put aside (all of them for None) wait for their places again: id and company."""
    return await tx.rows(_AGAIN, ids)


async def discard_everywhere(tx: Tx, ids: Sequence[int]) -> list[Record]:
    """Those that were put aside are gone: id and company."""
    return await tx.rows(_DISCARD, ids)
