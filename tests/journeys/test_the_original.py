"""What HyreLog's own API was measured to get wrong, shown to be right here: real processes, real sockets."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainstay import events, identity, plans
from mainstay.kernel.db import Database, Sql
from tests.cli.running import SECRETS, Running, running
from tests.conftest import SqlClock
from tests.tenancy import OPERATOR, Tenancy

PATH = "/v1/key/workspace/events"
EVENT = {"action": "a.b", "category": "t"}


@pytest.fixture
def nodes(fresh_url: str, tmp_path: Path) -> Iterator[list[Running]]:
    """Two API processes on one database."""
    env = {**SECRETS, "DATABASE_URL": fresh_url, "OUTBOUND_ALLOW": "127.0.0.0/8"}
    with (
        running("api", "--port", "0", env=env, log=tmp_path / "one.log") as one,
        running("api", "--port", "0", env=env, log=tmp_path / "two.log") as two,
    ):
        yield [one, two]


@pytest.fixture
def node(fresh_url: str, tmp_path: Path) -> Iterator[Running]:
    """One API process."""
    env = {**SECRETS, "DATABASE_URL": fresh_url, "OUTBOUND_ALLOW": "127.0.0.0/8"}
    with running("api", "--port", "0", env=env, log=tmp_path / "api.log") as api:
        yield api


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that ends with the block."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def post(
    session: aiohttp.ClientSession, api: Running, token: str, body: Any, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and body of one POST of an event."""
    headers = {"authorization": f"Bearer {token}"} | ({} if key is None else {"idempotency-key": key})
    async with session.post(api.url + PATH, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_the_chain_does_not_fork_and_the_meter_loses_nothing(
    nodes: list[Running], db: Database, tenancy: Tenancy
) -> None:
    async with client() as session:

        async def write(number: int) -> list[int]:
            return [(await post(session, nodes[number % 2], tenancy.key, EVENT))[0] for _ in range(20)]

        told = await asyncio.gather(*(write(number) for number in range(32)))
    assert [status for statuses in told for status in statuses] == [201] * 640
    counts = await db.row(
        Sql(
            "test",
            """select count(*) as rows, count(distinct prev_hash) as parents, min(seq) as first, max(seq) as last
               from mainstay.events where workspace_id = $1""",
        ),
        tenancy.workspace_id,
    )
    assert counts is not None
    assert dict(counts) == {"rows": 640, "parents": 640, "first": 1, "last": 640}
    verdict = await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys={})
    assert (verdict.ok, verdict.checked) == (True, 640)
    used = await plans.usage(db, tenancy.company_id, "events")
    assert {one.workspace_id: one.quantity for one in used} == {tenancy.workspace_id: 640}


async def test_an_idempotency_key_is_honoured_on_every_node(
    nodes: list[Running], db: Database, tenancy: Tenancy
) -> None:
    async with client() as session:
        first = await post(session, nodes[0], tenancy.key, EVENT, key="k")
        again = [await post(session, api, tenancy.key, EVENT, key="k") for api in nodes]
        other = await post(session, nodes[1], tenancy.key, {**EVENT, "action": "c.d"}, key="k")
        race = [post(session, nodes[n % 2], tenancy.key, EVENT, key="race") for n in range(16)]
        raced = await asyncio.gather(*race)
    assert first[0] == 201
    assert [(status, body["id"]) for status, body in again] == [(201, first[1]["id"])] * 2
    assert other[0] == 422
    assert {status for status, _ in raced} <= {201, 409}
    assert len({body["id"] for status, body in raced if status == 201}) == 1
    count = Sql("test", "select count(*) from mainstay.events where workspace_id = $1")
    assert await db.value(count, tenancy.workspace_id) == 2
    used = await plans.usage(db, tenancy.company_id, "events")
    assert [one.quantity for one in used] == [2]


async def test_the_expiry_of_a_key_is_honoured(
    node: Running, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    async with db.begin() as tx:
        expires_at = await tx.value(Sql("test", "select mainstay.now() + interval '1 hour'"))
        issued = await identity.issue_key(
            tx, OPERATOR, tenancy.company_id, kind="workspace", name="short", workspace_id=tenancy.workspace_id,
            expires_at=expires_at,
        )  # fmt: skip
    async with client() as session:
        before = await post(session, node, issued.secret, EVENT)
        await sql_clock.move(timedelta(hours=1, seconds=1))
        after = [await post(session, node, issued.secret, EVENT) for _ in range(2)]
    assert before[0] == 201
    assert [(status, body["code"]) for status, body in after] == [(401, "unauthenticated")] * 2
    count = Sql("test", "select count(*) from mainstay.events where workspace_id = $1")
    assert await db.value(count, tenancy.workspace_id) == 1


def raw_post(token: str, body: bytes, *, length: int | None = None) -> bytes:
    """The bytes of a POST of that body."""
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    ).encode() + body


