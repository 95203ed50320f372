"""Statements on endpoints that fail and their newest failures."""

from mainstay.kernel.db import Connection, Record, Sql

_TROUBLED = Sql(
    "webhooks.troubled_endpoints",
    """select e.id, e.url, e.description, e.disabled_at, e.disabled_reason,
              coalesce(h.failures, 0) as failures, h.failing_since, h.open_until
       from mainstay.endpoints e left join mainstay.endpoint_health h on h.endpoint_id = e.id
       where e.company_id = $1 and e.deleted_at is null
         and (e.disabled_at is not null and e.disabled_reason is distinct from $2
              or h.failing_since is not null and e.is_active)
       order by coalesce(e.disabled_at, h.updated_at) desc, e.id limit $3""",
)
# Only the newest deliveries are looked at: behind an open breaker very many may wait that were never tried.
_FAILURES = Sql(
    "webhooks.newest_failures",
    """select f.id, f.endpoint_id, f.status, f.attempts, f.last_status_code, f.last_error, f.updated_at, m.type
       from unnest($2::uuid[]) as given (id) cross join lateral (
         select n.* from (
           select d.* from mainstay.deliveries d where d.company_id = $1 and d.endpoint_id = given.id
           order by d.id desc limit 200) as n
         where n.last_error is not null order by n.updated_at desc limit $3) as f
       left join mainstay.messages m on m.id = f.message_id
       order by f.updated_at desc, f.id limit $3""",
)


async def troubled_endpoints(
    connection: Connection, *, company_id: str, forgiven_reason: str, limit: int
) -> list[Record]:
    """Endpoints that are disabled (for another reason than the forgiven) or whose newest try failed, latest first."""
    return await connection.rows(_TROUBLED, company_id, forgiven_reason, limit)


async def newest_failures(
    connection: Connection, *, company_id: str, endpoint_ids: list[str], limit: int
) -> list[Record]:
    """The newest deliveries to these endpoints of which a try failed, by the time of the try, the latest first."""
    return await connection.rows(_FAILURES, company_id, endpoint_ids, limit)
