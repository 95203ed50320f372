"""Pulling: in order, from where the reader left off, nothing skipped however late it commits."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mainstay import webhooks
from mainstay.kernel import ids
from mainstay.kernel.db import Database
from mainstay.webhooks import pull_routes
from tests.webhooks.conftest import COMPANY_PATH, PEOPLE_PATH, Tenant, count, publish

PULL = "/v1/pull"


@pytest.fixture
async def pulled(tenant: Tenant) -> dict[str, Any]:
    """A pull endpoint."""
    answer = await tenant.key.post(COMPANY_PATH, json={"kind": "pull", "events": ["task.*"]})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def reader(tenant: Tenant, webhook: dict[str, Any], credential: str | None = None) -> Any:
    """Reads with the endpoint's own credential."""

    async def read(**query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {credential or webhook['secret']}"}
        return await tenant.key.get(f"{PULL}/{webhook['id']}", params=query, headers=headers)

    return read


async def test_messages_come_in_order_once_and_in_pages(tenant: Tenant, db: Database, pulled: dict[str, Any]) -> None:
    read = reader(tenant, pulled)
    empty = (await read()).json()
    assert (empty["data"], empty["meta"]["done"]) == ([], True)
    sent = [(await publish(db, tenant, f"task.t{n}")).id for n in range(5)]
    await publish(db, tenant, "user.created")
    seen: list[dict[str, Any]] = []
    cursor = empty["meta"]["nextCursor"]
    for expected, done in ((2, False), (2, False), (1, True), (0, True)):
        page = (await read(limit=2, cursor=cursor)).json()
        assert (len(page["data"]), page["meta"]["done"]) == (expected, done)
        seen += page["data"]
        cursor = page["meta"]["nextCursor"]
    assert [one["id"] for one in seen] == sent
    assert (seen[0]["type"], seen[0]["data"]) == ("task.t0", {"n": 1})
    assert (await read()).json()["data"] == seen
    assert await count(db, "deliveries") == 0


@pytest.mark.parametrize("family", [PEOPLE_PATH, COMPANY_PATH])
async def test_the_companys_own_people_and_keys_read_too(
    tenant: Tenant, stranger: Tenant, db: Database, pulled: dict[str, Any], family: str
) -> None:
    message = await publish(db, tenant, "task.created")
    client = tenant.key if family == COMPANY_PATH else tenant.owner
    answer = await client.get(f"{family}/{pulled['id']}/messages")
    assert [one["id"] for one in answer.json()["data"]] == [message.id]
    assert answer.headers["cache-control"] == "no-store"
    other = stranger.key if family == COMPANY_PATH else stranger.owner
    assert (await other.get(f"{family}/{pulled['id']}/messages")).status_code == 404
    pushed = await tenant.webhook()
    refused = await client.get(f"{family}/{pushed['id']}/messages")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook-not-pull")


async def test_a_late_commit_is_never_skipped(tenant: Tenant, db: Database, pulled: dict[str, Any]) -> None:
    read = reader(tenant, pulled)
    late = webhooks.Message(
        id=ids.new_id(), company_id=tenant.company_id, workspace_id=tenant.workspace_id, type="task.late",
        body='{"type":"task.late","data":{}}', trace_id=ids.new_trace_id(),
    )  # fmt: skip
    before = await publish(db, tenant, "task.before")
    async with db.begin() as tx:
        await webhooks.publish(tx, [late])
        after = await publish(db, tenant, "task.after")
        first = (await read()).json()
        assert [one["id"] for one in first["data"]] == [before.id]
    second = (await read(cursor=first["meta"]["nextCursor"])).json()
    assert [one["id"] for one in second["data"]] == [late.id, after.id]


async def test_only_the_endpoints_own_credential_opens_it(
    tenant: Tenant, stranger: Tenant, db: Database, pulled: dict[str, Any]
) -> None:
    async with db.connection() as connection:
        kept = await connection.fetchval("select secret_sealed from mainstay.endpoints where id = $1", pulled["id"])
    assert pulled["secret"].encode() not in kept
    assert len(kept) == 32
    other = (await stranger.key.post(COMPANY_PATH, json={"kind": "pull", "events": ["*"]})).json()
    pushed = await tenant.webhook()
    for webhook, credential in (
        (pulled, other["secret"]), (pulled, pulled["secret"][:-1]), (pulled, pulled["secret"] + "x"), (pulled, "ü"),
        (other, pulled["secret"]), (pushed, pushed["secret"]), ({"id": str(uuid.uuid4())}, pulled["secret"]),
        ({"id": "no-id"}, pulled["secret"]),
    ):  # fmt: skip
        headers = {"authorization": f"Bearer {credential}".encode()}
        refused = await tenant.key.get(f"{PULL}/{webhook['id']}", headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    bare = await tenant.key.get(f"{PULL}/{pulled['id']}", headers={"authorization": ""})
    assert bare.status_code == 401
    as_key = await tenant.key.get(COMPANY_PATH, headers={"authorization": f"Bearer {pulled['secret']}"})
    assert as_key.status_code == 401


async def test_a_credential_is_rotated_with_overlap(tenant: Tenant, pulled: dict[str, Any]) -> None:
    path = f"{COMPANY_PATH}/{pulled['id']}/rotate-secret"
    renewed = (await tenant.key.post(path, json={"overlapSeconds": 60})).json()
    assert renewed["secret"].startswith("whpull_")
    for credential in (pulled["secret"], renewed["secret"]):
        assert (await reader(tenant, pulled, credential)()).status_code == 200
    last = (await tenant.key.post(path, json={"overlapSeconds": 0})).json()
    assert (await reader(tenant, pulled, renewed["secret"])()).status_code == 401
    assert (await reader(tenant, pulled, last["secret"])()).status_code == 200


async def test_switched_off_it_says_so_and_deleted_it_is_closed(tenant: Tenant, pulled: dict[str, Any]) -> None:
    path = f"{COMPANY_PATH}/{pulled['id']}"
    await tenant.key.patch(path, json={"isActive": False})
    refused = await reader(tenant, pulled)()
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook-inactive")
    await tenant.key.delete(path)
    assert (await reader(tenant, pulled)()).status_code == 401


async def test_the_payload_is_written_in_the_endpoints_version(
    tenant: Tenant, db: Database, pulled: dict[str, Any]
) -> None:
    flat = {"actorId": "u-1", "actorEmail": None, "actorName": "Ann", "targetId": None, "targetType": None}
    await publish(db, tenant, "task.done", json.dumps({"type": "task.done", "timestamp": "t", "data": flat}))
    read = reader(tenant, pulled)
    assert (await read()).json()["data"][0]["data"]["actorName"] == "Ann"
    await tenant.key.patch(f"{COMPANY_PATH}/{pulled['id']}", json={"payloadVersion": 2})
    assert (await read()).json()["data"][0]["data"]["actor"]["name"] == "Ann"


async def test_reading_can_begin_at_a_time(tenant: Tenant, db: Database, pulled: dict[str, Any]) -> None:
    read = reader(tenant, pulled)
    await publish(db, tenant, "task.early")
    await asyncio.sleep(0.05)
    since = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.05)
    later = await publish(db, tenant, "task.later")
    page = (await read(since=since)).json()
    assert [one["id"] for one in page["data"]] == [later.id]
    assert (await read(cursor=page["meta"]["nextCursor"])).json()["data"] == []
    future = (await read(since=(datetime.now(UTC) + timedelta(days=1)).isoformat())).json()
    assert future["data"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"limit": "x"}, "limit"), ({"wait": 21}, "wait"),
        ({"wait": -1}, "wait"), ({"cursor": "x"}, "cursor"), ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"), ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"unknown": 1}, "unknown"),
    ],
)  # fmt: skip
async def test_bad_queries_are_refused(
    tenant: Tenant, pulled: dict[str, Any], query: dict[str, Any], pointer: str
) -> None:
    refused = await reader(tenant, pulled)(**query)
    assert (refused.status_code, [one["pointer"] for one in refused.json()["errors"]]) == (400, [pointer])


