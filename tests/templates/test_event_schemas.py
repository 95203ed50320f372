"""Event schemas are versioned, checked within bounds, and hold for a workspace or a whole company."""

from typing import Any

import pytest

from mainstay import templates
from tests.templates.conftest import SCHEMAS, Ruled, faults
from tests.tenancy import open_tenancy

PAID = {
    "type": "object",
    "required": ["payload"],
    "properties": {
        "payload": {
            "type": "object",
            "required": ["amount"],
            "properties": {"amount": {"type": "integer"}, "lines": {"items": {"$ref": "#/$defs/line"}}},
        }
    },
    "$defs": {"line": {"type": "object", "required": ["sku"], "additionalProperties": {"type": "string"}}},
}


async def test_enforce_refuses_with_a_pointer_at_the_field(company: Ruled) -> None:
    await company.schema("invoice.paid", PAID)
    assert set(faults(await company.send(action="invoice.paid"))) == {"#/payload"}
    bad = {"lines": [{"sku": "a"}, {"qty": 1}]}
    told = faults(await company.send(action="invoice.paid", payload=bad))
    assert set(told) == {"#/payload/amount", "#/payload/lines/1/sku", "#/payload/lines/1/qty"}
    assert "'invoice.paid'" in told["#/payload/amount"]
    assert (await company.send(action="invoice.paid", payload={"amount": 1})).status_code == 201
    assert (await company.send(action="invoice.sent")).status_code == 201


async def test_warn_flags_without_keeping_what_the_event_says(company: Ruled) -> None:
    made = await company.schema("invoice.paid", PAID, "warn")
    answer = await company.send(action="invoice.paid", payload={"amount": "what only it says"})
    assert answer.status_code == 201
    assert answer.json()["flags"] == [
        {
            "rule": "schema",
            "pointer": "#/payload/amount",
            "detail": "does not satisfy 'type' of the schema",
            "schemaId": made["id"],
            "schemaVersion": 1,
        }
    ]
    async with company.db.connection() as connection:
        assert "only it" not in await connection.fetchval("select flags::text from mainstay.event_flags")


async def test_off_checks_nothing(company: Ruled) -> None:
    made = await company.schema("invoice.paid", PAID, "off")
    assert "flags" not in (await company.send(action="invoice.paid")).json()
    await company.api.patch(f"{SCHEMAS}/{made['id']}", json={"mode": "enforce"}, headers=company.tenancy.auth)
    assert (await company.send(action="invoice.paid")).status_code == 422


async def test_the_schema_sees_the_event_as_it_is_stored(company: Ruled) -> None:
    names = {"action", "category", "actor", "target", "projectId", "payload", "metadata", "changes"}
    await company.ruled(defaultCategories={"*": "given"})
    shape = {"required": sorted(names), "additionalProperties": False, "properties": dict.fromkeys(names, True)}
    await company.schema("a", {**shape, "properties": {**shape["properties"], "category": {"const": "given"}}})  # type: ignore[dict-item]
    whole = {
        "actor": {"id": "u"}, "target": {"id": "t"}, "projectId": "p", "payload": {}, "metadata": {"k": 1},
        "changes": [{"field": "f", "old": 1, "new": 2}],
    }  # fmt: skip
    assert (await company.send(action="a", **whole)).status_code == 201
    assert set(faults(await company.send(action="a", **{**whole, "category": "own"}))) == {"#/category"}


async def test_another_text_is_a_new_version_and_versions_stay(company: Ruled) -> None:
    made = await company.schema("a", {"required": ["payload"]})
    path, headers = f"{SCHEMAS}/{made['id']}", company.tenancy.auth
    assert (await company.api.patch(path, json={"schema": made["schema"]}, headers=headers)).json()["version"] == 1
    changed = await company.api.patch(path, json={"schema": {"required": ["metadata"]}}, headers=headers)
    assert changed.json()["version"] == 2
    assert set(faults(await company.send(action="a"))) == {"#/metadata"}
    read = (await company.api.get(path, headers=headers)).json()
    assert (read["version"], read["shownVersion"], read["schema"]) == (2, 2, {"required": ["metadata"]})
    assert [one["version"] for one in read["versions"]] == [2, 1]
    assert {one["createdBy"]["kind"] for one in read["versions"]} == {"api_key"}
    first = (await company.api.get(path, params={"version": 1}, headers=headers)).json()
    assert (first["shownVersion"], first["schema"]) == (1, {"required": ["payload"]})
    assert (await company.api.get(path, params={"version": 3}, headers=headers)).status_code == 404
    listed = (await company.api.get(SCHEMAS, headers=headers)).json()["data"]
    assert [(one["action"], one["version"], "schema" in one) for one in listed] == [("a", 2, False)]
    assert (await company.api.get(SCHEMAS, params={"action": "b"}, headers=headers)).json() == {"data": []}
    assert (await company.api.delete(path, headers=headers)).status_code == 204
    assert (await company.api.delete(path, headers=headers)).status_code == 404
    assert (await company.send(action="a")).status_code == 201
    assert [len(await company.announced(f"schema.{act}")) for act in ("created", "changed", "deleted")] == [1, 1, 1]


