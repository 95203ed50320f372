"""What an overview tells of endpoints that fail: only what fails now, only the company's own."""

from mainstay import webhooks
from mainstay.kernel.db import Database
from tests.webhooks.conftest import Tenant


async def _fail(db: Database, endpoint_id: str, *, error: str | None, many: int = 1, at: str = "0 s") -> None:
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.deliveries
                 (id, message_id, endpoint_id, company_id, status, attempts, max_attempts, last_error, updated_at)
               select mainstay.uuid7(), mainstay.uuid7(), e.id, e.company_id, 'RETRYING', 1, 5, $2,
                      mainstay.now() - $4::text::interval
               from mainstay.endpoints e, generate_series(1, $3) where e.id = $1""",
            endpoint_id, error, many, at,
        )  # fmt: skip


async def _health(db: Database, endpoint_id: str, failures: int) -> None:
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.endpoint_health (endpoint_id, company_id, failures, failing_since)
               select id, company_id, $2, case when $2 > 0 then mainstay.now() end
               from mainstay.endpoints where id = $1""",
            endpoint_id, failures,
        )  # fmt: skip


async def test_endpoints_that_fail_are_told_with_their_newest_failures(
    tenant: Tenant, stranger: Tenant, db: Database
) -> None:
    failing, well, off, disabled = [await tenant.webhook() for _ in range(4)]
    foreign = await stranger.webhook()
    for webhook, failures in ((failing, 3), (well, 0), (off, 2), (disabled, 20), (foreign, 9)):
        await _health(db, webhook["id"], failures)
        await _fail(db, webhook["id"], error="refused", at="1 min")
    await _fail(db, failing["id"], error="timeout")
    await _fail(db, failing["id"], error=None, many=100)
    async with db.connection() as connection:
        for webhook, reason in ((off, "switched off"), (disabled, "failed for five days")):
            await connection.execute(
                """update mainstay.endpoints set is_active = false, disabled_at = mainstay.now(), disabled_reason = $2
                   where id = $1""",
                webhook["id"], reason,
            )  # fmt: skip
    found = await webhooks.read_trouble(db, company_id=tenant.company_id)
    assert {one.id: one.failures for one in found.endpoints} == {failing["id"]: 3, disabled["id"]: 20}
    assert (found.failures[0].endpoint_id, found.failures[0].error) == (failing["id"], "timeout")
    assert {(one.endpoint_id, one.error) for one in found.failures} == {
        (failing["id"], "timeout"), (failing["id"], "refused"), (disabled["id"], "refused"),
    }  # fmt: skip


async def test_a_company_without_trouble_has_none(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await _health(db, webhook["id"], 0)
    await _fail(db, webhook["id"], error="an old one")
    found = await webhooks.read_trouble(db, company_id=tenant.company_id)
    assert (found.endpoints, found.failures) == ([], [])


async def test_lists_are_bounded(tenant: Tenant, db: Database) -> None:
    for _ in range(21):
        webhook = await tenant.webhook()
        await _health(db, webhook["id"], 1)
        await _fail(db, webhook["id"], error="refused")
    found = await webhooks.read_trouble(db, company_id=tenant.company_id)
    assert (len(found.endpoints), len(found.failures)) == (20, 10)
