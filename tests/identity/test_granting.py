"""Keys that make, rotate and revoke keys over HTTP: within their tenancy, with no more rights than they have."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity
from mainstay.identity import granting
from mainstay.identity.errors import BeyondOwnRights
from mainstay.kernel import ids, once
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor
from tests.conftest import SqlClock
from tests.identity.conftest import ACTOR, Client, KeyMaker, announced, issue

WORKSPACE, COMPANY = "/v1/key/workspace", "/v1/key/company"
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


async def post(client: Client, secret: str, path: str, body: Any, **headers: str) -> httpx.Response:
    """The answer to that body, sent with that key."""
    async with client(secret) as caller:
        return await caller.post(path, json=body, headers=headers)


async def works(client: Client, secret: str, path: str = WORKSPACE) -> bool:
    """Whether the key opens the path."""
    async with client(secret) as caller:
        status = (await caller.get(path)).status_code
    assert status in (200, 401)
    return status == 200


async def test_a_workspace_key_makes_a_key_of_its_workspace(
    db: Database, client: Client, workspace: identity.Workspace, workspace_key: KeyMaker
) -> None:
    own = await workspace_key(name="first")
    wish = {
        "name": "second",
        "readOnly": True,
        "labels": ["ci", " prod "],
        "ipAllowlist": ["127.0.0.0/8"],
        "expiresAt": TOMORROW.isoformat(),
    }
    answer = await post(client, own.secret, f"{WORKSPACE}/create", wish)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made["key"].startswith("mk_ws_")
    assert made["prefix"] == made["key"][:12]
    assert {name: made[name] for name in ("name", "kind", "workspaceId", "readOnly", "labels", "ipAllowlist")} == {
        "name": "second",
        "kind": "workspace",
        "workspaceId": workspace.id,
        "readOnly": True,
        "labels": ["ci", "prod"],
        "ipAllowlist": ["127.0.0.0/8"],
    }
    assert datetime.fromisoformat(made["expiresAt"]) == TOMORROW
    assert await works(client, made["key"])
    kept = await identity.get_key(db, workspace.company_id, made["id"])
    assert kept.labels == ("ci", "prod")
    assert kept.created_by == Actor(kind="api_key", id=own.record.id, name="first")
    told = await announced(db, "key.issued")
    assert made["id"] in told[-1]["data"]
    assert made["key"] not in told[-1]["data"]


async def test_a_company_key_makes_keys_of_itself_and_of_its_workspaces(
    client: Client, workspace: identity.Workspace, company_key: KeyMaker
) -> None:
    own = await company_key()
    of_company = (await post(client, own.secret, f"{COMPANY}/create", {"name": "whole"})).json()
    wish = {"name": "part", "workspaceId": workspace.id}
    of_workspace = (await post(client, own.secret, f"{COMPANY}/create", wish)).json()
    assert (of_company["kind"], of_company["workspaceId"]) == ("company", None)
    assert (of_workspace["kind"], of_workspace["workspaceId"]) == ("workspace", workspace.id)
    assert await works(client, of_company["key"], COMPANY)
    assert await works(client, of_workspace["key"])


async def test_what_is_another_companys_is_not_there(
    db: Database, client: Client, company_key: KeyMaker, workspace: identity.Workspace, other_company: identity.Company
) -> None:
    async with db.begin() as tx:
        theirs = await identity.open_workspace(tx, ACTOR, other_company.id, name="Theirs")
    their_key = await issue(db, other_company, theirs)
    own = await company_key()
    for path, body in (
        ("create", {"name": "k", "workspaceId": theirs.id}),
        ("create", {"name": "k", "workspaceId": "x"}),
        ("rotate", {"keyId": their_key.record.id}),
        ("revoke", {"keyId": their_key.record.id}),
        ("revoke", {"keyId": "x"}),
        ("revoke", {"keyId": ids.new_id()}),
    ):
        answer = await post(client, own.secret, f"{COMPANY}/{path}", body)
        assert answer.status_code == 404, (path, body, answer.text)
    assert await works(client, their_key.secret)


async def test_a_workspace_key_reaches_no_other_key_of_its_company(
    db: Database, client: Client, company: identity.Company, workspace_key: KeyMaker, company_key: KeyMaker
) -> None:
    async with db.begin() as tx:
        sibling = await identity.open_workspace(tx, ACTOR, company.id, name="Sibling")
    own, above, beside = await workspace_key(), await company_key(), await issue(db, company, sibling)
    for path in ("rotate", "revoke"):
        for other in (above, beside):
            answer = await post(client, own.secret, f"{WORKSPACE}/{path}", {"keyId": other.record.id})
            assert answer.status_code == 404
    refused = await post(client, own.secret, f"{WORKSPACE}/create", {"name": "k", "workspaceId": sibling.id})
    assert refused.status_code == 400
    assert await works(client, above.secret, COMPANY)
    assert await works(client, beside.secret)


async def test_addresses_and_end_are_inherited_and_never_widened(
    db: Database, client: Client, company: identity.Company, workspace: identity.Workspace, workspace_key: KeyMaker
) -> None:
    narrow = await workspace_key(allow_list=["127.0.0.0/8", "10.0.0.0/8"], expires_at=TOMORROW)
    made = (await post(client, narrow.secret, f"{WORKSPACE}/create", {"name": "k"})).json()
    assert made["ipAllowlist"] == ["127.0.0.0/8", "10.0.0.0/8"]
    assert datetime.fromisoformat(made["expiresAt"]) == TOMORROW
    later = (TOMORROW + timedelta(seconds=1)).isoformat()
    for more, pointer in (
        ({"ipAllowlist": ["127.0.0.1", "0.0.0.0/0"]}, "#/ipAllowlist/1"),
        ({"expiresAt": later}, "#/expiresAt"),
    ):
        answer = await post(client, narrow.secret, f"{WORKSPACE}/create", {"name": "k", **more})
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("beyond-own-rights")
        assert answer.json()["errors"][0]["pointer"] == pointer
    wide = await issue(db, company, workspace)
    refused = await post(client, narrow.secret, f"{WORKSPACE}/rotate", {"keyId": wide.record.id})
    assert refused.status_code == 403
    assert await identity.list_keys(db, company.id) == [
        await identity.get_key(db, company.id, key_id) for key_id in (narrow.record.id, made["id"], wide.record.id)
    ]


async def test_a_key_in_its_overlap_gives_nothing_that_outlives_it(client: Client, workspace_key: KeyMaker) -> None:
    own = await workspace_key()
    rotated = (await post(client, own.secret, f"{WORKSPACE}/rotate", {"overlapSeconds": 3_600})).json()
    made = (await post(client, own.secret, f"{WORKSPACE}/create", {"name": "k"})).json()
    assert made["expiresAt"] == rotated["overlapEndsAt"]


def _key(allow_list: Sequence[str], expires_at: datetime | None) -> identity.ApiKey:
    return identity.ApiKey(
        "id", "company", None, "company", "name", "mk_co_", False, tuple(allow_list), expires_at, TOMORROW, ACTOR,
        None, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "wished", "inherits", "given"),
    [
        ([], [], True, []),
        ([], ["10.0.0.1"], True, ["10.0.0.1"]),
        (["10.0.0.0/8"], [], True, ["10.0.0.0/8"]),
        (["10.0.0.0/8"], [], False, None),
        (["10.0.0.0/8"], ["10.0.0.0/8"], False, ["10.0.0.0/8"]),
        (["10.0.0.0/8"], ["10.255.255.255/32"], True, ["10.255.255.255/32"]),
        (["10.0.0.0/8"], ["11.0.0.0/32"], True, None),
        (["10.0.0.0/8"], ["8.0.0.0/6"], True, None),
        (["10.0.0.0/8", "fd00::/8"], ["fd00::1/128", "10.1.0.0/16"], True, ["fd00::1/128", "10.1.0.0/16"]),
        (["10.0.0.0/8"], ["::/0"], True, None),
        (["::/0"], ["10.0.0.0/8"], True, None),
    ],
)
def test_addresses_are_narrowed(own: list[str], wished: list[str], inherits: bool, given: list[str] | None) -> None:
    if given is None:
        with pytest.raises(BeyondOwnRights):
            granting.narrowed_list(_key(own, None), wished, inherits=inherits)
    else:
        assert granting.narrowed_list(_key(own, None), wished, inherits=inherits) == given


@pytest.mark.parametrize(
    ("own", "wished", "inherits", "given"),
    [
        (None, None, True, None),
        (None, TOMORROW, True, TOMORROW),
        (TOMORROW, None, True, TOMORROW),
        (TOMORROW, TOMORROW, False, TOMORROW),
        (TOMORROW, TOMORROW - timedelta(hours=1), True, TOMORROW - timedelta(hours=1)),
        (TOMORROW, TOMORROW + timedelta(microseconds=1), True, "refused"),
        (TOMORROW, None, False, "refused"),
    ],
)
def test_ends_are_narrowed(own: datetime | None, wished: datetime | None, inherits: bool, given: Any) -> None:
    if given == "refused":
        with pytest.raises(BeyondOwnRights):
            granting.narrowed_end(_key([], own), wished, inherits=inherits)
    else:
        assert granting.narrowed_end(_key([], own), wished, inherits=inherits) == given


async def test_a_rotated_key_works_beside_its_successor_until_the_overlap_ends(
    client: Client, sql_clock: SqlClock, workspace_key: KeyMaker
) -> None:
    own = await workspace_key(name="ingest", labels=["ci"])
    answer = await post(client, own.secret, f"{WORKSPACE}/rotate", {"overlapSeconds": 60})
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (made["name"], made["labels"], made["replaces"]) == ("ingest", ["ci"], own.record.id)
    assert made["oldKeyRevoked"] is False
    assert await works(client, own.secret)
    assert await works(client, made["key"])
    await sql_clock.move(timedelta(seconds=61))
    assert not await works(client, own.secret)
    assert await works(client, made["key"])


async def test_revoke_old_ends_the_old_key_at_once(client: Client, workspace_key: KeyMaker) -> None:
    own = await workspace_key()
    made = (await post(client, own.secret, f"{WORKSPACE}/rotate", {"revokeOld": True, "name": "next"})).json()
    assert (made["oldKeyRevoked"], made["name"]) == (True, "next")
    assert not await works(client, own.secret)
    assert await works(client, made["key"])


async def test_another_key_is_rotated_by_its_id(client: Client, workspace_key: KeyMaker, company_key: KeyMaker) -> None:
    lost, own = await workspace_key(), await company_key()
    path, body = f"{COMPANY}/rotate", {"keyId": lost.record.id, "overlapSeconds": 0}
    made = (await post(client, own.secret, path, body)).json()
    assert (made["replaces"], made["kind"]) == (lost.record.id, "workspace")
    assert not await works(client, lost.secret)
    again = await post(client, own.secret, path, body)
    assert (again.status_code, again.json()["type"].rpartition(":")[2]) == (409, "key-not-rotatable")


async def test_a_key_revokes_itself_or_another_and_says_why(
    db: Database, client: Client, company: identity.Company, workspace_key: KeyMaker, company_key: KeyMaker
) -> None:
    own, other = await company_key(), await workspace_key()
    body = {"keyId": other.record.id, "reason": "leaked"}
    told = (await post(client, own.secret, f"{COMPANY}/revoke", body)).json()
    assert (told["id"], told["revokedReason"]) == (other.record.id, "leaked")
    assert not await works(client, other.secret)
    again = (await post(client, own.secret, f"{COMPANY}/revoke", {**body, "reason": "other"})).json()
    assert again == told
    kept = await identity.get_key(db, company.id, other.record.id)
    assert (kept.revoked_reason, told["revokedAt"][:19]) == ("leaked", kept.revoked_at.isoformat()[:19])
    assert '"reason": "leaked"' in (await announced(db, "key.revoked"))[-1]["data"]
    ended = await post(client, own.secret, f"{COMPANY}/revoke", {})
    assert (ended.status_code, ended.json()["revokedReason"]) == (200, None)
    assert not await works(client, own.secret, COMPANY)


async def test_a_key_that_may_only_read_makes_rotates_and_revokes_nothing(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker
) -> None:
    own = await company_key(read_only=True)
    for act in ("create", "rotate", "revoke"):
        assert (await post(client, own.secret, f"{COMPANY}/{act}", {"name": "k"})).status_code == 403
    assert [key.id for key in await identity.list_keys(db, company.id)] == [own.record.id]


async def test_a_key_that_is_revoked_while_it_asks_makes_none(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker
) -> None:
    """The request has passed the guard; the revocation commits before the new key would."""
    own = await company_key()
    async with db.begin() as tx:
        await identity.revoke_key(tx, ACTOR, company.id, own.record.id)
        asked = asyncio.create_task(post(client, own.secret, f"{COMPANY}/create", {"name": "k"}))
        await _until_somebody_waits(db)
    assert (await asked).status_code == 401
    assert [key.id for key in await identity.list_keys(db, company.id)] == [own.record.id]


async def _until_somebody_waits(db: Database) -> None:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(20):
        async with db.connection() as connection:
            while not await connection.fetchval(waiting):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("act", "body", "pointer"),
    [
        ("create", {}, "#"),
        ("create", {"name": ""}, "#/name"),
        ("create", {"name": " "}, "#/name"),
        ("create", {"name": "n" * 201}, "#/name"),
        ("create", {"name": "k", "scope": "all"}, "#"),
        ("create", {"name": "k", "labels": ["x"] * 21}, "#/labels"),
        ("create", {"name": "k", "labels": ["x" * 65]}, "#/labels/0"),
        ("create", {"name": "k", "labels": ["a", " "]}, "#/labels/1"),
        ("create", {"name": "k", "ipAllowlist": ["::1"] * 101}, "#/ipAllowlist"),
        ("create", {"name": "k", "ipAllowlist": ["::1", "x"]}, "#/ipAllowlist/1"),
        ("create", {"name": "k", "expiresAt": "2099-01-01T00:00:00"}, "#/expiresAt"),
        ("create", {"name": "k", "expiresAt": "2020-01-01T00:00:00Z"}, "#/expiresAt"),
        ("rotate", {"overlapSeconds": -1}, "#/overlapSeconds"),
        ("rotate", {"overlapSeconds": 30 * 86_400 + 1}, "#/overlapSeconds"),
        ("rotate", {"overlapSeconds": 1, "revokeOld": True}, "#/overlapSeconds"),
        ("rotate", {"name": "\n"}, "#/name"),
        ("revoke", {"reason": "r" * 501}, "#/reason"),
        ("revoke", {"reason": 1}, "#/reason"),
        ("revoke", [], "#"),
    ],
)
async def test_bad_bodies_are_told_and_change_nothing(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker, act: str, body: Any, pointer: str
) -> None:
    own = await company_key()
    answer = await post(client, own.secret, f"{COMPANY}/{act}", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert [(key.id, key.ends_at) for key in await identity.list_keys(db, company.id)] == [(own.record.id, None)]


async def test_limits_hold_at_their_edge(client: Client, company_key: KeyMaker) -> None:
    own = await company_key()
    wish = {"name": "n" * 200, "labels": ["x" * 64] * 20, "ipAllowlist": ["::1"] * 99 + ["127.0.0.1"]}
    assert (await post(client, own.secret, f"{COMPANY}/create", wish)).status_code == 201
    assert (await post(client, own.secret, f"{COMPANY}/rotate", {"overlapSeconds": 30 * 86_400})).status_code == 200
    assert (await post(client, own.secret, f"{COMPANY}/revoke", {"reason": "r" * 500})).status_code == 200


@pytest.mark.parametrize(("act", "body"), [("create", {"name": "k"}), ("rotate", {"overlapSeconds": 60})])
async def test_a_repeated_request_makes_no_second_key(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker, act: str, body: dict[str, Any]
) -> None:
    own, path, head = await company_key(), f"{COMPANY}/{act}", {"Idempotency-Key": "once"}
    first = await post(client, own.secret, path, body, **head)
    again = await post(client, own.secret, path, body, **head)
    assert first.status_code < 300
    assert (again.status_code, again.json()["keyId"]) == (409, first.json()["id"])
    assert again.json()["type"].endswith("key-already-issued")
    assert first.json()["key"] not in again.text
    other = await post(client, own.secret, path, {**body, "name": "other"}, **head)
    assert (other.status_code, other.json()["type"].endswith("idempotency-mismatch")) == (422, True)
    assert len(await identity.list_keys(db, company.id)) == 2


async def test_simultaneous_requests_of_one_key_make_one(
    db: Database, client: Client, company: identity.Company, company_key: KeyMaker
) -> None:
    own, head = await company_key(), {"Idempotency-Key": "once"}
    asked = (post(client, own.secret, f"{COMPANY}/create", {"name": "k"}, **head) for _ in range(5))
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == [201, 409, 409, 409, 409]
    assert len(await identity.list_keys(db, company.id)) == 2


async def test_a_key_of_a_day_ago_is_forgotten_and_a_refusal_is_not_kept(
    db: Database, client: Client, sql_clock: SqlClock, company_key: KeyMaker
) -> None:
    own, path, head = await company_key(), f"{COMPANY}/create", {"Idempotency-Key": "once"}
    assert (await post(client, own.secret, path, {"name": " "}, **head)).status_code == 400
    first = await post(client, own.secret, path, {"name": "k"}, **head)
    await sql_clock.move(timedelta(hours=24))
    second = await post(client, own.secret, path, {"name": "other"}, **head)
    assert (first.status_code, second.status_code) == (201, 201)
    assert await once.prune_everywhere(db) == 0
    await sql_clock.move(timedelta(hours=24))
    assert await once.prune_everywhere(db) == 1


async def test_another_key_has_idempotency_keys_of_its_own(client: Client, company_key: KeyMaker) -> None:
    for own in (await company_key(), await company_key()):
        head = {"Idempotency-Key": "k" * 255}
        assert (await post(client, own.secret, f"{COMPANY}/create", {"name": "k"}, **head)).status_code == 201


@pytest.mark.parametrize("given", ["", "k" * 256, "a\tb", "ü".encode("latin-1")])
async def test_idempotency_keys_are_checked(client: Client, company_key: KeyMaker, given: str) -> None:
    answer = await post(
        client, (await company_key()).secret, f"{COMPANY}/create", {"name": "k"}, **{"Idempotency-Key": given}
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("path", [WORKSPACE, COMPANY])
async def test_nothing_limits_keys_at_present(
    client: Client, workspace_key: KeyMaker, company_key: KeyMaker, path: str
) -> None:
    own = await (workspace_key if path == WORKSPACE else company_key)()
    async with client(own.secret) as caller:
        told = (await caller.get(f"{path}/rate-limit")).json()
    assert told == {
        "policy": "unlimited",
        "limit": None,
        "remaining": None,
        "resetAt": None,
        "windowSeconds": None,
        "limited": False,
    }
