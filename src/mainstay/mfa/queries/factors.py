"""Statements on factors and recovery codes; both belong to people, who are global."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_PUT = Sql(
    "mfa.put_factor",
    """insert into mainstay.mfa_factors as f (id, person_id, secret) values ($1, $2, $3)
       on conflict (person_id) do update
         set id = excluded.id, secret = excluded.secret, last_step = null, created_at = excluded.created_at
         where f.confirmed_at is null""",
)
_READ = Sql(
    "mfa.read_factor",
    """select f.id, f.secret, f.last_step, floor(extract(epoch from mainstay.now()) / $3::int)::bigint as step
       from mainstay.mfa_factors f where f.person_id = $1 and (f.confirmed_at is null) = $2 for update""",
)
_COUNT_TRY = Sql(
    "mfa.count_try",
    """with open as (
         select f.id, f.wrong_since is null or f.wrong_since <= mainstay.now() - $3::interval as is_over
         from mainstay.mfa_factors f where f.person_id = $1 and (f.confirmed_at is null) = $2 for update)
       update mainstay.mfa_factors f
         set wrong_tries = case when open.is_over then 1 else least(f.wrong_tries + 1, 1000) end,
             wrong_since = case when open.is_over then mainstay.now() else f.wrong_since end
       from open where f.id = open.id
       returning f.wrong_tries as tries,
                 ceil(extract(epoch from f.wrong_since + $3::interval - mainstay.now()))::int as seconds_left""",
)
_USE = Sql(
    "mfa.use_factor",
    """update mainstay.mfa_factors f
         set last_used_at = mainstay.now(), last_step = coalesce($2, f.last_step),
             wrong_tries = greatest(f.wrong_tries - 1, 0)
       where f.id = $1 and ($2::bigint is null or f.last_step is null or f.last_step < $2)""",
)
_TELL = Sql(
    "mfa.tell_of_wrong_codes",
    """update mainstay.mfa_factors f set wrong_told = f.wrong_since
       where f.person_id = $1 and f.wrong_tries >= $2 and f.wrong_told is distinct from f.wrong_since""",
)
_CONFIRM = Sql(
    "mfa.confirm_factor",
    """with confirmed as (
         update mainstay.mfa_factors f set confirmed_at = mainstay.now()
         where f.person_id = $1 and f.confirmed_at is null returning f.person_id, f.confirmed_at)
       update mainstay.people p set mfa_enabled_at = confirmed.confirmed_at, updated_at = mainstay.now()
       from confirmed where p.id = confirmed.person_id returning p.mfa_enabled_at""",
)
_DROP = Sql("mfa.drop_factor", "delete from mainstay.mfa_factors where person_id = $1 returning confirmed_at")
_DROP_REST = Sql(
    "mfa.drop_rest",
    """with codes as (delete from mainstay.recovery_codes c where c.person_id = $1),
            challenges as (delete from mainstay.sign_in_challenges s where s.person_id = $1)
       update mainstay.people p set mfa_enabled_at = null, updated_at = mainstay.now()
       where p.id = $1 and p.mfa_enabled_at is not null""",
)
_STATE = Sql(
    "mfa.state",
    """select f.confirmed_at, f.last_used_at, f.created_at,
              (select count(*) from mainstay.recovery_codes c
               where c.person_id = $1 and c.used_at is null) as codes_left
       from mainstay.mfa_factors f where f.person_id = $1""",
)
_DROP_CODES = Sql("mfa.drop_codes", "delete from mainstay.recovery_codes where person_id = $1")
_ADD_CODES = Sql(
    "mfa.add_codes",
    "insert into mainstay.recovery_codes (person_id, digest) select $1, given from unnest($2::bytea[]) given",
)
_USE_CODE = Sql(
    "mfa.use_code",
    """update mainstay.recovery_codes c set used_at = mainstay.now()
       where c.person_id = $1 and c.digest = $2 and c.used_at is null""",
)
_CODES_LEFT = Sql(
    "mfa.codes_left", "select count(*) from mainstay.recovery_codes where person_id = $1 and used_at is null"
)
_SEALED_AFTER = Sql(
    "mfa.sealed_after",
    """select f.id, f.secret from mainstay.mfa_factors f
       where $1::uuid is null or f.id > $1 order by f.id limit $2""",
)
_RESEAL = Sql("mfa.reseal", "update mainstay.mfa_factors set secret = $3 where id = $1 and secret = $2")


async def put_waiting_factor_everywhere(tx: Tx, person_id: str, factor_id: str, secret: bytes) -> bool:
    """Whether the person's factor, which waits to be confirmed, is this one; not where one is on."""
    return count_of(await tx.run(_PUT, factor_id, person_id, secret)) == 1


