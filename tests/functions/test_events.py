"""`POST /e/{event key}`: Inngest's wire format, what is refused, and the SDK's own client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import inngest
import orjson
import pytest
import uvicorn
from inngest._internal import net
from inngest._internal.errors import SendEventsError

from mainstay import main
from mainstay.functions import protocol
from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.functions.conftest import all_of, one
from tests.tenancy import test_settings

KEY = "an-event-key-of-some-length"
SIGNING = "signkey-test-0123456789abcdef0123456789abcdef"
PATH = f"/e/{KEY}"


@pytest.fixture
async def events(fresh_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API under an event key and a signing key."""
    async with running_app(fresh_url, INNGEST_EVENT_KEY=KEY, INNGEST_SIGNING_KEY=SIGNING) as client:
        yield client


async def _sent(db: Database) -> list[Any]:
    rows = await all_of(db, "select payload from mainstay.jobs where kind = 'functions.route' order by id")
    return [event for row in rows for event in orjson.loads(row["payload"])["events"]]


async def test_one_event_or_many_are_taken_and_an_id_once(events: httpx.AsyncClient, db: Database) -> None:
    answer = await events.post(PATH, json={"name": "a/b", "data": {"n": 1}, "user": {"id": 7}, "ts": 5, "v": "2"})
    assert answer.status_code == 200
    (first,) = answer.json()["ids"]
    assert answer.json() == {"ids": [first], "status": 200}
    several = await events.post(PATH, json=[{"name": "a/b", "id": "x"}, {"name": "a/c", "id": "x"}, {"name": "a/c"}])
    ids = several.json()["ids"]
    assert ids[0] == ids[1] != ids[2]
    again = await events.post(PATH, json={"name": "a/b", "id": "x"})
    assert again.json()["ids"] == ids[:1]
    sent = await _sent(db)
    assert [event["name"] for event in sent] == ["a/b", "a/b", "a/c"]
    assert {**sent[0], "id": None, "key": None} == {
        "name": "a/b", "data": {"n": 1}, "user": {"id": 7}, "id": None, "ts": 5, "v": "2", "key": None,
    }  # fmt: skip


@pytest.mark.contract("DR-C-02", "DR-C-03")
async def test_without_the_key_or_with_a_bad_signature_events_are_refused(
    events: httpx.AsyncClient, api: httpx.AsyncClient, db: Database
) -> None:
    body = orjson.dumps({"name": "a/b", "data": {"é": 1.0, "b": [1, 2]}})
    json = {"content-type": "application/json"}
    for client, path in ((events, "/e/another-key-of-some-length"), (events, "/e/é"), (api, PATH)):
        refused = await client.post(path, content=body, headers=json)
        assert (refused.status_code, refused.json()["code"]) == (401, "event-key-refused")
    right = net.sign_request(body, SIGNING)
    assert isinstance(right, str)
    assert protocol.sign(SIGNING, body, at=int(right[2:].partition("&")[0])) == right
    old = protocol.sign(SIGNING, body, at=1_600_000_000)
    for wrong in (right[:-1] + ("0" if right[-1] != "0" else "1"), old, "s=1", "t=x&s=y", ""):
        refused = await events.post(PATH, content=body, headers={**json, "x-inngest-signature": wrong})
        assert (refused.status_code, refused.json()["code"]) == (401, "signature-refused"), wrong
    assert await _sent(db) == []
    taken = await events.post(PATH, content=body, headers={**json, "x-inngest-signature": right})
    assert taken.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"{", 400, "#"),
        (b"7", 400, "#"),
        (b'[{"name":"a"},{"data":{}}]', 400, "#/1/name"),
        (b'{"name":"a","ts":"x"}', 400, "#/0/ts"),
        (b'{"name":"a","data":{"x":"\\u0000"}}', 400, "#/0"),
        (b'[{"name":"a"},{"name":"a","data":{"x":"' + b"x" * 256_000 + b'"}}]', 413, "#/1"),
        (b'[{"name":"a"}' + b',{"name":"a"}' * 5_000 + b"]", 400, "#"),
        (b"[" * 200_000, 400, "#"),
        (b"[" + b" " * 4_194_304 + b"]", 413, None),
    ],
    ids=["no json", "no event", "no name", "bad time", "nul", "large event", "many", "deep", "large body"],
)
async def test_what_is_wrong_is_named_and_nothing_is_taken(
    events: httpx.AsyncClient, db: Database, body: bytes, status: int, pointer: str | None
) -> None:
    answer = await events.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert [error["pointer"] for error in answer.json().get("errors", [])] == ([pointer] if pointer else [])
    assert await one(db, "select count(*) from mainstay.jobs") == 0


async def test_the_key_is_in_no_line_of_the_log_and_in_no_refusal(
    events: httpx.AsyncClient, db: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = await events.post(PATH, json={})
    assert (refused.status_code, refused.json()["instance"]) == (400, "/e/{event_key}")
    await all_of(db, "drop sequence mainstay.function_events_seq cascade")
    failed = await events.post(PATH, json={"name": "a"})
    assert failed.status_code == 500
    said = capsys.readouterr()
    logged = said.out + said.err + caplog.text
    assert "request failed" in logged
    assert KEY not in logged + failed.text + refused.text


@asynccontextmanager
async def _serving(url: str) -> AsyncIterator[str]:
    app = main.build_api(test_settings(url, INNGEST_EVENT_KEY=KEY))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def close_client(client: inngest.Inngest) -> None:
    """Nothing of the SDK's client stays open; it has no verb for that."""
    await client._http_client._http_client.aclose()
    client._http_client._http_client_sync.close()


async def test_the_sdks_own_client_sends_events_and_hears_of_refusals(fresh_url: str, db: Database) -> None:
    async with _serving(fresh_url) as url:
        given: Any = {"app_id": "shop", "event_api_base_url": url, "is_production": True}
        client = inngest.Inngest(event_key=KEY, signing_key=SIGNING, **given)
        wrong = inngest.Inngest(event_key="wrong-key", **given)
        ids = await client.send(
            [inngest.Event(name="shop/paid", data={"n": 1}, id="e1"), inngest.Event(name="shop/sent")]
        )
        assert await client.send(inngest.Event(name="shop/paid", id="e1")) == ids[:1]
        with pytest.raises(SendEventsError, match="INNGEST_EVENT_KEY"):
            await wrong.send(inngest.Event(name="shop/paid"))
        with pytest.raises(SendEventsError, match="#/0/name"):
            await client.send(inngest.Event(name=""))
        for one in (client, wrong):
            await close_client(one)
    assert [event["name"] for event in await _sent(db)] == ["shop/paid", "shop/sent"]
