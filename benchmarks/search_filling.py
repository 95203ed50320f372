"""A company with twenty workspaces and many events over three months, written by SQL with its indexes built last."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from mainstay import embedded, identity, main
from mainstay.kernel import migrations, partitions
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "1GB"}
_ACTOR = Actor(kind="operator", id="benchmark")
_CHUNK = 250_000
_CONNECTIONS = 2
_WORKSPACES = 20
_LARGE = 60
"""Of a hundred events so many belong to the first workspace; the others share the rest, some more and some less."""

# The first workspace has the residues below 60 of every hundred; each other one its own two or three.
_PLACES = """
create table public.places as
select r, w, row_number() over (partition by w order by r) - 1 as rank, count(*) over (partition by w) as share
  from (select r, case when r < $1 then 0 else 1 + (r - $1) % ($2 - 1) end as w from generate_series(0, 99) r) s
"""
# One event in 5,000 is about security, and one in 100,000 an export of data; users, projects and actions differ in how
# often they occur; every fifth event has no actor's address, every third no project. A tenth are runs of jobs, another
# tenth is about the system, and one in 100,000 is both.
_EVENTS = """
insert into mainstay.events (
  workspace_id, seq, id, company_id, data_region, project_id, action, category, actor_id, actor_email, actor_name,
  target_id, target_type, payload, metadata, salts, prev_hash, hash, trace_id, occurred_at, received_at)
select ($1::uuid[])[p.w + 1], (n / 100) * p.share + p.rank + 1, gen_random_uuid(), $2, 'US',
       case when h % 3 > 0 then 'project_' || (h % 997) * (h % 997) / 20000 end,
       case when h % 100000 = 7 then 'data.exported'
            when h % 100000 between 20000 and 29999 then 'job.ran'
            else (array['invoice.paid', 'invoice.sent', 'user.signed_in', 'document.viewed'])[1 + h % 4]
                 || case when h % 5 = 0 then '_' || h % 40 else '' end end,
       case when h % 5000 = 11 then 'security'
            when h % 100000 between 30000 and 39999 or h % 100000 = 20005 then 'system'
            else (array['billing', 'auth', 'data', 'api'])[1 + h % 4] end,
       'user_' || (h % 20011) * (h % 20011) / 20011,
       case when h % 5 > 0 then 'user' || (h % 20011) * (h % 20011) / 20011 || '@example.com' end, 'Ada Lovelace',
       'item_' || h % 1000003, 'item', '{"amount":' || h % 10000 || ',"currency":"EUR","method":"card","trial":false,'
         || '"note":"what happened, told in as many words as people use for it"}',
       '{"ip":"192.0.2.' || h % 250 || '","requestId":"' || md5(n::text) || '"}',
       decode(repeat(md5(n::text), 5), 'hex'), sha256(n::text::bytea), sha256((n + 1)::text::bytea), md5(n::text), at,
       at
  from (select n, (hashint8(n)::bigint + 2147483648) as h from generate_series($3::bigint, $4::bigint) n) s
  join public.places p on p.r = n % 100,
       lateral (select $6::timestamptz - (($5::bigint - n) * interval '60 days') / $5::bigint as at) t
 order by n
"""
_HEADS = """
insert into mainstay.chain_heads (workspace_id, company_id, metered, seq, received_at)
select workspace_id, $1, true, max(seq), max(received_at) from mainstay.events where company_id = $1 group by 1
on conflict (workspace_id) do update set seq = excluded.seq, received_at = excluded.received_at
"""
_INDEXES = """
select pg_get_indexdef(i.indexrelid) as def, c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
 where i.indrelid = 'mainstay.events'::regclass and not i.indisprimary order by 2
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """Whose events they are, and the keys that may read them: of the large workspace, a small one, and all."""

    workspace_id: str
    company_id: str
    large_key: str
    small_key: str
    company_key: str


@contextmanager
def kept(place: Path, rows: int) -> Iterator[tuple[str, Filled]]:
    """A server on this directory with that many events: those that an earlier run left there, or new ones that stay."""
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    note, name = place / f"filled-{rows}.json", f"filled_{rows}"
    server = embedded.start(place, database=name, settings=SETTINGS)
    try:
        if not note.exists():
            filled = asyncio.run(fill(server.dsn, rows))
            note.write_text(json.dumps(asdict(filled)))
        yield server.dsn, Filled(**json.loads(note.read_text()))
    finally:
        server.stop(timeout_seconds=60)


async def fill(url: str, rows: int) -> Filled:
    """That many events are there, vacuumed and with fresh statistics."""
    await migrations.migrate(url, main.partitioned())
    db = Database(url, size=_CONNECTIONS)
    async with db.begin() as tx:
        await partitions.ensure(tx, main.partitioned(), behind=3)
        company = await identity.open_company(tx, _ACTOR, name="Benchmark", slug=f"b-{secrets.token_hex(4)}")
        spaces = [
            await identity.open_workspace(tx, _ACTOR, company.id, name=f"w{number}") for number in range(_WORKSPACES)
        ]
        keys = [
            await identity.issue_key(tx, _ACTOR, company.id, kind="workspace", name="k", workspace_id=space.id)
            for space in (spaces[0], spaces[-1])
        ]
        whole = await identity.issue_key(tx, _ACTOR, company.id, kind="company", name="k")
    await db.close()
    await _write(url, company.id, [space.id for space in spaces], rows)
    return Filled(spaces[0].id, company.id, keys[0].secret, keys[1].secret, whole.secret)


async def _write(url: str, company_id: str, workspace_ids: list[str], rows: int) -> None:
    connections = [await asyncpg.connect(url, command_timeout=900) for _ in range(_CONNECTIONS)]
    first = connections[0]
    await first.execute(_PLACES.replace("$1", str(_LARGE)).replace("$2", str(_WORKSPACES)))
    indexes = await first.fetch(_INDEXES)
    for index in indexes:
        await first.execute(f"drop index mainstay.{index['name']}")
    await first.execute("alter table mainstay.events drop constraint events_pkey")
    now = await first.fetchval("select now()")
    starts = list(range(0, rows, _CHUNK))

    async def write(connection: asyncpg.Connection) -> None:
        await connection.execute("set synchronous_commit = off")
        while starts:
            start = starts.pop(0)
            end = min(rows, start + _CHUNK) - 1
            await connection.execute(_EVENTS, workspace_ids, company_id, start, end, rows, now)

    await asyncio.gather(*map(write, connections))
    await first.execute("set maintenance_work_mem = '512MB'")
    key = "alter table mainstay.events add constraint events_pkey primary key (workspace_id, seq, received_at)"
    for definition in (key, *(index["def"].replace(" ON ONLY ", " ON ") for index in indexes)):
        await first.execute(definition)
    await first.execute(_HEADS, company_id)
    await first.execute("vacuum analyze mainstay.events")
    await first.execute("checkpoint")
    for connection in connections:
        await connection.close()
