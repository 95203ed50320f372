"""Endpoints over HTTP: made, read, changed, deleted, and refused."""

import uuid
from typing import Any

import httpx
import pytest

from mainstay.kernel.db import Database
from mainstay.webhooks import endpoints
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, PEOPLE_PATH, Tenant, announced, count

DOCUMENTED = {
    "url": "http://127.0.0.1:9/hook",
    "events": ["task.created", "user.updated"],
    "retries": 3,
    "isActive": True,
}


@pytest.mark.contract("NP-W-01", "NP-W-16")
async def test_the_documented_body_makes_a_webhook_that_reads_back_the_same(tenant: Tenant) -> None:
    made = await tenant.owner.post(PEOPLE_PATH, json=DOCUMENTED)
    assert made.status_code == 201
    read = await tenant.owner.get(f"{PEOPLE_PATH}/{made.json()['id']}")
    assert read.status_code == 200
    assert {name: read.json()[name] for name in DOCUMENTED} == DOCUMENTED
    assert read.json()["maxAttempts"] == 4


async def test_defaults_are_five_tries_active_and_company_wide(tenant: Tenant) -> None:
    made = await tenant.webhook("http://127.0.0.1:9/hook", "task.*")
    assert (made["retries"], made["maxAttempts"], made["isActive"], made["workspaceId"]) == (4, 5, True, None)


@pytest.mark.contract("NP-W-11")
async def test_the_secret_is_shown_once_and_stored_sealed(tenant: Tenant, db: Database) -> None:
    made = await tenant.webhook()
    secret = made["secret"]
    assert secret.startswith("whsec_")
    path = f"{COMPANY_PATH}/{made['id']}"
    changed = await tenant.key.patch(path, json={"description": "billing"})
    for answer in (
        await tenant.key.get(path),
        await tenant.key.get(COMPANY_PATH),
        await tenant.key.get(path + "/logs"),
        changed,
    ):
        assert answer.status_code == 200
        assert secret not in answer.text
        assert '"secret"' not in answer.text
    async with db.connection() as connection:
        sealed = await connection.fetchval("select secret_sealed from mainstay.endpoints where id = $1", made["id"])
        told = await connection.fetchval("select string_agg(data::text, '') from mainstay.announcements")
    assert secret.encode() not in sealed
    assert KEYRING.open(sealed, made["id"].encode()).decode() == secret
    assert secret not in told


@pytest.mark.parametrize("role", ["owner", "manager", "key"])
async def test_owners_managers_and_company_keys_do_everything(tenant: Tenant, role: str) -> None:
    client: httpx.AsyncClient = getattr(tenant, role)
    base = COMPANY_PATH if role == "key" else PEOPLE_PATH
    made = await client.post(base, json=DOCUMENTED)
    path = f"{base}/{made.json()['id']}"
    assert [one["id"] for one in (await client.get(base)).json()["data"]] == [made.json()["id"]]
    assert (await client.patch(path, json={"retries": 0})).json()["maxAttempts"] == 1
    rotated = await client.post(path + "/rotate-secret", json={})
    assert rotated.json()["secret"] != made.json()["secret"]
    assert (await client.post(path + "/test")).status_code == 202
    delivery = (await client.get(path + "/logs")).json()["data"][0]
    assert (await client.post(f"{path}/deliveries/{delivery['id']}/replay")).status_code == 202
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.get(base)).json()["data"] == []


async def test_others_are_kept_out(tenant: Tenant) -> None:
    webhook = await tenant.webhook()
    acts = [("GET", ""), ("POST", ""), *(
        (method, f"/{webhook['id']}{rest}")
        for method, rest in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("POST", "/test"), ("GET", "/logs"),
            ("POST", f"/deliveries/{uuid.uuid4()}/replay"),
        )
    )]  # fmt: skip
    for method, rest in acts:
        assert (await tenant.staff.request(method, PEOPLE_PATH + rest, json={})).status_code == 403
        assert (await tenant.workspace_key.request(method, COMPANY_PATH + rest, json={})).status_code == 403
        bare = {"authorization": ""}
        assert (await tenant.key.request(method, COMPANY_PATH + rest, json={}, headers=bare)).status_code == 401
        assert (await tenant.key.request(method, PEOPLE_PATH + rest, json={})).status_code == 401
        reading = await tenant.reading_key.request(method, COMPANY_PATH + rest, json={})
        assert reading.status_code == (200 if method == "GET" else 403)