async def test_a_workspaces_own_schema_holds_in_place_of_its_companys(company: Ruled) -> None:
    path, auth = "/v1/key/company/schemas", company.tenancy.company_auth
    wide = await company.api.post(path, json={"action": "a", "schema": {"required": ["metadata"]}}, headers=auth)
    assert (wide.status_code, wide.json()["workspaceId"]) == (201, None)
    own = await company.schema("a", {"required": ["payload"]})
    assert set(faults(await company.send(action="a"))) == {"#/payload"}
    assert set(faults(await company.send(action="a", key=company.tenancy.other_key))) == {"#/metadata"}
    mine = (await company.api.get(SCHEMAS, headers=company.tenancy.auth)).json()["data"]
    assert [one["id"] for one in mine] == [own["id"]]
    path = f"{SCHEMAS}/{wide.json()['id']}"
    assert (await company.api.get(path, headers=company.tenancy.auth)).status_code == 404
    every = (await company.call("GET", "/api/v1/schemas")).json()["data"]
    assert {one["id"] for one in every} == {own["id"], wide.json()["id"]}
    again = await company.api.post(SCHEMAS, json={"action": "a", "schema": True}, headers=company.tenancy.auth)
    assert again.status_code == 409


async def test_people_name_a_workspace_of_their_own_company(company: Ruled) -> None:
    wanted = {"action": "a", "schema": False, "workspaceId": company.tenancy.other_workspace_id}
    made = await company.call("POST", "/api/v1/schemas", json=wanted)
    assert made.json()["workspaceId"] == company.tenancy.other_workspace_id
    assert (await company.send(action="a", key=company.tenancy.other_key)).status_code == 422
    other = await open_tenancy(company.db)
    wanted["workspaceId"] = other.workspace_id
    assert (await company.call("POST", "/api/v1/schemas", json=wanted)).status_code == 404
    assert (await company.call("GET", "/api/v1/schemas", role="staff")).status_code == 403


DEEP: Any = {}
for _ in range(101):
    DEEP = {"not": DEEP}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "nothing"}, "#/schema/type"),
        ({"$ref": "https://example.com/schema.json"}, "#/schema/$ref"),
        ({"$ref": "#/$defs/none"}, "#/schema/$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "#/schema/$defs/a/$ref"),
        ({"pattern": "(a"}, "#/schema/pattern"),
        ({"title": "x" * 65_536}, "#/schema"),
        ({"title": "\0"}, "#/schema"),
        ({"enum": list(range(5_000))}, "#/schema"),
        (DEEP, "#/schema"),
        ("text", "#/schema"),
    ],
)
async def test_what_cannot_be_checked_with_is_refused(company: Ruled, schema: Any, pointer: str) -> None:
    answer = await company.api.post(SCHEMAS, json={"action": "a", "schema": schema}, headers=company.tenancy.auth)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_schemas_at_their_limits_are_taken(company: Ruled) -> None:
    whole = {"title": "x" * (65_536 - len('{"title":""}'))}
    assert (await company.schema("a", whole))["version"] == 1
    assert (await company.schema("b", {"enum": list(range(4_998))}))["version"] == 1


async def test_all_schemas_together_have_a_limit(company: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.templates.event_schemas.SCHEMAS_AT_MOST", 2)
    monkeypatch.setattr("mainstay.templates.event_schemas.ALL_BYTES", 40)
    one = await company.schema("a", {"title": "x" * 8})
    headers, wanted = company.tenancy.auth, {"action": "b", "schema": {"title": "x" * 9}}
    assert len('{"title":""}') + 8 == 20
    assert (await company.api.post(SCHEMAS, json=wanted, headers=headers)).status_code == 409
    await company.schema("b", {"title": "x" * 8})
    path = f"{SCHEMAS}/{one['id']}"
    assert (await company.api.patch(path, json={"schema": wanted["schema"]}, headers=headers)).status_code == 409
    assert (await company.api.patch(path, json={"schema": {}}, headers=headers)).status_code == 200
    refused = await company.api.post(SCHEMAS, json={"action": "c", "schema": {}}, headers=headers)
    assert refused.json()["type"].endswith("too-many-schemas")


async def test_an_event_too_large_for_its_schema_is_not_checked_for_long(company: Ruled) -> None:
    await company.schema("a", {"allOf": [{"additionalProperties": {"minimum": n}} for n in range(1_000)]})
    small, large = {"payload": {"k": 1}}, {"payload": {f"k{n}": 1 for n in range(200)}}
    assert (await company.send(action="a", **small)).status_code == 201
    (told,) = faults(await company.send(action="a", **large)).values()
    assert told.startswith("too large to be checked")
    await company.schema("p", {"allOf": [{"pattern": f"a{n}"} for n in range(1_000)]})
    (told,) = faults(await company.send(action="p", payload={"k": "a" * 60_000})).values()
    assert told.startswith("too large to be checked")


async def test_a_schema_without_its_company_is_nobodys(company: Ruled) -> None:
    made = await company.schema("a", False)
    other = await open_tenancy(company.db)
    path = f"{SCHEMAS}/{made['id']}"
    assert (await company.api.get(path, headers=other.auth)).status_code == 404
    assert (await company.api.delete(path, headers={"x-api-key": company.tenancy.other_key})).status_code == 404
    assert (await company.send(key=other.key, action="a")).status_code == 201
    async with company.db.begin() as tx:
        assert await templates.retention_days_of(tx, other.company_id, company.tenancy.workspace_id) is None
