"""Keys that are narrowed: what they open, what they may give, and how their refusals are counted."""

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from mainstay import identity, main
from mainstay.identity import granting, key_health
from mainstay.identity.errors import BeyondOwnRights
from mainstay.identity.keys import IssuedKey
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Invalid
from mainstay.web.scopes import SCOPES, find_scope, is_within
from tests.conftest import running_app
from tests.identity.conftest import Client, KeyMaker
from tests.tenancy import OPERATOR, Tenancy, open_tenancy, test_settings

EVENT = {"action": "user.signed_in", "actor": {"id": "u-1"}}
OF_EVERY_KEY = {f"/v1/key/{kind}{path}" for kind in ("workspace", "company") for path in ("", "/rate-limit")}


def key_routes() -> set[tuple[str, str]]:
    """Every route that keys open."""
    front = main.build_api(test_settings("postgresql://nobody@127.0.0.1/none"))
    found = {
        (method, context.path)
        for context in iter_route_contexts(front._app.routes)  # type: ignore[attr-defined]
        for method in (context.methods or set()) - {"HEAD"}
    } | set(front._hot)
    return {(method, path) for method, path in found if path.startswith("/v1/key/")}


def test_every_path_has_its_scope_and_every_scope_a_path() -> None:
    routes = key_routes()
    assert {path for method, path in routes if find_scope(method, path) is None} == OF_EVERY_KEY
    assert {find_scope(method, path) for method, path in routes} - {None} == set(SCOPES)
    for method, path in routes:
        allowed = [scope for scope in SCOPES if is_within(frozenset({scope}), method, path)]
        assert allowed == (list(SCOPES) if path in OF_EVERY_KEY else [find_scope(method, path)])


@pytest.mark.parametrize(
    "path", ["/v1/key/workspace/new-thing", "/v1/key/workspace/EVENTS", "/v1/key/company/export.xml"]
)
def test_what_the_table_does_not_know_is_within_no_scope(path: str) -> None:
    assert not is_within(frozenset(SCOPES), "GET", path)


async def _narrowed(db: Database, tenancy: Tenancy, *scopes: str, workspace: bool = True) -> IssuedKey:
    async with db.begin() as tx:
        return await identity.issue_key(
            tx, OPERATOR, tenancy.company_id, kind="workspace" if workspace else "company", name="n", scopes=scopes,
            workspace_id=tenancy.workspace_id if workspace else None,
        )  # fmt: skip


