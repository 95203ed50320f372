"""Storing events: one, many, again, at the same moment, and with everything that is wrong."""

import asyncio
import json
from typing import Any

import httpx
import orjson
import pytest

from mainstay import events, identity
from mainstay.kernel.db import Database, Sql
from tests.conftest import running_app
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

EVENTS = "/v1/key/workspace/events"
BATCH = "/v1/key/workspace/events/batch"
FULL: dict[str, Any] = {
    "action": "invoice.paid",
    "category": "billing",
    "actor": {"id": "u_1", "email": "ada@example.com", "name": "Ada Lovelace"},
    "target": {"id": "inv_7", "type": "invoice"},
    "projectId": "p_9",
    "payload": {"amount": 1250, "currency": "EUR", "lines": [{"n": 1}, {"n": 2}], "note": "grüße 🎉"},
    "metadata": {"ip": "192.0.2.1", "ratio": 0.25},
    "changes": [{"field": "status", "old": "open", "new": "paid"}],
    "occurredAt": "2026-11-01T12:00:00.123456+02:00",
}
FLAT_MEMBERS = {
    "id", "companyId", "workspaceId", "projectId", "action", "category", "actorId", "actorEmail", "actorName", "targetId",  # noqa: E501
    "targetType", "payload", "metadata", "changes", "hash", "prevHash", "traceId", "archived", "archivalCandidate",
    "dataRegion", "createdAt", "seq", "occurredAt", "receivedAt",
}  # fmt: skip


async def stored_count(db: Database) -> int:
    count: int = await db.value(Sql("test.count", "select count(*) from mainstay.events where category <> 'mainstay'"))
    return count


async def verified(db: Database, tenancy: Tenancy) -> events.Verdict:
    keys = await events.public_keys(db)
    return await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)


@pytest.mark.contract("HL-E-01", "HL-E-02", "HL-E-03", "HL-O-02")
async def test_an_event_comes_back_whole_with_its_place(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    answer = await api.post(EVENTS, json=FULL, headers=tenancy.auth)
    assert answer.status_code == 201
    event = answer.json()
    assert event.keys() == FLAT_MEMBERS
    assert event["companyId"] == tenancy.company_id
    assert event["workspaceId"] == tenancy.workspace_id
    assert [event["actorId"], event["actorEmail"], event["actorName"]] == ["u_1", "ada@example.com", "Ada Lovelace"]
    assert [event["targetId"], event["targetType"], event["projectId"]] == ["inv_7", "invoice", "p_9"]
    assert event["payload"] == FULL["payload"]
    assert event["metadata"] == FULL["metadata"]
    assert event["changes"] == FULL["changes"]
    assert event["occurredAt"] == "2026-11-01T10:00:00.123456Z"
    assert event["createdAt"] == event["receivedAt"]
    assert event["archived"] is event["archivalCandidate"] is False
    assert [event["seq"], event["prevHash"]] == [1, "00" * 32]
    assert len(event["hash"]) == 64
    assert event["traceId"] == answer.headers["x-trace-id"]
    assert len(event["traceId"]) == 32

    again = await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)
    assert again.json()["traceId"] != event["traceId"]
    assert [again.json()["seq"], again.json()["prevHash"]] == [2, event["hash"]]

    for path, headers in (
        (f"{EVENTS}/{event['id']}", tenancy.auth),
        (f"/v1/key/company/events/{event['id']}", tenancy.company_auth),
    ):
        assert (await api.get(path, headers=headers)).json() == event
    for path, headers in ((EVENTS, tenancy.auth), ("/v1/key/company/events", tenancy.company_auth)):
        listed = (await api.get(path, headers=headers, params={"action": "invoice.paid"})).json()
        assert listed["data"] == [event]


