"""The catalogue: types with schema and example, the company's own and Mainstay's."""

import json
import time
from typing import Any

import jsonschema_rs
import pytest

from mainstay.kernel.db import Database
from mainstay.webhooks import catalogue
from tests.webhooks.conftest import COMPANY_PATH, Tenant, announced

TYPES = "/v1/key/company/event-types"
PEOPLE_TYPES = "/api/v1/event-types"
SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "required": ["amount"],
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
}
EXAMPLE = {"amount": 5, "lines": [{"sku": "a"}]}
OWN = ["audit.event", "delivery.dead", "endpoint.disabled", "endpoint.failing", "webhook.test"]


async def put(tenant: Tenant, name: str = "invoice.paid", status: int = 201, **values: Any) -> dict[str, Any]:
    """The answer to a type put."""
    answer = await tenant.key.put(f"{TYPES}/{name}", json=values)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("family", [TYPES, PEOPLE_TYPES])
async def test_a_type_is_made_replaced_deprecated_and_revived(tenant: Tenant, db: Database, family: str) -> None:
    client = tenant.key if family == TYPES else tenant.manager
    path = f"{family}/invoice.paid"
    wanted = {"description": "Somebody paid.", "schema": SCHEMA, "example": EXAMPLE}
    made = await client.put(path, json=wanted)
    assert made.status_code == 201, made.text
    shown = (await client.get(path)).json()
    assert made.json() == shown
    assert {name: shown[name] for name in wanted} == wanted
    assert (shown["name"], shown["source"], shown["version"], shown["deprecatedAt"]) == (
        "invoice.paid",
        "company",
        1,
        None,
    )
    assert (await client.put(path, json=wanted)).json() == shown
    assert (await client.put(path, json={**wanted, "description": "Paid."})).json()["version"] == 1
    changed = await client.put(path, json={**wanted, "schema": {"type": "object"}})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).json()["deprecatedAt"] is not None
    assert (await client.put(path, json={**wanted, "schema": {"type": "object"}})).json()["deprecatedAt"] is None
    assert [fact["name"] for fact in await announced(db, "event_type.created")] == ["invoice.paid"]
    assert [fact["fields"] for fact in await announced(db, "event_type.changed")] == [
        ["description"],
        ["description", "schema"],
        [],
    ]
    assert len(await announced(db, "event_type.deprecated")) == 1