async def test_a_cursor_is_of_one_endpoint_and_goes_with_no_time(tenant: Tenant, pulled: dict[str, Any]) -> None:
    cursor = (await reader(tenant, pulled)(limit=100)).json()["meta"]["nextCursor"]
    other = (await tenant.key.post(COMPANY_PATH, json={"kind": "pull", "events": ["*"]})).json()
    assert (await reader(tenant, other)(cursor=cursor)).status_code == 400
    refused = await reader(tenant, pulled)(cursor=cursor, since="2026-01-01T00:00:00Z")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "since")


async def test_waiting_ends_with_the_first_message(tenant: Tenant, db: Database, pulled: dict[str, Any]) -> None:
    read = reader(tenant, pulled)
    waiting = asyncio.create_task(read(wait=20))
    await asyncio.sleep(0.4)
    assert not waiting.done()
    message = await publish(db, tenant, "task.created")
    started = time.monotonic()
    answer = (await waiting).json()
    assert [one["id"] for one in answer["data"]] == [message.id]
    assert time.monotonic() - started < 15
    started = time.monotonic()
    nothing = (await read(wait=1, cursor=answer["meta"]["nextCursor"])).json()
    assert nothing["data"] == []
    assert time.monotonic() - started > 0.9


async def test_waiting_holds_no_connection_and_has_bounds(tenant: Tenant, db: Database, pulled: dict[str, Any]) -> None:
    read = reader(tenant, pulled)
    waiting = [asyncio.create_task(read(wait=20)) for _ in range(pull_routes.WAITERS_OF_ONE)]
    await asyncio.sleep(0.5)
    assert not any(one.done() for one in waiting)
    async with asyncio.timeout(15):
        async with db.connection() as one, db.connection() as two, db.connection() as three:
            for connection in (one, two, three):
                assert await connection.fetchval("select 1") == 1
    assert (await read(wait=20)).json()["data"] == []
    assert not any(one.done() for one in waiting), "the one too many did not wait as long as they do"
    await publish(db, tenant, "task.created")
    assert [one.status_code for one in await asyncio.gather(*waiting)] == [200] * pull_routes.WAITERS_OF_ONE
    started = time.monotonic()
    await read(wait=1, cursor=(await read()).json()["meta"]["nextCursor"])
    assert time.monotonic() - started > 0.9


def test_places_to_wait_are_counted_in_all_and_for_each() -> None:
    waiters = pull_routes.Waiters(most=3, of_one=2)
    with waiters.place("a") as one, waiters.place("a") as two, waiters.place("a") as three, waiters.place("b") as four:
        assert (one, two, three, four) == (True, True, False, True)
        with waiters.place("c") as five:
            assert five is False
    with waiters.place("a") as again:
        assert again is True