async def test_a_trace_of_the_caller_is_continued(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {**tenancy.auth, "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "x-request-id": "req-1"}
    answer = await api.post(EVENTS, json={"action": "a"}, headers=headers)
    assert answer.json()["traceId"] == trace_id
    assert answer.headers["x-request-id"] == "req-1"


@pytest.mark.parametrize("region", ["EU", "APAC"])
@pytest.mark.contract("HL-E-04", "HL-RG-03")
async def test_an_event_bears_its_companys_region(api: httpx.AsyncClient, db: Database, region: str) -> None:
    tenancy = await open_tenancy(db, region=region)
    answer = await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)
    assert answer.json()["dataRegion"] == region
    refused = await api.post(EVENTS, json={"action": "a", "dataRegion": "US"}, headers=tenancy.auth)
    assert refused.status_code == 400
    assert await stored_count(db) == 1


async def test_the_least_event_has_defaults(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    event = (await api.post(EVENTS, json={"action": "ping"}, headers=tenancy.auth)).json()
    assert event["category"] == "general"
    assert [event["actorId"], event["targetId"], event["payload"], event["changes"]] == [None] * 4
    assert abs(_seconds(event["occurredAt"]) - _seconds(event["receivedAt"])) < 5


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@pytest.mark.contract("HL-E-01")
async def test_a_batch_judges_each_event_on_its_own(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    answer = await api.post(BATCH, json={"events": [FULL, {"action": 7}, {"action": "b"}]}, headers=tenancy.auth)
    assert answer.status_code == 200
    body = answer.json()
    assert [item["status"] for item in body["data"]] == [201, 400, 201]
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert [body["data"][0]["seq"], body["data"][2]["seq"]] == [1, 2]
    assert body["data"][1]["error"]["errors"][0]["pointer"] == "#/events/1/action"
    assert body["meta"] == {"received": 3, "stored": 2, "replayed": 0, "refused": 1}
    assert await stored_count(db) == 2


@pytest.mark.contract("HL-E-01")
async def test_a_batch_takes_a_thousand_and_not_one_more(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    refused = await api.post(BATCH, json={"events": [{"action": "a"}] * 1001}, headers=tenancy.auth)
    assert refused.status_code == 413
    empty = await api.post(BATCH, json={"events": []}, headers=tenancy.auth)
    assert empty.status_code == 400
    assert await stored_count(db) == 0
    full = await api.post(BATCH, json={"events": [{"action": "a"}] * 1000}, headers=tenancy.auth)
    assert full.json()["meta"]["stored"] == 1000
    assert [item["seq"] for item in full.json()["data"]] == list(range(1, 1001))
    assert (await verified(db, tenancy)).checked == 1000


@pytest.mark.contract("HL-E-09")
async def test_the_meter_counts_what_was_stored(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    async def meter() -> int:
        total: int = await db.value(
            Sql("test.meter", "select coalesce(sum(quantity), 0) from mainstay.meter_counts where company_id = $1"),
            tenancy.company_id,
        )
        return total

    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert (await api.post(EVENTS, json={"action": "a"}, headers={**tenancy.auth, **key})).status_code == 201
    assert await meter() == 1
    await api.post(BATCH, json={"events": [{"action": "a"}, {"action": ""}, {"action": "b"}]}, headers=tenancy.auth)
    assert await meter() == 3
    posts = [api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth) for _ in range(97)]
    assert {answer.status_code for answer in await asyncio.gather(*posts)} == {201}
    assert await meter() == 100


async def test_the_chain_neither_forks_nor_gaps_under_many_writers_on_two_nodes(
    fresh_url: str, db: Database, tenancy: Tenancy
) -> None:
    async with running_app(fresh_url) as one, running_app(fresh_url) as two:

        async def write(number: int) -> int:
            client = (one, two)[number % 2]
            if number % 5:
                return (await client.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)).status_code
            batch = {"events": [{"action": "b"}] * 7}
            return (await client.post(BATCH, json=batch, headers=tenancy.auth)).status_code

        assert {*await asyncio.gather(*(write(n) for n in range(200)))} == {200, 201}
    verdict = await verified(db, tenancy)
    assert verdict.ok
    assert verdict.checked == 160 + 40 * 7
    parents = await db.value(
        Sql("test.parents", "select count(distinct prev_hash) from mainstay.events where workspace_id = $1"),
        tenancy.workspace_id,
    )
    assert parents == verdict.checked


async def test_a_request_counts_one_use_of_its_key_however_it_ends(
    fresh_url: str, db: Database, tenancy: Tenancy
) -> None:
    keyed = {**tenancy.auth, "Idempotency-Key": "k-1"}
    async with running_app(fresh_url) as api:
        for body, status in ({"action": "a"}, 201), ({"action": "a"}, 201), ({"action": "b"}, 422), ({}, 400):
            assert (await api.post(EVENTS, json=body, headers=keyed)).status_code == status
        for _ in range(2):
            answer = await api.post(f"{EVENTS}/batch", json={"events": [{"action": "a"}]}, headers=keyed)
            assert answer.status_code == 200
    uses = await db.value(Sql("test.uses", "select sum(uses)::int from mainstay.api_key_uses"))
    assert uses == 6


async def test_the_same_key_and_content_is_the_same_event(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    headers = {**tenancy.auth, "Idempotency-Key": "k-1"}
    first = await api.post(EVENTS, json=FULL, headers=headers)
    reordered = orjson.dumps(dict(reversed(FULL.items())), option=orjson.OPT_INDENT_2)
    quoted = {**tenancy.auth, "Idempotency-Key": '"k-1"', "content-type": "application/json"}
    second = await api.post(EVENTS, content=reordered, headers=quoted)
    assert second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await stored_count(db) == 1
    other = await api.post(EVENTS, json=FULL, headers={**headers, "authorization": f"Bearer {tenancy.other_key}"})
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "change", [{"action": "x"}, {"payload": {"amount": 1251}}, {"actor": {"id": "u_2"}}, {"projectId": None}]
)
async def test_the_same_key_with_other_content_is_refused(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, change: dict[str, Any]
) -> None:
    headers = {**tenancy.auth, "Idempotency-Key": "k-1"}
    assert (await api.post(EVENTS, json=FULL, headers=headers)).status_code == 201
    refused = await api.post(EVENTS, json=FULL | change, headers=headers)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert await stored_count(db) == 1


async def test_the_same_key_at_the_same_moment_stores_one(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    headers = {**tenancy.auth, "Idempotency-Key": "k-1"}
    answers = await asyncio.gather(*(api.post(EVENTS, json=FULL, headers=headers) for _ in range(20)))
    codes = [answer.status_code for answer in answers]
    assert codes.count(409) >= 1
    assert set(codes) <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert await stored_count(db) == 1


async def test_the_same_key_on_two_nodes_stores_one(fresh_url: str, db: Database, tenancy: Tenancy) -> None:
    async with running_app(fresh_url) as one, running_app(fresh_url) as two:
        for number in range(20):
            headers = {**tenancy.auth, "Idempotency-Key": f"k-{number}"}
            answers = await asyncio.gather(*(client.post(EVENTS, json=FULL, headers=headers) for client in (one, two)))
            assert [answer.status_code for answer in answers] == [201, 201]
            assert len({answer.json()["id"] for answer in answers}) == 1
    assert await stored_count(db) == 20


async def test_a_key_is_forgotten_after_a_day(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: Any
) -> None:
    from datetime import timedelta

    headers = {**tenancy.auth, "Idempotency-Key": "k-1"}
    await api.post(EVENTS, json=FULL, headers=headers)
    await sql_clock.move(timedelta(hours=23, minutes=59))
    await api.post(EVENTS, json=FULL, headers=headers)
    assert await stored_count(db) == 1
    await sql_clock.move(timedelta(minutes=2))
    await api.post(EVENTS, json=FULL, headers=headers)
    assert await stored_count(db) == 2


async def test_keys_inside_a_batch(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    batch = [
        {"action": "a", "idempotencyKey": "1"},
        {"action": "a", "idempotencyKey": "1"},
        {"action": "b", "idempotencyKey": "1"},
        {"action": "c"},
    ]
    headers = {**tenancy.auth, "Idempotency-Key": "whole"}
    first = (await api.post(BATCH, json={"events": batch}, headers=headers)).json()
    assert [item["status"] for item in first["data"]] == [201, 201, 422, 201]
    assert first["data"][0]["id"] == first["data"][1]["id"]
    assert first["meta"] == {"received": 4, "stored": 2, "replayed": 1, "refused": 1}
    second = (await api.post(BATCH, json={"events": batch}, headers=headers)).json()
    assert second["meta"] == {"received": 4, "stored": 0, "replayed": 3, "refused": 1}
    assert second["data"][3]["id"] == first["data"][3]["id"]
    assert second["data"][3]["hash"] == first["data"][3]["hash"]
    assert await stored_count(db) == 2


NUL = "\\u0000"
DEEP = '{"a":' * 33 + "1" + "}" * 33
WRONG_BODIES = [
    pytest.param(b"", "#", id="empty"),
    pytest.param(b"{", "#", id="malformed"),
    pytest.param(b"[]", "#", id="an array"),
    pytest.param(b"null", "#", id="null"),
    pytest.param(b'{"action":"a"} x', "#", id="trailing"),
    pytest.param(b"{}", "#", id="no action"),
    pytest.param(b'{"action":""}', "#/action", id="empty action"),
    pytest.param(b'{"action":"a b"}', "#/action", id="action with a space"),
    pytest.param(b'{"action":"a\\r\\nX-Evil: 1"}', "#/action", id="action with a line break"),
    pytest.param(b'{"action":"' + b"a" * 129 + b'"}', "#/action", id="long action"),
    pytest.param(b'{"action":"user.login\\n"}', "#/action", id="action that ends in a line break"),
    pytest.param(b'{"action":null}', "#/action", id="null action"),
    pytest.param(b'{"action":7}', "#/action", id="number for action"),
    pytest.param(b'{"action":"a","surprise":1}', "#", id="unknown member"),
    pytest.param(b'{"action":"a","actor":{"id":"1","role":"x"}}', "#/actor", id="unknown member in actor"),
    pytest.param(b'{"action":"a","actor":"ada"}', "#/actor", id="actor not an object"),
    pytest.param(b'{"action":"a","actor":{}}', "#/actor", id="empty actor"),
    pytest.param(b'{"action":"a","payload":[1]}', "#/payload", id="payload not an object"),
    pytest.param(b'{"action":"a","payload":"x"}', "#/payload", id="payload a text"),
    pytest.param(b'{"action":"a","changes":{}}', "#/changes", id="changes not an array"),
    pytest.param(b'{"action":"a","changes":[{"old":1}]}', "#/changes/0", id="change without field"),
    pytest.param(b'{"action":"a","changes":[{"field":"f","was":1}]}', "#/changes/0", id="change with unknown member"),
    pytest.param(b'{"action":"a","payload":{"n":9007199254740993}}', "#/payload/n", id="beyond 2^53"),
    pytest.param(b'{"action":"a","payload":{"n":1e999}}', "#/payload/n", id="infinite number"),
    pytest.param(b'{"action":"a","payload":{"n":NaN}}', "#", id="NaN"),
    pytest.param(b'{"action":"a","payload":{"a":1,"a":2}}', "#/payload/a", id="duplicate key in payload"),
    pytest.param(b'{"action":"a","action":"b"}', "#/action", id="duplicate action"),
    pytest.param(b'{"action":"a","action" :"b"}', "#/action", id="duplicate action behind a space"),
    pytest.param(b'{"action":"a","actor":{"id":"1","id":"2"}}', "#/actor/id", id="duplicate key in actor"),
    pytest.param(f'{{"action":"a","payload":{{"t":"x{NUL}y"}}}}'.encode(), "#/payload/t", id="NUL in payload"),
    pytest.param(f'{{"action":"a","actor":{{"name":"x{NUL}y"}}}}'.encode(), "#/actor/name", id="NUL in actor"),
    pytest.param(b'{"action":"a","payload":{"t":"\\ud800"}}', "#", id="lone surrogate in payload"),
    pytest.param(b'{"action":"a","category":"\\ud800"}', "#", id="lone surrogate in category"),
    pytest.param(b'{"action":"a","payload":{"t":"\xff"}}', "#/payload", id="invalid UTF-8 in payload"),
    pytest.param(b'{"action":"a","category":"\xff"}', "#", id="invalid UTF-8"),
    pytest.param(f'{{"action":"a","payload":{DEEP}}}'.encode(), "#/payload" + "/a" * 32, id="nested too deeply"),
    pytest.param(
        b'{"action":"a","payload":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", "#", id="nested 5,000 deep"
    ),
    pytest.param(b'{"action":"a","occurredAt":"yesterday"}', "#/occurredAt", id="no time"),
    pytest.param(b'{"action":"a","occurredAt":"2026-01-01T00:00:00"}', "#/occurredAt", id="time without zone"),
    pytest.param(b'{"action":"a","occurredAt":"2026-02-30T00:00:00Z"}', "#/occurredAt", id="no such day"),
    pytest.param(b'{"action":"a","occurredAt":"2026-01-01T25:00:00Z"}', "#/occurredAt", id="no such hour"),
    pytest.param(b'{"action":"a","occurredAt":"2026-01-01T00:00:00+25:00"}', "#/occurredAt", id="no such zone"),
    pytest.param(b'{"action":"a","occurredAt":"0001-01-01T00:00:00+14:00"}', "#/occurredAt", id="before all times"),
    pytest.param(b'{"action":"a","occurredAt":1700000000}', "#/occurredAt", id="number for time"),
    pytest.param(b'{"action":"a","idempotencyKey":""}', "#/idempotencyKey", id="empty key"),
    pytest.param(b'{"action":"a","idempotencyKey":"' + b"k" * 257 + b'"}', "#/idempotencyKey", id="long key"),
]


@pytest.mark.parametrize(("body", "pointer"), WRONG_BODIES)
async def test_a_wrong_body_is_named_and_nothing_is_stored(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, body: bytes, pointer: str
) -> None:
    headers = {**tenancy.auth, "content-type": "application/json"}
    answer = await api.post(EVENTS, content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert problem["errors"][0]["pointer"].startswith(pointer), problem
    batch = b'{"events":[' + body + b',{"action":"good"}]}'
    answer = await api.post(BATCH, content=batch, headers=headers)
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        first = answer.json()["data"][0]
        assert first["status"] == 400
        assert first["error"]["errors"][0]["pointer"].startswith("#/events/0" + pointer[1:])
    assert await stored_count(db) == (1 if answer.status_code == 200 else 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"action":"a","payload":{"n":9007199254740991,"m":-9007199254740991,"z":-0,"f":1.0,"e":1E3}}',
        b'{"action":"a","payload":{"1":1,"10":2,"9":3,"":4,"\xf0\x9f\x8e\x89":5,"\xee\x80\x80":6}}',
        b'{"action":"a","payload":{"t":"\\u2028 \\" \\\\ \\/ \\b \x7f"}}',
        b'{"action":"a","payload":' + b'{"a":' * 31 + b"{}" + b"}" * 31 + b"}",
        b'{"action":"' + b"a" * 128 + b'","category":null,"actor":null,"payload":null,"changes":[]}',
        b' { "action" : "a" , "metadata" : { } } ',
        b'{"action":"a","changes":[{"field":"f"},{"field":"g","old":{"a":[1]},"new":null}]}',
        b'{"action":"a","occurredAt":"2016-12-31T23:59:59.123456789-11:30"}',
    ],
)
async def test_odd_but_good_bodies_are_stored_and_verify(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, body: bytes
) -> None:
    answer = await api.post(EVENTS, content=body, headers=tenancy.auth)
    assert answer.status_code == 201, answer.text
    assert (await verified(db, tenancy)).ok
    shown = (await api.get(f"{EVENTS}/{answer.json()['id']}", headers=tenancy.auth)).json()
    assert shown == answer.json()


async def test_the_body_may_have_a_mebibyte_and_not_a_byte_more(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    frame = len(b'{"action":"a","payload":{"t":""}}')

    def body(size: int) -> bytes:
        return b'{"action":"a","payload":{"t":"' + b"x" * (size - frame) + b'"}}'

    async def in_pieces(data: bytes) -> Any:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    assert (await api.post(EVENTS, content=body(1_048_577), headers=tenancy.auth)).status_code == 413
    assert (await api.post(EVENTS, content=in_pieces(body(1_048_577)), headers=tenancy.auth)).status_code == 413
    batch = b'{"events":[' + body(1_048_577) + b"]}"
    assert (await api.post(BATCH, content=batch, headers=tenancy.auth)).json()["data"][0]["status"] == 413
    assert await stored_count(db) == 0
    assert (await api.post(EVENTS, content=body(1_048_576), headers=tenancy.auth)).status_code == 201
    assert (await api.post(EVENTS, content=in_pieces(body(1_048_576)), headers=tenancy.auth)).status_code == 201
    assert (await verified(db, tenancy)).ok


async def test_a_body_that_is_not_said_to_be_json_is_refused(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    headers = {**tenancy.auth, "content-type": "text/plain"}
    assert (await api.post(EVENTS, content=b'{"action":"a"}', headers=headers)).status_code == 400
    headers["content-type"] = "application/json; charset=utf-8"
    assert (await api.post(EVENTS, content=b'{"action":"a"}', headers=headers)).status_code == 201


@pytest.mark.parametrize("value", ["", " ", '""', "k" * 257])
async def test_a_wrong_idempotency_header_is_named(api: httpx.AsyncClient, tenancy: Tenancy, value: str) -> None:
    headers = {**tenancy.auth, "Idempotency-Key": value}
    answer = await api.post(EVENTS, json={"action": "a"}, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key"


@pytest.mark.contract("HL-A-01")
async def test_the_key_is_taken_from_each_of_its_headers(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    for headers in (
        {"authorization": f"Bearer {tenancy.key}"},
        {"authorization": f"ApiKey {tenancy.key}"},
        {"x-api-key": tenancy.key},
        {"x-hyrelog-key": tenancy.key},
    ):
        assert (await api.post(EVENTS, json={"action": "a"}, headers=headers)).status_code == 201
        assert (await api.get(EVENTS, headers=headers)).status_code == 200
    for path in (EVENTS, BATCH):
        assert (await api.post(path, json={"action": "a"}, headers=tenancy.company_auth)).status_code == 403
        assert (await api.post(path, json={"action": "a"})).status_code == 401
        for wrong in ("mk_ws_" + "x" * 43, "x", "mk_ws_", tenancy.key + "x", tenancy.key[:-1]):
            headers = {"authorization": f"Bearer {wrong}"}
            assert (await api.post(path, json={"action": "a"}, headers=headers)).status_code == 401
    assert (await api.get(EVENTS, headers=tenancy.company_auth)).status_code == 403
    assert (await api.get("/v1/key/company/events", headers=tenancy.auth)).status_code == 403


@pytest.mark.contract("HL-E-11")
async def test_a_revoked_key_stores_nothing_from_that_moment(
    fresh_url: str, api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async with running_app(fresh_url) as other_node:
        for node in (api, other_node):
            assert (await node.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)).status_code == 201
        async with db.begin() as tx:
            await identity.revoke_key(tx, OPERATOR, tenancy.company_id, tenancy.key_id)
        for node in (other_node, api):
            keyed = {**tenancy.auth, "Idempotency-Key": "k"}
            assert (await node.post(EVENTS, json={"action": "a"}, headers=keyed)).status_code == 401
            assert (await node.post(BATCH, json={"events": [{"action": "a"}]}, headers=tenancy.auth)).status_code == 401
            assert (await node.get(EVENTS, headers=tenancy.auth)).status_code == 401
    assert await stored_count(db) == 2


@pytest.mark.contract("HL-E-11")
async def test_expired_reading_and_foreign_keys_store_nothing(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: Any
) -> None:
    from datetime import UTC, datetime, timedelta

    async def key(**more: Any) -> dict[str, str]:
        async with db.begin() as tx:
            issued = await identity.issue_key(
                tx, OPERATOR, tenancy.company_id, kind="workspace", name="k", workspace_id=tenancy.workspace_id, **more
            )
        return {"authorization": f"Bearer {issued.secret}"}

    ends = await key(expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert (await api.post(EVENTS, json={"action": "a"}, headers=ends)).status_code == 201
    await sql_clock.move(timedelta(hours=2))
    assert (await api.post(EVENTS, json={"action": "a"}, headers=ends)).status_code == 401
    reading = await key(read_only=True)
    assert (await api.post(EVENTS, json={"action": "a"}, headers=reading)).status_code == 403
    assert (await api.get(EVENTS, headers=reading)).status_code == 200
    elsewhere = await key(allow_list=["192.0.2.0/24"])
    assert (await api.post(EVENTS, json={"action": "a"}, headers=elsewhere)).status_code == 403
    here = await key(allow_list=["127.0.0.0/8"])
    assert (await api.post(EVENTS, json={"action": "a"}, headers=here)).status_code == 201
    assert await stored_count(db) == 2


@pytest.mark.contract("HL-E-10")
async def test_each_key_reads_its_own_events_only(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    stranger = await open_tenancy(db)
    mine = (await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)).json()
    other_auth = {"authorization": f"Bearer {tenancy.other_key}"}
    other = (await api.post(EVENTS, json={"action": "b"}, headers=other_auth)).json()
    foreign = (await api.post(EVENTS, json={"action": "c"}, headers=stranger.auth)).json()

    async def listed(path: str, headers: dict[str, str]) -> set[str]:
        return {event["id"] for event in (await api.get(path, headers=headers)).json()["data"]}

    assert await listed(EVENTS, tenancy.auth) == {mine["id"]}
    assert await listed(EVENTS, other_auth) == {other["id"]}
    assert await listed("/v1/key/company/events", tenancy.company_auth) >= {mine["id"], other["id"]}
    assert foreign["id"] not in await listed("/v1/key/company/events", tenancy.company_auth)
    for identifier in (other["id"], foreign["id"], "nonsense", "00000000-0000-7000-8000-000000000000"):
        assert (await api.get(f"{EVENTS}/{identifier}", headers=tenancy.auth)).status_code == 404
    for identifier in (foreign["id"], "nonsense"):
        path = f"/v1/key/company/events/{identifier}"
        assert (await api.get(path, headers=tenancy.company_auth)).status_code == 404


async def test_a_flush_that_fails_costs_nobody_else_their_event(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "alter table mainstay.events add constraint no_poison check (action <> 'poison') not valid"
        )
    actions = ["poison" if number == 20 else f"good.{number}" for number in range(40)]
    answers = await asyncio.gather(
        *(api.post(EVENTS, json={"action": action}, headers=tenancy.auth) for action in actions)
    )
    assert [answer.status_code for answer in answers].count(201) == 39
    assert answers[20].status_code >= 400
    assert await stored_count(db) == 39
    assert (await verified(db, tenancy)).ok


async def test_figures_rise_with_each_request(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    async def figure(name: str) -> float:
        text = (await api.get("/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    route = f'{{method="POST",route="{EVENTS}",status="201"}}'
    before = [await figure("http_requests_total" + route), await figure('events_ingested_total{outcome="stored"}')]
    await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)
    after = [await figure("http_requests_total" + route), await figure('events_ingested_total{outcome="stored"}')]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1]


async def test_json_numbers_keep_their_value(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    payload = {"whole": 1.0, "small": 1e-7, "large": 1e20, "tiny": 5e-324, "third": 0.1}
    event = (await api.post(EVENTS, json={"action": "a", "payload": payload}, headers=tenancy.auth)).json()
    assert json.loads(json.dumps(event["payload"])) == payload