async def test_the_list_holds_own_and_mainstays_by_name_and_pages(tenant: Tenant, stranger: Tenant) -> None:
    for name in ("a.first", "z.last", "endpoint.own"):
        await put(tenant, name)
    await put(stranger, "foreign.one")
    expected = sorted(["a.first", "z.last", "endpoint.own", *OWN])
    whole = (await tenant.key.get(TYPES)).json()
    assert [one["name"] for one in whole["data"]] == expected
    assert whole["meta"]["nextCursor"] is None
    for limit in (1, 3, len(expected)):
        seen, cursor = [], None
        while True:
            page = (
                await tenant.key.get(TYPES, params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
            ).json()
            assert 1 <= len(page["data"]) <= limit
            seen += [one["name"] for one in page["data"]]
            cursor = page["meta"]["nextCursor"]
            if cursor is None:
                break
        assert seen == expected


@pytest.mark.parametrize("name", OWN)
async def test_mainstays_own_types_have_schemas_that_their_examples_satisfy(tenant: Tenant, name: str) -> None:
    shown = (await tenant.key.get(f"{TYPES}/{name}")).json()
    assert (shown["source"], [one["version"] for one in shown["payloads"]]) == ("mainstay", [1, 2])
    for one in shown["payloads"]:
        jsonschema_rs.Draft202012Validator(one["schema"]).validate(one["example"])
    for method, body in (("PUT", {}), ("DELETE", None)):
        refused = await tenant.key.request(method, f"{TYPES}/{name}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "event-type-reserved")


async def test_payload_versions_show_the_example_as_they_write_it(tenant: Tenant) -> None:
    own = (await tenant.key.get(f"{TYPES}/audit.event")).json()["payloads"]
    assert own[0]["example"]["actorName"] == own[1]["example"]["actor"]["name"] == "Ann"
    mine = (await put(tenant, schema=SCHEMA, example=EXAMPLE))["payloads"]
    assert [(one["schema"], one["example"]) for one in mine] == [(SCHEMA, EXAMPLE)] * 2


def laughs(depth: int) -> dict[str, Any]:
    """A schema whose references, written out, double with each step."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{depth}": {"type": "object"}}}


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"schema": {"type": "objekt"}}, "#/schema/type"),
        ({"schema": {"properties": {"a/b": {"minimum": "1"}}}}, "#/schema/properties/a~1b/minimum"),
        ({"schema": {"$ref": "https://example.com/schema.json"}}, "#/schema/$ref"),
        ({"schema": {"properties": {"a": {"$ref": "other.json#/a"}}}}, "#/schema/properties/a/$ref"),
        ({"schema": {"$ref": "file:///etc/passwd"}}, "#/schema/$ref"),
        ({"schema": {"$ref": "#/$defs/none"}}, "#/schema/$ref"),
        ({"schema": {"$ref": "#"}}, "#/schema/$ref"),
        ({"schema": {"allOf": [{"$dynamicRef": "#x"}]}}, "#/schema/allOf/0/$dynamicRef"),
        ({"schema": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}}, "#/schema/$defs/a/items/$ref"),
        ({"schema": {"pattern": "(?=a)"}}, "#/schema/pattern"),
        ({"schema": {"pattern": "(.{0,50}a.{0,50}b){30}$"}}, "#/schema/pattern"),
        ({"schema": {"allOf": [{}], "$ref": "#/allOf/²"}}, "#/schema/$ref"),
        ({"schema": {"allOf": [{}], "$ref": "#/allOf/" + "9" * 5_000}}, "#/schema/$ref"),
        ({"schema": SCHEMA, "example": {"amount": "five"}}, "#/example/amount"),
        ({"schema": SCHEMA, "example": {"amount": 1, "lines": [{"sku": "a"}, {}]}}, "#/example/lines/1"),
        ({"schema": False, "example": {"a": 1}}, "#/example"),
        ({"schema": "text"}, "#/schema"),
        ({"example": {"a": "\0"}}, "#/example"),
        ({"description": "nul\0"}, "#/description"),
        ({"description": "x" * 2_049}, "#/description"),
        ({"schema": {"description": "x" * 65_536}}, "#/schema"),
        ({"example": "x" * 65_535}, "#/example"),
        ({"unknown": 1}, "#"),
        ({"schema": {"items": {"allOf": [{"type": "integer"}] * 3_000}}, "example": [1] * 3_000}, "#/example"),
    ],
)
async def test_bad_types_are_refused_with_a_pointer(tenant: Tenant, values: dict[str, Any], pointer: str) -> None:
    refused = await put(tenant, status=400, **values)
    assert [fault["pointer"] for fault in refused["errors"]] == [pointer]


async def test_schemas_that_would_take_for_ever_are_refused_at_once(tenant: Tenant) -> None:
    started = time.process_time()
    refused = await put(tenant, status=400, schema=laughs(40), example={"a": 1})
    assert "parts" in refused["errors"][0]["detail"]
    chain = {f"s{n}": {"$ref": f"#/$defs/s{n + 1}"} for n in range(1_500)}
    await put(tenant, status=400, schema={"$defs": {**chain, "s1500": {}}, "$ref": "#/$defs/s0"}, example=1)
    assert time.process_time() - started < 5
    await put(tenant, schema=laughs(10), example={"a": 1})


async def test_a_page_of_types_ends_early_where_they_are_large(tenant: Tenant) -> None:
    for n in range(20):
        await put(tenant, f"aa.t{n:02d}", example="x" * 65_534)
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        answer = (await tenant.key.get(TYPES, params={"limit": 1_000, **({"cursor": cursor} if cursor else {})})).json()
        seen += [one["name"] for one in answer["data"]]
        cursor, pages = answer["meta"]["nextCursor"], pages + 1
    assert seen == sorted({*catalogue.own_types(), *(f"aa.t{n:02d}" for n in range(20))})
    assert pages == 2


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"not": value}
    return value


async def test_a_type_nests_no_deeper_than_the_list_can_show(tenant: Tenant) -> None:
    await put(tenant, schema=nested(100))
    await put(tenant, status=200, example=nested(100))
    assert (await tenant.key.get(TYPES)).status_code == 200
    for name in ("schema", "example"):
        refused = await put(tenant, status=400, **{name: nested(101)})
        assert [fault["pointer"] for fault in refused["errors"]] == [f"#/{name}"]


MANY = [f"{n:04d}" for n in range(8_000)]


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"items": {"enum": MANY}}, [f"x{n}" for n in range(8_000)]),
        ({"items": {"required": MANY}}, [{}] * 20_000),
        ({"items": {"const": "x" * 60_000}}, [1] * 30_000),
        ({"allOf": [{"type": "string"}] * 30}, ["x" * 1_000] * 60),
        ({"uniqueItems": True}, [{"a": n} for n in range(6_000)] * 2),
    ],
)
async def test_an_example_that_breaks_its_schema_everywhere_costs_little(
    tenant: Tenant, schema: Any, example: Any
) -> None:
    started = time.process_time()
    answer = await tenant.key.put(f"{TYPES}/order.paid", json={"schema": schema, "example": example})
    assert (answer.status_code, len(answer.content) < 16_384) == (400, True)
    assert time.process_time() - started < 2


async def test_the_limits_of_types_are_met_at_their_edges(tenant: Tenant, db: Database) -> None:
    await put(
        tenant,
        "a" * 128,
        description="ü" * 2_048,
        schema={"description": "x" * (65_536 - len('{"description":""}'))},
        example="x" * 65_534,
    )
    for name in ("a" * 129, "a..b", "a.*", "*", "tâche", "a b"):
        answer = await tenant.key.put(f"{TYPES}/{name}", json={})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "name")
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.event_types (company_id, name, created_by)
               select $1, 't' || n, '{}' from generate_series(1, 998) n""",
            tenant.company_id,
        )
    await put(tenant, "last.one")
    assert (await put(tenant, "too.many", 409))["code"] == "too-many-event-types"
    await put(tenant, "last.one", 200, description="changed")


async def test_another_companys_type_is_not_there(tenant: Tenant, stranger: Tenant) -> None:
    await put(tenant)
    for method, path in (
        ("GET", "invoice.paid"),
        ("DELETE", "invoice.paid"),
        ("GET", "no.such"),
        ("DELETE", "no.such"),
    ):
        answer = await stranger.key.request(method, f"{TYPES}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "event-type-not-found")
    await put(stranger, description="theirs")
    assert (await tenant.key.get(f"{TYPES}/invoice.paid")).json()["description"] == ""


async def test_a_test_sends_the_example_of_a_type(tenant: Tenant, db: Database) -> None:
    await put(tenant, schema=SCHEMA, example=EXAMPLE)
    await put(tenant, "without.example")
    webhook = await tenant.webhook("http://127.0.0.1:9/hook", "never.sent")
    path = f"{COMPANY_PATH}/{webhook['id']}/test"
    for body, kind, data in (
        ({"type": "invoice.paid"}, "invoice.paid", EXAMPLE),
        ({"type": "audit.event"}, "invoice.paid", catalogue.own_types()["audit.event"]["example"]),
        ({"type": None}, "webhook.test", None),
        ({}, "webhook.test", None),
    ):
        assert (await tenant.key.post(path, json=body)).status_code == 202
        sent = (await tenant.log(webhook))[0]
        assert sent["eventType"] == kind
        async with db.connection() as connection:
            stored = json.loads(
                await connection.fetchval("select body from mainstay.messages where id = $1", sent["messageId"])
            )
        assert (stored["type"], stored["test"]) == (kind, True)
        assert data is None or stored["data"] == data
    for body in ({"type": "no.such"}, {"type": "without.example"}):
        refused = await tenant.key.post(path, json=body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/type")