async def read_factor_everywhere(tx: Tx, person_id: str, *, is_waiting: bool, step_seconds: int) -> Record | None:
    """The person's factor that is on, or that waits, with the step of the clock; nobody else can use it meanwhile.

    Whatever changes a factor locks it first, then codes, challenges and the person.
    """
    return await tx.row(_READ, person_id, is_waiting, step_seconds)


async def count_try_everywhere(db: Connection, person_id: str, *, is_waiting: bool, window: timedelta) -> Record | None:
    """One more try is counted: how many since the window began, and the seconds until it ends. None without factor."""
    return await db.row(_COUNT_TRY, person_id, is_waiting, window)


async def use_factor_everywhere(tx: Tx, factor_id: Any, step: int | None) -> bool:
    """Whether the factor was used for that step just now, which no other use had taken; the try is no wrong one."""
    return count_of(await tx.run(_USE, factor_id, step)) == 1


async def tell_once_everywhere(tx: Tx, person_id: str, *, least: int) -> bool:
    """Whether so many wrong codes are to be told of, which nobody did for this window."""
    return count_of(await tx.run(_TELL, person_id, least)) == 1


async def confirm_factor_everywhere(tx: Tx, person_id: str) -> datetime | None:
    """Since when the factor that waited is on, here and with the person; None where none waited."""
    found: datetime | None = await tx.value(_CONFIRM, person_id)
    return found


async def drop_factor_everywhere(tx: Tx, person_id: str) -> bool:
    """Factor, recovery codes and open challenges are gone, here and with the person; whether a factor was on."""
    dropped = await tx.row(_DROP, person_id)
    await tx.run(_DROP_REST, person_id)
    return dropped is not None and dropped["confirmed_at"] is not None


async def read_state_everywhere(db: Connection, person_id: str) -> Record | None:
    """What there is to tell of the person's factor."""
    return await db.row(_STATE, person_id)


async def put_codes_everywhere(tx: Tx, person_id: str, digests: Sequence[bytes]) -> None:
    """These are the person's recovery codes, and no others."""
    await tx.run(_DROP_CODES, person_id)
    await tx.run(_ADD_CODES, person_id, digests)


async def use_code_everywhere(tx: Tx, person_id: str, digest: bytes) -> bool:
    """Whether the recovery code was good, which it is no more."""
    return count_of(await tx.run(_USE_CODE, person_id, digest)) == 1


async def codes_left_everywhere(db: Connection, person_id: str) -> int:
    """How many recovery codes the person has left."""
    return int(await db.value(_CODES_LEFT, person_id))


async def sealed_after_everywhere(db: Connection, after: Any, *, limit: int) -> list[Record]:
    """Factors in the order of their ids with their sealed secrets."""
    return await db.rows(_SEALED_AFTER, after, limit)


async def reseal_everywhere(db: Connection, factor_id: Any, *, old: bytes, new: bytes) -> bool:
    """Whether the secret is sealed anew; not where it changed meanwhile."""
    return count_of(await db.run(_RESEAL, factor_id, old, new)) == 1