async def test_another_companys_webhook_is_not_there(tenant: Tenant, stranger: Tenant) -> None:
    webhook = await tenant.webhook()
    await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/test")
    delivery = (await tenant.log(webhook))[0]
    mine = await stranger.webhook()
    for method, rest, body in (
        ("GET", "", None), ("PATCH", "", {"retries": 1}), ("DELETE", "", None), ("POST", "/rotate-secret", {}),
        ("POST", "/test", None), ("GET", "/logs", None), ("POST", f"/deliveries/{delivery['id']}/replay", None),
    ):  # fmt: skip
        for wrong in (webhook["id"], str(uuid.uuid4()), "not-an-id"):
            answer = await stranger.key.request(method, f"{COMPANY_PATH}/{wrong}{rest}", json=body)
            assert answer.status_code == 404, (method, rest, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    crossed = await stranger.key.post(f"{COMPANY_PATH}/{mine['id']}/deliveries/{delivery['id']}/replay")
    assert crossed.status_code == 404
    assert [one["id"] for one in (await stranger.key.get(COMPANY_PATH)).json()["data"]] == [mine["id"]]
    assert (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()["retries"] == 4


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"retries": 5}, "#/retries"),
        ({"retries": -1}, "#/retries"),
        ({"retries": "3"}, "#/retries"),
        ({"retries": 2.5}, "#/retries"),
        ({"isActive": "yes"}, "#/isActive"),
        ({"events": []}, "#/events"),
        ({"events": ["a"] * 101}, "#/events"),
        ({"events": ["task.created", "task.*.done"]}, "#/events/1"),
        ({"events": ["a" * 129]}, "#/events/0"),
        ({"events": [""]}, "#/events/0"),
        ({"events": ["task."]}, "#/events/0"),
        ({"events": ["task.created\n"]}, "#/events/0"),
        ({"events": ["**"]}, "#/events/0"),
        ({"events": ["tâche"]}, "#/events/0"),
        ({"events": "task.created"}, "#/events"),
        ({"description": "x" * 513}, "#/description"),
        ({"description": "nul\0"}, "#/description"),
        ({"workspaceId": "not-an-id"}, "#/workspaceId"),
        ({"workspaceId": str(uuid.uuid4())}, "#/workspaceId"),
        ({"secret": "whsec_mine"}, "#"),
        ({"url": None}, "#/url"),
    ],
)
async def test_bad_values_are_refused_with_a_pointer(
    tenant: Tenant, db: Database, more: dict[str, Any], pointer: str
) -> None:
    webhook = await tenant.webhook()
    answers = [
        await tenant.key.post(COMPANY_PATH, json={**DOCUMENTED, **more}),
        await tenant.key.patch(f"{COMPANY_PATH}/{webhook['id']}", json=more),
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await count(db, "endpoints") == 1


async def test_limits_are_met_at_their_edges(tenant: Tenant) -> None:
    events = [f"kind-{n}:x_{n}" for n in range(99)] + ["a" * 128]
    made = await tenant.webhook("http://127.0.0.1:9/hook", *events, description="ü" * 512, retries=0)
    assert (made["events"], made["description"], made["maxAttempts"]) == (events, "ü" * 512, 1)
    path = f"{COMPANY_PATH}/{made['id']}/rotate-secret"
    for seconds, status in ((604_800, 200), (604_801, 400), (-1, 400), (0, 200)):
        assert (await tenant.key.post(path, json={"overlapSeconds": seconds})).status_code == status


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"url":"\\ud800"}', b"\xff\xfe", b'{"url": 1e999}', b"[" * 100_000]
)
async def test_a_broken_body_is_refused(tenant: Tenant, raw: bytes) -> None:
    answer = await tenant.key.post(COMPANY_PATH, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_workspaces_webhook_names_a_workspace_of_the_company(tenant: Tenant, stranger: Tenant) -> None:
    made = await tenant.webhook(workspaceId=tenant.workspace_id)
    assert made["workspaceId"] == tenant.workspace_id
    body = {**DOCUMENTED, "workspaceId": stranger.workspace_id}
    assert (await tenant.key.post(COMPANY_PATH, json=body)).status_code == 400
    path = f"{COMPANY_PATH}/{made['id']}"
    assert (await tenant.key.patch(path, json={"workspaceId": stranger.workspace_id})).status_code == 400
    assert (await tenant.key.patch(path, json={"workspaceId": None})).json()["workspaceId"] is None


async def test_a_company_has_a_thousand_webhooks_and_no_more(
    tenant: Tenant, stranger: Tenant, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.endpoints (id, company_id, url, events, secret_sealed, created_by)
               select mainstay.uuid7(), $1, 'http://127.0.0.1:9/', '{x}', 'x', '{}' from generate_series(1, 999)""",
            tenant.company_id,
        )
    last = await tenant.webhook()
    refused = await tenant.key.post(COMPANY_PATH, json=DOCUMENTED)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (409, "too-many-webhooks")
    await stranger.webhook()
    await tenant.key.delete(f"{COMPANY_PATH}/{last['id']}")
    assert (await tenant.key.post(COMPANY_PATH, json=DOCUMENTED)).status_code == 201
    assert endpoints.ENDPOINTS_AT_MOST == 1_000


async def test_the_list_is_paged_without_gap_or_double(tenant: Tenant, stranger: Tenant) -> None:
    made = [(await tenant.webhook())["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        answer = (
            await tenant.key.get(COMPANY_PATH, params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [one["id"] for one in answer["data"]]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            break
        last = cursor
    assert seen == made
    assert (await stranger.key.get(COMPANY_PATH, params={"cursor": last})).status_code == 400
    for query in ({"limit": 0}, {"limit": 1_001}, {"limit": "x"}, {"cursor": "x"}, {"unknown": 1}):
        assert (await tenant.key.get(COMPANY_PATH, params=query)).status_code == 400, query


async def test_every_change_is_announced_with_its_author(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    path = f"{COMPANY_PATH}/{webhook['id']}"
    await tenant.key.patch(path, json={"retries": 1, "isActive": True})
    await tenant.key.patch(path, json={"retries": 1})
    await tenant.key.post(path + "/rotate-secret", json={"overlapSeconds": 60})
    await tenant.key.delete(path)
    (created,) = await announced(db, "endpoint.created")
    (changed,) = await announced(db, "endpoint.changed")
    (rotated,) = await announced(db, "endpoint.secret_rotated")
    (deleted,) = await announced(db, "endpoint.deleted")
    for fact in (created, changed, rotated, deleted):
        assert fact["endpointId"] == webhook["id"]
        assert (fact["actor"]["kind"], fact["actor"]["name"]) == ("api_key", "key")
    assert created["url"] == webhook["url"]
    assert changed["changes"] == [{"field": "retries", "old": 4, "new": 1}]
    assert rotated["overlapSeconds"] == 60


async def test_switching_off_and_on_again_shows_why(tenant: Tenant) -> None:
    webhook = await tenant.webhook()
    path = f"{COMPANY_PATH}/{webhook['id']}"
    off = (await tenant.key.patch(path, json={"isActive": False})).json()
    assert (off["isActive"], off["disabledReason"]) == (False, "switched off")
    assert off["disabledAt"] is not None
    on = (await tenant.key.patch(path, json={"isActive": True})).json()
    assert (on["isActive"], on["disabledReason"], on["disabledAt"]) == (True, None, None)
