"""Fan-out: who gets a message, and that all of it commits or rolls back with its cause."""

import asyncio
import json

import pytest

from mainstay import webhooks
from mainstay.kernel import ids
from mainstay.kernel.db import Database, Tx
from tests.webhooks.conftest import COMPANY_PATH, Tenant, count, publish


async def deliveries_of(db: Database) -> list[tuple[str, str, str]]:
    """(endpoint, message, status) of every delivery."""
    async with db.connection() as connection:
        rows = await connection.fetch("select endpoint_id::text, message_id::text, status from mainstay.deliveries")
    return sorted(tuple(row) for row in rows)


@pytest.mark.parametrize(
    ("pattern", "kind", "wanted"),
    [
        ("task.created", "task.created", True),
        ("task.created", "user.updated", False),
        ("task.created", "task.created.twice", False),
        ("task.created", "Task.Created", False),
        ("task.*", "task.created", True),
        ("task.*", "task.created.twice", True),
        ("task.*", "task", False),
        ("task.*", "tasks.created", False),
        ("task.created.*", "task.created", False),
        ("task.created.*", "task.created.twice", True),
        ("*", "task", True),
        ("*", "task.created.twice", True),
    ],
)
@pytest.mark.contract("NP-W-02")
async def test_subscriptions_match_by_name_by_prefix_and_all(
    tenant: Tenant, db: Database, pattern: str, kind: str, wanted: bool
) -> None:
    webhook = await tenant.webhook("http://127.0.0.1:9/", "other.name", pattern)
    message = await publish(db, tenant, kind)
    assert await deliveries_of(db) == ([(webhook["id"], message.id, "PENDING")] if wanted else [])


async def test_a_message_reaches_its_workspace_and_the_company_and_nobody_else(
    tenant: Tenant, stranger: Tenant, db: Database
) -> None:
    wide = await tenant.webhook()
    here = await tenant.webhook(workspaceId=tenant.workspace_id)
    there = await tenant.webhook(workspaceId=tenant.other_workspace_id)
    await stranger.webhook()
    one = await publish(db, tenant, "a.b")
    two = await publish(db, tenant, "a.b", workspace_id=tenant.other_workspace_id)
    three = await publish(db, tenant, "a.b", workspace_id=None)
    expected = [
        (endpoint["id"], message.id, "PENDING")
        for endpoint, message in ((wide, one), (here, one), (wide, two), (there, two), (wide, three))
    ]
    assert await deliveries_of(db) == sorted(expected)


@pytest.mark.contract("NP-W-03")
async def test_an_inactive_or_deleted_webhook_gets_no_delivery_record(tenant: Tenant, db: Database) -> None:
    born_inactive = await tenant.webhook(isActive=False)
    switched_off, deleted = await tenant.webhook(), await tenant.webhook()
    await tenant.key.patch(f"{COMPANY_PATH}/{switched_off['id']}", json={"isActive": False})
    await tenant.key.delete(f"{COMPANY_PATH}/{deleted['id']}")
    await publish(db, tenant, "task.created")
    assert await count(db, "deliveries") == await count(db, "jobs") == 0
    assert await count(db, "messages") == 1
    await tenant.key.patch(f"{COMPANY_PATH}/{born_inactive['id']}", json={"isActive": True})
    message = await publish(db, tenant, "task.created")
    assert await deliveries_of(db) == [(born_inactive["id"], message.id, "PENDING")]


async def test_a_message_that_nobody_wants_leaves_no_trace(tenant: Tenant, db: Database) -> None:
    await tenant.webhook("http://127.0.0.1:9/", "user.updated")
    deleted = await tenant.webhook()
    await tenant.key.delete(f"{COMPANY_PATH}/{deleted['id']}")
    await publish(db, tenant, "task.created")
    assert await count(db, "messages") == await count(db, "deliveries") == await count(db, "jobs") == 0


