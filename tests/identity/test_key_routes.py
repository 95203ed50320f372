"""What a key may know about itself, its workspace and its company."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from mainstay import identity
from mainstay.kernel.db import Database
from tests.identity.conftest import ACTOR, Client, KeyMaker

LIST = "/v1/key/company/workspaces"
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_a_workspace_key_sees_its_workspace(
    client: Client, company: identity.Company, workspace: identity.Workspace, workspace_key: KeyMaker
) -> None:
    key = await workspace_key(name="ingest", expires_at=datetime.now(UTC) + timedelta(days=1))
    async with client(key.secret) as caller:
        told = (await caller.get("/v1/key/workspace")).json()
    shown = told.pop("key")
    assert _ISO.fullmatch(told.pop("createdAt"))
    assert told == {
        "id": workspace.id,
        "companyId": company.id,
        "name": "Production",
        "slug": "production",
        "system": False,
        "dataRegion": "US",
        "plan": "free",
    }
    assert _ISO.fullmatch(shown.pop("expiresAt"))
    assert shown == {
        "id": key.record.id,
        "name": "ingest",
        "prefix": key.secret[:12],
        "readOnly": False,
        "scopes": None,
        "lastUsedAt": None,
        "uses5m": 0,
        "health": {
            "use": "never_used",
            "uses5m": 0,
            "lastUsedAt": None,
            "lastAddress": None,
            "addresses": 0,
            "refusals": {"address": 0, "readOnly": 0, "scope": 0},
            "refusedAt": None,
            "refusedAddress": None,
        },
    }


async def test_a_company_key_sees_its_company(client: Client, company: identity.Company, company_key: KeyMaker) -> None:
    key = await company_key()
    async with client(key.secret) as caller:
        told = (await caller.get("/v1/key/company")).json()
    assert told.keys() == {"id", "name", "slug", "dataRegion", "plan", "createdAt", "key"}
    assert (told["id"], told["name"], told["key"]["id"]) == (company.id, "Acme Ltd", key.record.id)


async def test_workspaces_are_walked_in_pages_and_only_the_companys_own(
    db: Database,
    client: Client,
    company: identity.Company,
    other_company: identity.Company,
    company_key: KeyMaker,
) -> None:
    async with db.begin() as tx:
        opened = [await identity.open_workspace(tx, ACTOR, company.id, name=f"W {number}") for number in range(6)]
        await identity.open_workspace(tx, ACTOR, other_company.id, name="Theirs")
    key, pages = await company_key(), []
    async with client(key.secret) as caller:
        cursor: str | None = None
        while True:
            query = {"limit": "3"} if cursor is None else {"limit": "3", "cursor": cursor}
            page = (await caller.get(LIST, params=query)).json()
            cursor = page["meta"]["nextCursor"]
            assert page["meta"] == {"limit": 3, "total": 7, "totalIsExact": True, "nextCursor": cursor}
            pages.append([one["id"] for one in page["data"]])
            if cursor is None:
                break
        whole = (await caller.get(LIST)).json()
    assert [len(page) for page in pages] == [3, 3, 1]
    walked = [workspace_id for page in pages for workspace_id in page]
    assert walked == [one["id"] for one in whole["data"]] == sorted(walked)
    assert {workspace.id for workspace in opened} < set(walked)
    assert {one["companyId"] for one in whole["data"]} == {company.id}
    assert [one["slug"] for one in whole["data"] if one["system"]] == ["system"]


async def test_a_page_that_is_just_full_has_no_next(
    client: Client, workspace: identity.Workspace, company_key: KeyMaker
) -> None:
    async with client((await company_key()).secret) as caller:
        page = (await caller.get(LIST, params={"limit": "2"})).json()
    assert len(page["data"]) == 2
    assert page["meta"]["nextCursor"] is None


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=" + "9" * 5_000, "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("page=1", "page"),
    ],
)
async def test_bad_parameters_are_told(client: Client, company_key: KeyMaker, query: str, pointer: str) -> None:
    async with client((await company_key()).secret) as caller:
        answer = await caller.get(f"{LIST}?{query}")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert (await caller.get(LIST, params={"limit": "1000"})).status_code == 200


async def test_another_companys_cursor_is_refused(
    db: Database,
    client: Client,
    workspace: identity.Workspace,
    other_company: identity.Company,
    company_key: KeyMaker,
) -> None:
    async with db.begin() as tx:
        theirs = await identity.issue_key(tx, ACTOR, other_company.id, kind="company", name="theirs")
    async with client((await company_key()).secret) as caller:
        cursor = (await caller.get(LIST, params={"limit": "1"})).json()["meta"]["nextCursor"]
        assert (await caller.get(LIST, params={"cursor": cursor})).status_code == 200
    async with client(theirs.secret) as stranger:
        assert (await stranger.get(LIST, params={"cursor": cursor})).status_code == 400


async def test_system_workspaces_come_with_the_operators(
    db: Database, company: identity.Company, workspace: identity.Workspace
) -> None:
    rows = await identity.system_workspaces(db, [company.id])
    found = {one.company_id: one for one in rows}
    assert sorted(one.company_id for one in rows) == sorted([company.id, identity.OPERATOR_COMPANY])
    assert found[company.id].id != workspace.id
    assert found[identity.OPERATOR_COMPANY].id == identity.OPERATOR_WORKSPACE
    assert found[company.id].region == "US"
    assert [one.company_id for one in await identity.system_workspaces(db, [])] == [identity.OPERATOR_COMPANY]
