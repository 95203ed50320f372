"""Processes of the version before go on while the new one is rolled out: their statements mean what they meant."""

from mainstay.kernel.db import Database
from tests.webhooks.conftest import Tenant, count, publish
from tests.webhooks.policy import fetch

LOADED = [
    "id", "attempts", "max_attempts", "is_first", "message_id", "type", "body", "trace_id", "age_seconds",
    "endpoint_id", "url", "is_wanted", "secret_sealed", "previous_sealed",
]  # fmt: skip
RECORD = """select mainstay.record_attempts(
              'older', 100.0, $1::uuid[], array[1]::smallint[], array[99.5]::float8[], array[20], array['status'],
              array[500]::smallint[], array['the receiver answered 500'], array['{}'], array['no'], array['127.0.0.1'],
              array['RETRYING'], array[60]::float8[])"""


async def test_a_delivery_is_loaded_and_its_try_recorded_by_the_statements_of_the_version_before(
    tenant: Tenant, db: Database
) -> None:
    webhook = await tenant.webhook()
    await publish(db, tenant, "a.b")
    (delivery_id,) = [row["id"] for row in await fetch(db, "select id from mainstay.deliveries")]
    (loaded,) = await fetch(db, "select * from mainstay.load_deliveries($1)", [delivery_id])
    assert list(loaded.keys())[: len(LOADED)] == LOADED
    assert (loaded["id"], loaded["endpoint_id"], loaded["is_wanted"]) == (str(delivery_id), webhook["id"], True)
    await fetch(db, RECORD, [delivery_id])
    await fetch(db, RECORD, [delivery_id])
    assert await count(db, "attempts", "outcome = 'status' and status_code = 500") == 1
    (shown,) = await tenant.log(webhook)
    assert (shown["status"], shown["lastStatusCode"], len(shown["attempts"])) == ("RETRYING", 500, 1)