@pytest.mark.contract("NP-W-15")
async def test_each_delivery_has_one_job_in_the_queue_and_all_roll_back_together(tenant: Tenant, db: Database) -> None:
    first, second = await tenant.webhook("http://127.0.0.1:9/", "task.*"), await tenant.webhook()
    messages = [
        webhooks.Message(
            id=ids.new_id(),
            company_id=tenant.company_id,
            workspace_id=tenant.workspace_id,
            type="task.created",
            body='{"n":1}',
            trace_id=ids.new_trace_id(),
        )
        for _ in range(3)
    ]

    async with db.connection() as connection:
        undone = connection.transaction()
        await undone.start()
        assert await webhooks.publish(Tx(connection), messages) == 6
        assert await connection.fetchval("select count(*) from mainstay.jobs") == 6
        await undone.rollback()
    for table in ("messages", "deliveries", "jobs"):
        assert await count(db, table) == 0

    async with db.begin() as tx:
        assert await webhooks.publish(tx, messages) == 6
    async with db.connection() as connection:
        rows = await connection.fetch(
            """select j.queue, j.kind, j.lane, j.payload #>> '{}' as delivery, j.company_id::text, j.trace_id, j.state,
                      d.endpoint_id::text, d.message_id::text, m.trace_id as message_trace
                 from mainstay.jobs j join mainstay.deliveries d on to_jsonb(d.id::text) = j.payload
                 join mainstay.messages m on m.id = d.message_id"""
        )
    assert len(rows) == len({row["delivery"] for row in rows}) == 6
    for row in rows:
        assert (row["queue"], row["kind"], row["state"]) == ("nova:webhook", "webhooks.deliver", "waiting")
        assert row["lane"] == row["endpoint_id"]
        assert row["trace_id"] == row["message_trace"]
        assert row["company_id"] == tenant.company_id
    pairs = {(row["endpoint_id"], row["message_id"]) for row in rows}
    assert pairs == {(w["id"], m.id) for w in (first, second) for m in messages}


async def test_a_thousand_messages_of_many_kinds_reach_exactly_whom_they_should(
    tenant: Tenant, stranger: Tenant, db: Database
) -> None:
    every, tasks = await tenant.webhook(), await tenant.webhook("http://127.0.0.1:9/", "task.*")
    theirs = await stranger.webhook("http://127.0.0.1:9/", "user.k3")
    messages = [
        webhooks.Message(
            id=ids.new_id(),
            company_id=(tenant, stranger)[n % 2].company_id,
            workspace_id=None,
            type=f"{('task', 'user')[n // 2 % 2]}.k{n % 7}",
            body=json.dumps({"n": n}),
            trace_id=f"{n:032x}",
        )
        for n in range(1_000)
    ]
    async with db.begin() as tx:
        made = await webhooks.publish(tx, messages)
    mine = [m for m in messages if m.company_id == tenant.company_id]
    expected = [(every["id"], m.id, "PENDING") for m in mine]
    expected += [(tasks["id"], m.id, "PENDING") for m in mine if m.type.startswith("task.")]
    expected += [
        (theirs["id"], m.id, "PENDING") for m in messages if m.company_id == stranger.company_id and m.type == "user.k3"
    ]
    assert made == len(expected)
    assert await deliveries_of(db) == sorted(expected)
    async with db.connection() as connection:
        stored = dict(await connection.fetch("select id::text, body from mainstay.messages"))
    assert stored == {m.id: m.body for m in messages if m.id in {message for _, message, _ in expected}}


async def test_nothing_to_publish_is_fine(db: Database) -> None:
    async with db.begin() as tx:
        assert await webhooks.publish(tx, []) == 0


async def test_fan_outs_at_the_same_time_do_not_disturb_each_other(tenant: Tenant, db: Database) -> None:
    await tenant.webhook()
    await asyncio.gather(*(publish(db, tenant, "task.created") for _ in range(16)))
    assert await count(db, "deliveries") == await count(db, "messages") == await count(db, "jobs") == 16
