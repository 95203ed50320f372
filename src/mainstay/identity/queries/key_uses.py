"""Statements on how keys are used: counts by the minute, addresses they come from, and refusals."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

MAX_ADDRESSES = 100
"""Addresses that are kept of one key at a time."""

_ADD_USES = Sql(
    "identity.add_uses",
    """insert into mainstay.api_key_uses as u (key_id, minute, company_id, uses, last_used_at, last_address)
       select k.id, date_trunc('minute', mainstay.now()), k.company_id, given.uses, mainstay.now(), given.address
       from unnest($1::uuid[], $2::bigint[], $3::text[]) as given (key_id, uses, address)
         join mainstay.api_keys k on k.id = given.key_id
       order by k.id
       on conflict (key_id, minute) do update
         set uses = u.uses + excluded.uses, last_used_at = greatest(u.last_used_at, excluded.last_used_at),
             last_address = coalesce(nullif(excluded.last_address, ''), u.last_address)""",
)
_ADD_ADDRESSES = Sql(
    "identity.add_addresses",
    """insert into mainstay.api_key_addresses as a (key_id, address, company_id, first_used_at, last_used_at)
       select k.id, given.address, k.company_id, mainstay.now(), mainstay.now()
       from unnest($1::uuid[], $2::text[]) as given (key_id, address) join mainstay.api_keys k on k.id = given.key_id
       where (select count(*) from mainstay.api_key_addresses kept where kept.key_id = k.id) < $3
          or exists (select from mainstay.api_key_addresses kept
                     where kept.key_id = k.id and kept.address = given.address)
       order by k.id, given.address
       on conflict (key_id, address) do update set last_used_at = greatest(a.last_used_at, excluded.last_used_at)""",
)
_ADD_REFUSALS = Sql(
    "identity.add_refusals",
    """insert into mainstay.api_key_refusals as r (key_id, why, company_id, refusals, last_at, last_address)
       select k.id, given.why, k.company_id, given.refusals, mainstay.now(), given.address
       from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[]) as given (key_id, why, refusals, address)
         join mainstay.api_keys k on k.id = given.key_id
       order by k.id, given.why
       on conflict (key_id, why) do update
         set refusals = r.refusals + excluded.refusals, last_at = greatest(r.last_at, excluded.last_at),
             last_address = excluded.last_address""",
)
_USES_WITHIN = Sql(
    "identity.uses_within",
    """select coalesce(sum(uses), 0)::bigint from mainstay.api_key_uses
       where company_id = $1 and key_id = $2 and minute > mainstay.now() - $3::interval - interval '1 minute'""",
)
_HEALTH = Sql(
    "identity.key_health",
    """select given.id as key_id, latest.last_used_at, latest.last_address,
         latest.last_used_at <= mainstay.now() - $4::interval as is_idle,
         (select coalesce(sum(u.uses), 0)::bigint from mainstay.api_key_uses u
           where u.company_id = $1 and u.key_id = given.id
             and u.minute > mainstay.now() - $3::interval - interval '1 minute') as uses_5m,
         (select count(*) from mainstay.api_key_addresses a
           where a.company_id = $1 and a.key_id = given.id) as addresses,
         (select coalesce(jsonb_object_agg(r.why, r.refusals), '{}')::text from mainstay.api_key_refusals r
           where r.company_id = $1 and r.key_id = given.id) as refusals,
         refused.last_at as refused_at, refused.last_address as refused_address
       from unnest($2::uuid[]) as given (id)
         left join lateral (select u.last_used_at, u.last_address from mainstay.api_key_uses u
                            where u.company_id = $1 and u.key_id = given.id order by u.minute desc limit 1) latest
           on true
         left join lateral (select r.last_at, r.last_address from mainstay.api_key_refusals r
                            where r.company_id = $1 and r.key_id = given.id order by r.last_at desc limit 1) refused
           on true""",
)
_PRUNE_USES = Sql(
    "identity.prune_uses",
    """delete from mainstay.api_key_uses u where u.minute < mainstay.now() - $1::interval
         and exists (select from mainstay.api_key_uses later
                     where later.key_id = u.key_id and later.minute > u.minute)""",
)
_PRUNE_ADDRESSES = Sql(
    "identity.prune_addresses",
    "delete from mainstay.api_key_addresses a where a.last_used_at < mainstay.now() - $1::interval",
)


async def add_uses_everywhere(tx: Tx, key_ids: Sequence[str], uses: Sequence[int], addresses: Sequence[str]) -> None:
    """The uses are added to the current minute of each key, with the address that its last one came from."""
    await tx.run(_ADD_USES, key_ids, uses, addresses)


async def add_addresses_everywhere(tx: Tx, key_ids: Sequence[str], addresses: Sequence[str]) -> None:
    """Each key was used from that address just now; of one that has a hundred no further ones are kept."""
    await tx.run(_ADD_ADDRESSES, key_ids, addresses, MAX_ADDRESSES)


async def add_refusals_everywhere(
    tx: Tx, key_ids: Sequence[str], whys: Sequence[str], refusals: Sequence[int], addresses: Sequence[str]
) -> None:
    """Each key was refused so often for that reason, the last time from that address."""
    await tx.run(_ADD_REFUSALS, key_ids, whys, refusals, addresses)


async def uses_within(db: Connection, company_id: str, key_id: str, window: timedelta) -> int:
    """Uses of the key in all minutes that touch the window up to now."""
    return int(await db.value(_USES_WITHIN, company_id, key_id, window))


async def health_of(
    db: Connection, company_id: str, key_ids: Sequence[str], *, window: timedelta, idle_after: timedelta
) -> list[Record]:
    """How each of the keys is used, in no order."""
    return await db.rows(_HEALTH, company_id, key_ids, window, idle_after)


async def prune_uses_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many counts of old minutes are gone; the newest of each key stays, as its last use."""
    return count_of(await db.run(_PRUNE_USES, older_than))


async def prune_addresses_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many addresses are gone from which their keys were not used for that long."""
    return count_of(await db.run(_PRUNE_ADDRESSES, older_than))
