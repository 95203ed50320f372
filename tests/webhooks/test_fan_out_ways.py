"""Fan-out to endpoints that are off, filter, pull, or want order."""

import json
from typing import Any

import pytest

from mainstay import webhooks
from mainstay.kernel import ids
from mainstay.kernel.db import Database
from tests.webhooks.conftest import Tenant, count, publish
from tests.webhooks.policy import configure, fetch

PATH = "exists($.data.amount ? (@ > 100))"


async def filtered(db: Database, tenant: Tenant, path: str, **more: Any) -> dict[str, Any]:
    webhook = await tenant.webhook(**more)
    await configure(db, webhook, filter="{}", filter_path=path)
    return webhook


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        (PATH, '{"data":{"amount":101}}', True),
        (PATH, '{"data":{"amount":100}}', False),
        (PATH, '{"data":{"amount":"101"}}', False),
        (PATH, '{"data":{}}', False),
        (PATH, '{"data":{"amount":1e400}}', True),
        ("$.data.amount > 100", '{"data":{"amount":"text"}}', False),
        (PATH, "{no json", True),
        (PATH, '{"data":{"text":"\\u0000","amount":1}}', True),
        ("this is no path (", '{"data":{"amount":1}}', True),
    ],
)
async def test_a_filter_lets_pass_what_matches_and_what_cannot_be_judged(
    tenant: Tenant, db: Database, path: str, body: str, wanted: bool
) -> None:
    await filtered(db, tenant, path)
    await publish(db, tenant, "task.created", body)
    assert await count(db, "deliveries") == await count(db, "messages") == await count(db, "jobs") == int(wanted)


async def test_a_filter_is_its_endpoints_own(tenant: Tenant, stranger: Tenant, db: Database) -> None:
    picky = await filtered(db, tenant, PATH)
    every = await tenant.webhook()
    await stranger.webhook()
    messages = [
        webhooks.Message(
            id=ids.new_id(),
            company_id=(tenant if n % 3 else stranger).company_id,
            workspace_id=None,
            type=f"task.k{n % 5}",
            body=json.dumps({"data": {"amount": n}}),
            trace_id=f"{n:032x}",
        )
        for n in range(300)
    ]
    async with db.begin() as tx:
        await webhooks.publish(tx, messages)
    mine = {m.id for n, m in enumerate(messages) if n % 3}
    large = {m.id for n, m in enumerate(messages) if n % 3 and n > 100}
    got = await fetch(db, "select endpoint_id::text, message_id::text from mainstay.deliveries")
    assert {message for endpoint, message in got if endpoint == picky["id"]} == large
    assert {message for endpoint, message in got if endpoint == every["id"]} == mine
    assert len(got) == len(mine) + len(large) + 100


async def test_what_an_endpoint_missed_while_off_is_kept_without_a_delivery(tenant: Tenant, db: Database) -> None:
    await tenant.webhook("http://127.0.0.1:9/", "task.*", isActive=False)
    off = await tenant.webhook("http://127.0.0.1:9/", "user.*", isActive=False)
    await configure(db, off, filter="{}", filter_path=PATH)
    wanted = await publish(db, tenant, "task.created")
    await publish(db, tenant, "other.thing")
    await publish(db, tenant, "user.updated", '{"data":{"amount":1}}')
    filtered_in = await publish(db, tenant, "user.updated", '{"data":{"amount":200}}')
    kept = await fetch(db, "select id::text from mainstay.messages")
    assert {row["id"] for row in kept} == {wanted.id, filtered_in.id}
    assert await count(db, "deliveries") == await count(db, "jobs") == 0


