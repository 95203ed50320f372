"""Statements on endpoints: their settings and secrets."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, insert, null, select, update

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of
from mainstay.webhooks.tables import endpoints

SHOWN = (
    *(column for column in endpoints.c if column.name not in ("previous_secret_sealed", "created_by", "filter_path")),
    case(
        (endpoints.c.previous_secret_until > func.mainstay.now(), endpoints.c.previous_secret_sealed), else_=null()
    ).label("previous_in_force"),
)
_LOCK_COMPANY = Sql(
    "webhooks.lock_company", "select pg_advisory_xact_lock(hashtextextended('mainstay.endpoints:' || $1, 0))"
)
_COUNT = Sql(
    "webhooks.count_endpoints", "select count(*) from mainstay.endpoints where company_id = $1 and deleted_at is null"
)
_ROTATE = Sql(
    "webhooks.rotate_secret",
    """update mainstay.endpoints
          set secret_sealed = $3,
              previous_secret_sealed = case when $4::int > 0 then secret_sealed end,
              previous_secret_until = case when $4::int > 0 then mainstay.now() + make_interval(secs => $4) end,
              updated_at = mainstay.now()
        where company_id = $1 and id = $2 and deleted_at is null
        returning *, case when previous_secret_until > mainstay.now() then previous_secret_sealed end
                       as previous_in_force""",
)
_FORGET_SECRETS = Sql(
    "webhooks.forget_previous_secrets",
    """update mainstay.endpoints set previous_secret_sealed = null, previous_secret_until = null
        where previous_secret_until <= mainstay.now()""",
)
_STANDINGS = Sql(
    "webhooks.standings",
    """select g.id as endpoint_id, coalesce(h.failures, 0) as failures, h.failing_since, h.open_until,
              coalesce(h.open_until > mainstay.now(), false) as is_open,
              l.delivery_id as head_id, l.attempts as head_attempts, l.next_attempt_at as head_next_attempt_at,
              a.started_at as blocked_since,
              (select count(*) from (select from mainstay.fifo_lines w
                                      where w.endpoint_id = g.id and w.company_id = $1 limit $3) counted) as waiting
         from unnest($2::uuid[]) as g (id)
         left join mainstay.endpoint_health h on h.endpoint_id = g.id and h.company_id = $1
         left join lateral (
           select f.delivery_id, d.attempts, d.next_attempt_at from mainstay.fifo_lines f
             join mainstay.deliveries d on d.id = f.delivery_id
            where f.endpoint_id = g.id and f.company_id = $1 order by f.pos limit 1
         ) l on true
         left join mainstay.attempts a on a.delivery_id = l.delivery_id and a.number = 1""",
)
_HAS_OPEN = Sql(
    "webhooks.has_open_deliveries",
    """select exists (select from mainstay.deliveries
                       where company_id = $1 and endpoint_id = $2 and status in ('PENDING', 'RETRYING'))""",
)
_MATCHES = Sql("webhooks.try_filter", "select mainstay.passes(mainstay.json_or_null($1), $2)")
WAITING_COUNTED = 10_000


def now() -> ColumnElement[Any]:
    """The database's time, as a value to store."""
    return func.mainstay.now()


async def add_endpoint(tx: Tx, *, company_id: str, values: Mapping[str, Any]) -> Record:
    """The row as stored."""
    query = insert(endpoints).values(company_id=company_id, **values).returning(*SHOWN)
    return (await tx.rows(*compose("webhooks.add_endpoint", query)))[0]


async def count_endpoints(tx: Tx, *, company_id: str) -> int:
    """How many endpoints the company has, none of which can be added by others before this transaction ends."""
    await tx.run(_LOCK_COMPANY, company_id)
    return int(await tx.value(_COUNT, company_id))


async def find_endpoint(
    connection: Connection, *, company_id: str, endpoint_id: str, deleted_too: bool = False
) -> Record | None:
    """The endpoint, or None where the company has no such one."""
    query = select(*SHOWN).where(endpoints.c.company_id == company_id, endpoints.c.id == endpoint_id)
    if not deleted_too:
        query = query.where(endpoints.c.deleted_at.is_(None))
    return await connection.row(*compose("webhooks.find_endpoint", query))


async def list_endpoints(connection: Connection, *, company_id: str, after_id: str | None, limit: int) -> list[Record]:
    """Endpoints in the order of their making, from the one after `after_id` on."""
    query = select(*SHOWN).where(endpoints.c.company_id == company_id, endpoints.c.deleted_at.is_(None))
    if after_id is not None:
        query = query.where(endpoints.c.id > after_id)
    return await connection.rows(*compose("webhooks.list_endpoints", query.order_by(endpoints.c.id).limit(limit)))


async def change_endpoint(tx: Tx, *, company_id: str, endpoint_id: str, values: Mapping[str, Any]) -> Record | None:
    """The row as changed, or None where the company has no such endpoint."""
    return await tx.row(
        *compose(
            "webhooks.change_endpoint",
            update(endpoints)
            .where(
                endpoints.c.company_id == company_id, endpoints.c.id == endpoint_id, endpoints.c.deleted_at.is_(None)
            )
            .values(updated_at=now(), **values)
            .returning(*SHOWN),
        )
    )


async def delete_endpoint(tx: Tx, *, company_id: str, endpoint_id: str) -> bool:
    """Whether there was such an endpoint; its secrets are forgotten, and the values of its own headers."""
    row = await change_endpoint(
        tx,
        company_id=company_id,
        endpoint_id=endpoint_id,
        values={
            "deleted_at": now(),
            "is_active": False,
            "secret_sealed": b"",
            "previous_secret_sealed": null(),
            "previous_secret_until": null(),
            "headers_sealed": null(),
        },
    )
    return row is not None


async def rotate_secret(
    tx: Tx, *, company_id: str, endpoint_id: str, sealed: bytes, overlap_seconds: int
) -> Record | None:
    """The endpoint under its new secret, the old one kept for the overlap; None where there is no such endpoint."""
    return await tx.row(_ROTATE, company_id, endpoint_id, sealed, overlap_seconds)


async def standings_of(connection: Connection, *, company_id: str, endpoint_ids: Sequence[Any]) -> list[Record]:
    """For each endpoint its health, and the head of its line with how many wait (10,000 stands for more too)."""
    return await connection.rows(_STANDINGS, company_id, endpoint_ids, WAITING_COUNTED)


async def has_open(tx: Tx, *, company_id: str, endpoint_id: str) -> bool:
    """Whether a delivery to the endpoint has not come to its end."""
    return bool(await tx.value(_HAS_OPEN, company_id, endpoint_id))


async def is_match_everywhere(connection: Connection, *, body: str, path: str) -> bool:
    """Whether a message of this body passes this filter, by the function that decides for real; no row is looked at."""
    return bool(await connection.value(_MATCHES, body, path))


async def forget_previous_secrets_everywhere(tx: Tx) -> int:
    """Old secrets whose overlap is over are gone; how many."""
    return count_of(await tx.run(_FORGET_SECRETS))
