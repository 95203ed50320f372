"""Keys as people manage them, and keys that somebody found in the open."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity
from mainstay.identity.key_tokens import new_key_token
from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.identity.conftest import ACTOR, INTERNAL_TOKEN, Client, KeyMaker, add, announced, issue
from tests.tenancy import bearer

AT = "/api/v1/keys"
LEAKED = "/internal/keys/leaked"


@pytest.fixture
async def owner(
    db: Database, client: Client, passwords: identity.Passwords, company: identity.Company
) -> httpx.AsyncClient:
    """A client of somebody who may change keys and has just signed in."""
    return await _client(db, client, passwords, company)


async def _client(
    db: Database,
    client: Client,
    passwords: identity.Passwords,
    company: identity.Company,
    *,
    is_fresh: bool = True,
    role: str = "owner",
) -> httpx.AsyncClient:
    person = await add(db, passwords, company, f"{role}-{is_fresh}@x.io".lower(), role)
    return client(**await bearer(db, person.id, company.id, is_fresh=is_fresh, secret=_SECRET))


_SECRET = "a secret for access tokens of 32+ characters"


async def test_a_key_is_issued_changed_rotated_and_revoked(
    db: Database, client: Client, owner: httpx.AsyncClient, workspace: identity.Workspace
) -> None:
    body = {
        "name": "ingest", "workspaceId": workspace.id, "scopes": ["events.write", "keys"], "labels": ["prod"],
        "ipAllowlist": ["127.0.0.0/8"],
    }  # fmt: skip
    issued = await owner.post(AT, json=body)
    assert (issued.status_code, issued.headers["cache-control"]) == (201, "no-store")
    made = issued.json()
    async with client(made["key"]) as caller:
        assert (await caller.get("/v1/key/workspace")).status_code == 200
    shown = (await owner.get(f"{AT}/{made['id']}")).json()
    assert (shown["state"], shown["scopes"], shown["labels"]) == ("working", ["events.write", "keys"], ["prod"])
    assert (shown["createdBy"]["kind"], "key" in shown) == ("person", False)
    changed = await owner.patch(f"{AT}/{made['id']}", json={"name": "other", "labels": []})
    assert (changed.json()["name"], changed.json()["labels"]) == ("other", [])
    assert (await owner.patch(f"{AT}/{made['id']}", json={})).json() == changed.json()
    rotated = (await owner.post(f"{AT}/{made['id']}/rotate", json={"overlapSeconds": 60})).json()
    assert (rotated["replaces"], rotated["scopes"], rotated["name"]) == (made["id"], shown["scopes"], "other")
    assert (await owner.get(f"{AT}/{made['id']}")).json()["state"] == "ending"
    assert (await owner.post(f"{AT}/{made['id']}/rotate", json={})).status_code == 409
    ended = await owner.post(f"{AT}/{made['id']}/revoke", json={"reason": "done"})
    assert ended.json()["revokedReason"] == "done"
    async with client(made["key"]) as caller:
        assert (await caller.get("/v1/key/workspace")).status_code == 401
    for name, times in (("key.issued", 1), ("key.changed", 1), ("key.rotated", 1), ("key.revoked", 1)):
        told = await announced(db, name)
        assert len(told) == times
        assert json.loads(told[0]["actor"])["kind"] == "person"
        assert made["key"] not in told[0]["data"]


async def test_keys_are_listed_in_pages_by_state_with_their_use(
    db: Database,
    client: Client,
    callers: identity.Identity,
    sql_clock: SqlClock,
    owner: httpx.AsyncClient,
    company: identity.Company,
    other_company: identity.Company,
    workspace: identity.Workspace,
) -> None:
    await sql_clock.stop()
    now = datetime.now(UTC)
    idle, working = await issue(db, company, workspace), await issue(db, company, None)
    soon = await issue(db, company, None, expires_at=now + timedelta(days=100))
    rotated = await issue(db, company, None)
    ended = await issue(db, company, None)
    await issue(db, other_company, None)
    async with client(idle.secret) as caller:
        await caller.get("/v1/key/workspace")
    await callers.key_use.flush_once(db)
    await sql_clock.move(timedelta(days=90))
    async with db.begin() as tx:
        new = await identity.rotate_key(tx, ACTOR, company.id, rotated.record.id)
        await identity.revoke_key(tx, ACTOR, company.id, ended.record.id)
    async with client(working.secret, address="192.0.2.1") as caller:
        for _ in range(3):
            await caller.get("/v1/key/company")
    await callers.key_use.flush_once(db)

    async def ids_of(**query: Any) -> list[str]:
        answer = await owner.get(AT, params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    everyone = [one.record.id for one in (idle, working, soon, rotated, ended, new)]
    assert await ids_of() == sorted(everyone)
    assert await ids_of(state="working") == sorted([idle.record.id, working.record.id, soon.record.id, new.record.id])
    assert await ids_of(state="ending") == [rotated.record.id]
    assert await ids_of(state="revoked") == [ended.record.id]
    assert await ids_of(workspaceId=workspace.id) == [idle.record.id]
    page = (await owner.get(AT, params={"limit": "4"})).json()
    rest = (await owner.get(AT, params={"limit": "4", "cursor": page["meta"]["nextCursor"]})).json()
    assert [one["id"] for one in page["data"] + rest["data"]] == sorted(everyone)
    assert rest["meta"] == {"limit": 4, "nextCursor": None}
    health = {one["id"]: one["health"] for one in page["data"] + rest["data"]}
    assert [health[one.record.id]["use"] for one in (idle, working, soon)] == ["idle", "used", "never_used"]
    used = health[working.record.id]
    assert (used["uses5m"], used["lastAddress"], used["addresses"]) == (3, "192.0.2.1", 1)
    await sql_clock.move(timedelta(days=5))
    assert await ids_of(state="ending") == [soon.record.id]
    await sql_clock.move(timedelta(days=6))
    assert await ids_of(state="expired") == sorted([soon.record.id, rotated.record.id])


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=gone", "state"),
        ("workspaceId=1", "workspaceId"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("a=b", "a"),
    ],
)
async def test_bad_questions_are_told(owner: httpx.AsyncClient, query: str, pointer: str) -> None:
    refused = await owner.get(f"{AT}?{query}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


async def test_making_keys_asks_for_a_recent_proof_and_ending_them_does_not(
    db: Database,
    client: Client,
    passwords: identity.Passwords,
    company: identity.Company,
    company_key: KeyMaker,
) -> None:
    key = (await company_key()).record
    async with await _client(db, client, passwords, company, is_fresh=False) as stale:
        for path, body in ((AT, {"name": "x"}), (f"{AT}/{key.id}/rotate", {})):
            refused = await stale.post(path, json=body)
            assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (403, "step-up-required")
        assert (await stale.patch(f"{AT}/{key.id}", json={"name": "y"})).status_code == 200
        assert (await stale.post(f"{AT}/{key.id}/revoke", json={})).status_code == 200
    async with await _client(db, client, passwords, company, role="staff") as staff:
        assert (await staff.get(AT)).status_code == 403
    async with client(key.prefix) as nobody:
        assert (await nobody.get(AT)).status_code == 401


async def test_keys_of_another_company_are_not_there(
    db: Database, owner: httpx.AsyncClient, other_company: identity.Company
) -> None:
    theirs = (await issue(db, other_company, None)).record
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        refused = await owner.request(method, f"{AT}/{theirs.id}{path}", json=None if method == "GET" else {})
        assert refused.status_code == 404
    assert (await identity.get_key(db, other_company.id, theirs.id)).revoked_at is None


async def _report(client: Client, tokens: list[str], **more: Any) -> httpx.Response:
    async with client(**{"x-internal-token": INTERNAL_TOKEN}) as operator:
        body = {"tokens": tokens, "source": "code host", **more}
        return await operator.post(LEAKED, json=body)


async def test_leaked_keys_are_revoked_and_their_company_is_told(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker
) -> None:
    working, ended = await company_key(), await company_key()
    async with db.begin() as tx:
        await identity.revoke_key(tx, ACTOR, company.id, ended.record.id)
    unknown = new_key_token("workspace")
    tokens = [working.secret, ended.secret, unknown, unknown[:-1] + "!", working.secret]
    answer = await _report(client, tokens, url=f"https://code.example/x?key={working.secret}")
    assert answer.status_code == 200
    outcomes = [one["outcome"] for one in answer.json()["data"]]
    assert outcomes == ["revoked", "ended", "unknown", "no_key", "revoked"]
    assert [one["prefix"] for one in answer.json()["data"]][:4] == [*(token[:12] for token in tokens[:3]), ""]
    async with client(working.secret) as caller:
        assert (await caller.get("/v1/key/company")).status_code == 401
    told = await announced(db, "key.leaked")
    assert {one["company_id"] for one in told} == {company.id}
    assert sorted(json.loads(one["data"])["outcome"] for one in told) == ["ended", "revoked"]
    assert json.loads(told[0]["data"])["url"] == f"https://code.example/x?key={working.secret[:12]}…"
    kept = await identity.get_key(db, company.id, working.record.id)
    assert (kept.state, kept.revoked_reason, kept.leaked_source) == ("revoked", "leaked: code host", "code host")
    everything = [*told, *await announced(db, "key.revoked"), answer.text]
    assert not any(token in str(one) for token in tokens[:3] for one in everything)
    again = await _report(client, [working.secret])
    assert again.json()["data"] == [{"prefix": working.secret[:12], "outcome": "ended"}]
    assert len(await announced(db, "key.leaked")) == 2


async def test_a_flagged_key_works_on_and_shows_it(
    db: Database, client: Client, owner: httpx.AsyncClient, company_key: KeyMaker
) -> None:
    key = await company_key()
    for _ in range(2):
        assert (await _report(client, [key.secret], act="flag")).json()["data"][0]["outcome"] == "flagged"
    async with client(key.secret) as caller:
        assert (await caller.get("/v1/key/company")).status_code == 200
    shown = (await owner.get(f"{AT}/{key.record.id}")).json()
    assert (shown["leakedSource"], shown["state"]) == ("code host", "working")
    assert shown["leakedAt"] is not None
    assert len(await announced(db, "key.leaked")) == 1
    assert (await _report(client, [key.secret])).json()["data"][0]["outcome"] == "revoked"


@pytest.mark.parametrize(
    "body",
    [{}, {"tokens": []}, {"tokens": ["x"] * 101}, {"tokens": ["x" * 501]}, {"tokens": ["x"], "source": ""},
     {"tokens": ["x"], "act": "forget"}, {"tokens": ["x"], "url": "x" * 2001}],
)  # fmt: skip
async def test_bad_reports_are_told(client: Client, body: dict[str, Any]) -> None:
    async with client(**{"x-internal-token": INTERNAL_TOKEN}) as operator:
        refused = await operator.post(LEAKED, json={"source": "s", **body} if "source" not in body else body)
        assert refused.status_code == 400
        assert (await operator.post(LEAKED, json={"source": "s", "tokens": ["x" * 500] * 100})).status_code == 200
