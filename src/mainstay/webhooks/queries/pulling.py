"""Statements on what endpoints pull: the next items, and who may read them."""

from mainstay.kernel.db import Connection, Record, Sql

# Below the oldest transaction still running nothing can be added any more, so what was passed is passed for good.
_READ = Sql(
    "webhooks.read_pull_items",
    """select i.txid, i.id::text, i.message_id::text, m.body
         from (select p.txid, p.id, p.message_id from mainstay.pull_items p
                where p.company_id = $1 and p.endpoint_id = $2 and (p.txid, p.id) > ($3, $4) and p.id >= $5
                  and p.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                order by p.txid, p.id limit $6) i
         left join mainstay.messages m on m.id = i.message_id and m.company_id = $1
        order by i.txid, i.id""",
)
_FIND = Sql(
    "webhooks.find_pull_endpoint",
    """select id::text, company_id::text, secret_sealed as digest,
              case when previous_secret_until > mainstay.now() then previous_secret_sealed end as previous_digest
         from mainstay.endpoints where id = $1 and kind = 'pull' and deleted_at is null""",
)


async def read_items(
    connection: Connection, *, company_id: str, endpoint_id: str, after: tuple[int, str], floor: str, limit: int
) -> list[Record]:
    """Items after that place, in an order in which none will ever come before another that was read."""
    return await connection.rows(_READ, company_id, endpoint_id, after[0], after[1], floor, limit)


async def find_pull_endpoint_everywhere(connection: Connection, endpoint_id: str) -> Record | None:
    """Whose endpoint it is, and the digests of the credentials in force, the newest first."""
    return await connection.row(_FIND, endpoint_id)