async def test_a_narrowed_key_opens_its_scopes_alone(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    writer = {"x-api-key": (await _narrowed(db, tenancy, "events.write")).secret}
    reader = {"x-api-key": (await _narrowed(db, tenancy, "events.read", "usage")).secret}
    at = "/v1/key/workspace"
    for headers, allowed in ((writer, {"POST events", "POST batch"}), (reader, {"GET events", "GET usage"})):
        answers = {
            "POST events": await api.post(f"{at}/events", json=EVENT, headers=headers),
            "POST batch": await api.post(f"{at}/events/batch", json={"events": [EVENT]}, headers=headers),
            "GET events": await api.get(f"{at}/events", headers=headers),
            "GET usage": await api.get(f"{at}/usage", headers=headers),
            "GET export": await api.get(f"{at}/export.json", headers=headers),
            "POST create": await api.post(f"{at}/create", json={"name": "x"}, headers=headers),
        }
        assert {name for name, answer in answers.items() if answer.is_success} == allowed
        refused = [answer for answer in answers.values() if not answer.is_success]
        assert {answer.status_code for answer in refused} == {403}
        assert {answer.json()["type"].rpartition(":")[2] for answer in refused} == {"outside-scopes"}
        assert (await api.get(at, headers=headers)).status_code == 200
    refused = await api.post(f"{at}/events", json=EVENT, headers=reader)
    assert "events.write" in refused.json()["detail"]
    assert (await api.get(at, headers=reader)).json()["key"]["scopes"] == ["events.read", "usage"]


async def test_a_company_key_is_narrowed_too(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    headers = {"x-api-key": (await _narrowed(db, tenancy, "webhooks", workspace=False)).secret}
    for path, status in (
        ("webhooks", 200),
        ("event-types", 200),
        ("streams", 403),
        ("workspaces", 403),
        ("holds", 403),
    ):
        assert (await api.get(f"/v1/key/company/{path}", headers=headers)).status_code == status, path


async def test_a_key_gives_no_scope_that_it_lacks(client: Client, company_key: KeyMaker) -> None:
    giver = await company_key(scopes=["keys", "usage"])
    async with client(giver.secret) as caller:
        inherited = (await caller.post("/v1/key/company/create", json={"name": "a"})).json()
        fewer = (await caller.post("/v1/key/company/create", json={"name": "b", "scopes": ["usage"]})).json()
        more = await caller.post("/v1/key/company/create", json={"name": "c", "scopes": ["usage", "streams"]})
        wider = await company_key()
        rotated = await caller.post("/v1/key/company/rotate", json={"keyId": wider.record.id})
        own = (await caller.post("/v1/key/company/rotate", json={})).json()
    assert (inherited["scopes"], fewer["scopes"], own["scopes"]) == (["usage", "keys"], ["usage"], ["usage", "keys"])
    assert (more.status_code, more.json()["errors"][0]["pointer"]) == (403, "#/scopes/1")
    assert rotated.status_code == 403


async def test_a_key_with_all_scopes_gives_any(client: Client, company_key: KeyMaker) -> None:
    async with client((await company_key()).secret) as caller:
        whole = (await caller.post("/v1/key/company/create", json={"name": "a"})).json()
        narrow = (await caller.post("/v1/key/company/create", json={"name": "a", "scopes": ["keys"]})).json()
        for bad in ([], ["everything"], ["keys"] * 21, "keys", [1]):
            refused = await caller.post("/v1/key/company/create", json={"name": "a", "scopes": bad})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"][:8]) == (400, "#/scopes")
    assert (whole["scopes"], narrow["scopes"]) == (None, ["keys"])


@pytest.mark.parametrize("scopes", [[], ["everything"]])
async def test_what_is_no_scope_makes_no_key(company_key: KeyMaker, scopes: list[str]) -> None:
    with pytest.raises(Invalid):
        await company_key(scopes=scopes)


async def test_narrowing_is_a_matter_of_sets(company_key: KeyMaker) -> None:
    own = (await company_key(scopes=["keys", "usage"])).record
    assert granting.narrowed_scopes(own, None) == ("usage", "keys")
    with pytest.raises(BeyondOwnRights):
        granting.narrowed_scopes(own, None, inherits=False)


async def test_refused_uses_are_counted_by_their_reason(
    db: Database, client: Client, callers: identity.Identity, workspace_key: KeyMaker
) -> None:
    here = ["192.0.2.0/24"]
    key = (await workspace_key(scopes=["usage"], allow_list=here)).secret
    reader = await workspace_key(read_only=True)
    for address, path, status in (
        ("192.0.2.9", "/v1/key/workspace", 200),
        ("2001:db8::1", "/v1/key/workspace", 403),
        ("198.51.100.7", "/v1/key/workspace", 403),
    ):
        async with client(key, address=address) as caller:
            assert (await caller.get(path)).status_code == status
    async with client(key, address="192.0.2.9") as caller:
        assert (await caller.post("/v1/key/workspace/create", json={"name": "x"})).status_code == 403
    async with client(reader.secret) as caller:
        assert (await caller.post("/v1/key/workspace/create", json={"name": "x"})).status_code == 403
    await callers.key_use.flush_once(db)
    async with client(key, address="192.0.2.9") as caller:
        health = (await caller.get("/v1/key/workspace")).json()["key"]["health"]
    assert health["refusals"] == {"address": 2, "readOnly": 0, "scope": 1}
    assert (health["uses5m"], health["addresses"], health["lastAddress"]) == (1, 1, "192.0.2.9")
    assert health["refusedAt"] is not None
    told = await key_health.health_of(db, reader.record.company_id, [reader.record.id])
    assert told[reader.record.id].refusals == {"address": 0, "read_only": 1, "scope": 0}
    assert told[reader.record.id].use == "never_used"


async def test_the_hot_routes_count_what_they_refuse(fresh_url: str, db: Database) -> None:
    tenancy = await open_tenancy(db)
    narrowed = await _narrowed(db, tenancy, "usage")
    async with running_app(fresh_url) as api:
        headers = {"x-api-key": narrowed.secret}
        assert (await api.post("/v1/key/workspace/events", json=EVENT, headers=headers)).status_code == 403
    told = await key_health.health_of(db, tenancy.company_id, [narrowed.record.id])
    assert told[narrowed.record.id].refusals["scope"] == 1
    assert told[narrowed.record.id].uses_5m == 0
