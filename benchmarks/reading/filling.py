"""A company whose one workspace has many events and whose one endpoint has many deliveries, written by SQL."""

import os
import secrets
from dataclasses import dataclass

import asyncpg

from mainstay import identity, webhooks
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor
from mainstay.kernel.settings import load

_ACTOR = Actor(kind="operator", id="benchmark")
_CHUNK = 100_000

# Events lie over the last 4 weeks, the newest last. One in 50 is a refund, one in 10,000 an export.
_EVENTS = """
insert into mainstay.events (
  workspace_id, seq, id, company_id, data_region, action, category, actor_id, actor_email, actor_name, target_id,
  target_type, payload, metadata, prev_hash, hash, trace_id, occurred_at, received_at)
select $1, n, gen_random_uuid(), $2, 'EU',
       case when n % 10000 = 0 then 'data.exported' when n % 50 = 0 then 'invoice.refunded' else 'invoice.paid' end,
       'billing', 'user_' || n % 1000, 'user' || n % 1000 || '@example.com', 'Ada Lovelace', 'inv_' || n, 'invoice',
       '{"amount":1250,"currency":"EUR","method":"card","trial":false}', '{"ip":"192.0.2.14","requestId":"c9a0f1"}',
       sha256(n::text::bytea), sha256((n + 1)::text::bytea), md5(n::text), at, at
  from generate_series($3::bigint, $4::bigint) n,
       lateral (select now() - (($5::bigint - n) * interval '28 days') / $5::bigint as at) t
"""
_HEAD = """
insert into mainstay.chain_heads (workspace_id, company_id, metered, seq, received_at) values ($1, $2, true, $3, now())
on conflict (workspace_id) do update set seq = excluded.seq, received_at = excluded.received_at
"""

# Ids hold their time, over the last 6 days. One in 50 deliveries failed, one in 10,000 was discarded.
_DELIVERIES = """
with rows as materialized (
  select n, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
             || '8' || substr(md5(n::text), 4, 15))::uuid as id, at,
         case when n % 10000 = 0 then 'DISCARDED' when n % 50 = 0 then 'FAILED' else 'DELIVERED' end as status
    from generate_series($3::bigint, $4::bigint) n,
         lateral (select now() - (($5::bigint - n) * interval '6 days') / $5::bigint as at) t
),
told as (
  insert into mainstay.messages (id, company_id, type, body, trace_id, created_at)
  select id, $1, 'invoice.paid', '{"type":"invoice.paid","data":{"amount":1250,"currency":"EUR"}}', md5(n::text), at
    from rows
),
tried as (
  insert into mainstay.attempts (
    delivery_id, number, started_at, duration_ms, outcome, status_code, response_headers, response_body, address,
    worker)
  select id, 1, at, 12, case when status = 'DELIVERED' then 'delivered' else 'refused' end,
         case when status = 'DELIVERED' then 200 else 500 end, '{"content-type":"text/plain"}', 'ok', '192.0.2.1', 'w1'
    from rows
)
insert into mainstay.deliveries (
  id, message_id, endpoint_id, company_id, status, attempts, max_attempts, created_at, updated_at, last_status_code)
select id, id, $2, $1, status, 1, 5, at, at, case when status = 'DELIVERED' then 200 else 500 end from rows
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """Whose lists they are, and the keys that may read them."""

    workspace_id: str
    endpoint_id: str
    workspace_key: str
    company_key: str


async def fill(url: str, environment: dict[str, str], rows: int) -> Filled:
    """That many events and that many deliveries are there, vacuumed and with fresh statistics."""
    settings = load({**os.environ, **environment})
    db = Database(url, size=2)
    async with db.begin() as tx:
        company = await identity.open_company(tx, _ACTOR, name="Benchmark", slug=f"b-{secrets.token_hex(4)}")
        workspace = await identity.open_workspace(tx, _ACTOR, company.id, name="long")
        keys = [
            await identity.issue_key(tx, _ACTOR, company.id, kind="workspace", name="w", workspace_id=workspace.id),
            await identity.issue_key(tx, _ACTOR, company.id, kind="company", name="c"),
        ]
        await webhooks.register(
            tx,
            _ACTOR,
            webhooks.NewEndpoint(url="http://127.0.0.1:9/", events=["invoice.*"]),
            company_id=company.id,
            keyring=Keyring(settings.secret),
            allow=settings.outbound_allow,
        )
        endpoint_id = await tx.connection.fetchval("select id::text from mainstay.endpoints")
    await db.close()
    connection = await asyncpg.connect(url)
    for statement, owners in ((_EVENTS, (workspace.id, company.id)), (_DELIVERIES, (company.id, endpoint_id))):
        for start in range(1, rows + 1, _CHUNK):
            await connection.execute(statement, *owners, start, min(rows, start + _CHUNK - 1), rows)
    await connection.execute(_HEAD, workspace.id, company.id, rows)
    for table in ("events", "messages", "deliveries", "attempts"):
        await connection.execute(f"vacuum analyze mainstay.{table}")
    await connection.execute("checkpoint")
    await connection.close()
    return Filled(workspace.id, endpoint_id, keys[0].secret, keys[1].secret)