async def test_an_endpoint_that_pulls_gets_items_and_no_job(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await configure(db, webhook, kind="pull", url=None)
    message = await publish(db, tenant, "task.created")
    (item,) = await fetch(
        db,
        """select endpoint_id::text, message_id::text, company_id::text,
                  txid = (select xmin::text::bigint from mainstay.messages) as is_of_its_transaction
             from mainstay.pull_items""",
    )
    assert tuple(item) == (webhook["id"], message.id, tenant.company_id, True)
    assert await count(db, "deliveries") == await count(db, "jobs") == 0
    await configure(db, webhook, is_active=False)
    await publish(db, tenant, "task.created")
    assert await count(db, "pull_items") == 1
    assert await count(db, "messages") == 2


async def test_ordered_endpoints_get_a_line_and_one_job(tenant: Tenant, db: Database) -> None:
    first, second, plain = [await tenant.webhook() for _ in range(3)]
    for webhook in (first, second):
        await configure(db, webhook, is_fifo=True)
    messages = [
        webhooks.Message(
            id=ids.new_id(), company_id=tenant.company_id, workspace_id=None, type=f"a.k{n % 4}", body="{}",
            trace_id=ids.new_trace_id(),
        )
        for n in range(50)
    ]  # fmt: skip
    messages.reverse()
    async with db.begin() as tx:
        assert await webhooks.publish(tx, messages[:20]) == 60
    async with db.begin() as tx:
        assert await webhooks.publish(tx, messages[20:]) == 90
    for webhook in (first, second):
        rows = await fetch(
            db,
            """select d.message_id::text, d.status, d.next_attempt_at from mainstay.fifo_lines l
                 join mainstay.deliveries d on d.id = l.delivery_id and d.endpoint_id = l.endpoint_id
                where l.endpoint_id = $1 order by l.pos""",
            webhook["id"],
        )
        assert [row["message_id"] for row in rows] == [message.id for message in messages]
        assert {(row["status"], row["next_attempt_at"]) for row in rows} == {("PENDING", None)}
    jobs = await fetch(
        db, "select kind, lane, payload #>> '{}' as payload, dedupe_key, company_id::text from mainstay.jobs"
    )
    in_order = sorted(tuple(row) for row in jobs if row["kind"] == "webhooks.deliver_in_order")
    assert in_order == sorted(
        ("webhooks.deliver_in_order", w["id"], w["id"], w["id"], tenant.company_id) for w in (first, second)
    )
    assert {row["lane"] for row in jobs if row["kind"] == "webhooks.deliver"} == {plain["id"]}
    assert len(jobs) == 52


async def test_one_more_delivery_takes_the_way_of_its_endpoint(tenant: Tenant, stranger: Tenant, db: Database) -> None:
    message = await publish(db, tenant, "task.created")
    plain, ordered, pulling, deleted = [await tenant.webhook("http://127.0.0.1:9/", "no.such") for _ in range(4)]
    every = await tenant.webhook()
    message = await publish(db, tenant, "task.created")
    theirs = await stranger.webhook()
    await configure(db, ordered, is_fifo=True)
    await configure(db, pulling, kind="pull", url=None)
    await tenant.key.delete(f"/v1/key/company/webhooks/{deleted['id']}")
    wanted = [plain, ordered, pulling, deleted, theirs]
    made = [ids.new_id() for _ in wanted]
    replay_of = ids.new_id()
    (row,) = await fetch(
        db,
        "select mainstay.deliver($1, $2, $3, $4)",
        made,
        [message.id] * 5,
        [w["id"] for w in wanted],
        [replay_of] * 5,
    )
    assert row[0] == 3
    rows = await fetch(db, "select id::text, endpoint_id::text, replay_of::text from mainstay.deliveries order by id")
    assert [tuple(row) for row in rows if row["endpoint_id"] != every["id"]] == [
        (made[0], plain["id"], replay_of),
        (made[1], ordered["id"], replay_of),
    ]
    assert [r["delivery_id"] for r in await fetch(db, "select delivery_id::text from mainstay.fifo_lines")] == [made[1]]
    assert [r["id"] for r in await fetch(db, "select id::text from mainstay.pull_items")] == [made[2]]
    jobs = await fetch(db, "select kind, payload #>> '{}' as payload from mainstay.jobs")
    assert ("webhooks.deliver", made[0]) in {tuple(job) for job in jobs}
    assert ("webhooks.deliver_in_order", ordered["id"]) in {tuple(job) for job in jobs}
    assert len(jobs) == 3


async def test_items_to_pull_are_in_the_order_of_their_messages(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await configure(db, webhook, kind="pull", url=None)
    messages = [
        webhooks.Message(
            id=ids.new_id(),
            company_id=tenant.company_id,
            workspace_id=None,
            type="a.b",
            body="{}",
            trace_id=ids.new_trace_id(),
        )
        for _ in range(100)
    ]
    messages.reverse()
    async with db.begin() as tx:
        await webhooks.publish(tx, messages)
    rows = await fetch(db, "select message_id::text from mainstay.pull_items order by endpoint_id, txid, id")
    assert [row["message_id"] for row in rows] == [message.id for message in messages]