BAD_BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no object": b'"text"',
    "no action": b'{"category":"t"}',
    "an action of the wrong type": b'{"action":1}',
    "an unknown field": b'{"action":"a.b","category":"t","colour":"red"}',
    "a field twice": b'{"action":"a.b","action":"c.d"}',
    "no UTF-8": b'{"action":"\xff\xfe"}',
    "a NUL": b'{"action":"a\\u0000b"}',
    "half a surrogate pair": b'{"action":"a.b","payload":{"x":"\\ud800"}}',
    "no date": b'{"action":"a.b","occurredAt":"yesterday"}',
    "a date that is not": b'{"action":"a.b","occurredAt":"2026-02-30T00:00:00Z"}',
    "a number past 2^53": b'{"action":"a.b","payload":{"n":9007199254740993}}',
    "no number": b'{"action":"a.b","payload":{"n":NaN}}',
    "depth": b'{"action":"a.b","payload":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
}
BAD_HTTP = {
    "no request line": b"\r\n\x00\x01 hello\r\n\r\n",
    "a wrong version": b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "a negative length": b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "a wrong chunk": b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
}


def exchange(api: Running, sent: bytes) -> bytes:
    """What comes back until the other side closes."""
    port = int(api.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        found = b""
        while chunk := connection.recv(65_536):
            found += chunk
        return found


async def test_bad_input_is_400_and_stores_nothing(node: Running, db: Database, tenancy: Tenancy) -> None:
    found: dict[str, bytes] = {}
    for name, body in BAD_BODIES.items():
        answer = await asyncio.to_thread(exchange, node, raw_post(tenancy.key, body))
        found[name] = answer.split(b"\r\n", 1)[0]
        assert b"content-type: application/problem+json" in answer, (name, answer)
    for name, sent in BAD_HTTP.items():
        found[name] = (await asyncio.to_thread(exchange, node, sent)).split(b"\r\n", 1)[0]
    assert {name: line for name, line in found.items() if not line.startswith(b"HTTP/1.1 400 ")} == {}
    with socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2])), timeout=60) as cut:
        cut.sendall(raw_post(tenancy.key, b'{"action":', length=500))
    good = await asyncio.to_thread(exchange, node, raw_post(tenancy.key, b'{"action":"a.b","category":"t"}'))
    assert re.match(rb"HTTP/1.1 201 ", good), good
    assert await db.value(Sql("test", "select count(*) from mainstay.events")) == 1
    assert "Traceback" not in node.log.read_text()


async def test_each_acknowledged_event_has_its_delivery_after_a_kill(
    fresh_url: str, tmp_path: Path, db: Database, tenancy: Tenancy
) -> None:
    env = {**SECRETS, "DATABASE_URL": fresh_url, "OUTBOUND_ALLOW": "127.0.0.0/8"}
    told: set[str] = set()
    endpoint: str | None = None
    for kill in range(3):
        with running("api", "--port", "0", env=env, log=tmp_path / f"{kill}.log") as api:
            async with client() as session:
                endpoint = endpoint or await subscribe(session, api, tenancy)
                writers = [asyncio.create_task(write_on(session, api, tenancy, told)) for _ in range(16)]
                while len(told) < 30 * (kill + 1):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1 * kill)
                api.process.kill()
                await asyncio.gather(*writers)
            await asyncio.to_thread(api.process.wait)
    rows = await db.rows(
        Sql(
            "test",
            """select d.message_id::text as event from mainstay.deliveries d
               join mainstay.jobs j on j.payload::jsonb #>> '{}' = d.id::text where d.endpoint_id = $1""",
        ),
        endpoint,
    )
    found = [row["event"] for row in rows]
    assert len(told) >= 90
    assert told <= set(found)
    assert len(found) == len(set(found))
    assert await db.value(Sql("test", "select count(*) from mainstay.events")) == len(found)


async def subscribe(session: aiohttp.ClientSession, api: Running, tenancy: Tenancy) -> str:
    """An endpoint for every event of the workspace; no worker runs, so nothing is sent."""
    body = {"url": "http://127.0.0.1:9/hook", "events": ["*"], "workspaceId": tenancy.workspace_id}
    headers = tenancy.company_auth
    async with session.post(f"{api.url}/v1/key/company/webhooks", json=body, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["id"])


async def write_on(session: aiohttp.ClientSession, api: Running, tenancy: Tenancy, told: set[str]) -> None:
    """Events are sent until nobody answers."""
    while True:
        try:
            status, event = await post(session, api, tenancy.key, EVENT)
        except (aiohttp.ClientError, OSError):
            return
        assert status == 201, event
        told.add(event["id"])
