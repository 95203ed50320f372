"""The description of the API: a valid document, and a page that shows all of it and runs nothing."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI

from mainstay.web import reference, reference_page

HOSTILE = "</pre><script>alert(1)</script>'\"&"


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object inside."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from parts(value)


@pytest.fixture
async def document(api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await api.get("/openapi.json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_document_is_openapi_3_1_and_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    names = set()
    for path, _, operation in reference.operations(document):
        names.add(operation["operationId"])
        assert operation["responses"], path
        assert operation["summary"], path
        told = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert told == set(re.findall(r"\{(\w+)\}", path)), path
        assert all(set(one) <= set(document["components"]["securitySchemes"]) for one in operation["security"])
    assert len(names) == len(list(reference.operations(document)))


async def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for part in parts(document):
        assert "$defs" not in part
        if isinstance(part.get("$ref"), str):
            assert part["$ref"].removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)


async def test_the_document_says_who_may_call(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert paths["/v1/key/workspace/events"]["post"]["security"] == [{"workspaceKey": []}]
    assert paths["/v1/key/workspace/events"]["get"]["security"] == [{"workspaceKey": []}]
    assert paths["/v1/key/company/events"]["get"]["security"] == [{"companyKey": []}]
    assert paths["/api/v1/webhooks"]["post"]["security"] == [{"accessToken": []}]
    assert paths["/api/v1/auth/login"]["post"]["security"] == []
    assert paths["/api/v1/health/live"]["get"]["security"] == []


async def test_the_page_shows_every_operation_and_allows_nothing_to_run(
    api: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    answer = await api.get("/docs")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    page = _Page(answer.text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "form", "object"})
    assert page.attributes.isdisjoint({"style", "src", "onclick", "onload"})
    assert all(one.startswith(("#", "/")) for one in page.links)
    for path, method, _ in reference.operations(document):
        assert f'id="{method}{path.replace("/", "-").replace("{", "").replace("}", "")}"' in answer.text
    assert all(one.removeprefix("#") in page.ids for one in page.links if one.startswith("#"))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_hostile_text_stays_text() -> None:
    operation = {
        "tags": [HOSTILE],
        "summary": HOSTILE,
        "description": f"{HOSTILE} `{HOSTILE}`",
        "operationId": "x",
        "parameters": [
            {"name": HOSTILE, "in": "query", "description": HOSTILE, "schema": {"enum": [HOSTILE], "default": HOSTILE}}
        ],
        "requestBody": {
            "content": {
                HOSTILE: {
                    "schema": {
                        "type": "object",
                        "required": [HOSTILE],
                        "properties": {HOSTILE: {"type": HOSTILE, "description": HOSTILE, "examples": [HOSTILE]}},
                    }
                }
            }
        },
        "responses": {HOSTILE: {"description": HOSTILE, "content": {HOSTILE: {}}}},
    }
    app = FastAPI(title=HOSTILE)
    document = reference.complete(
        app.openapi(), [lambda described: described["paths"].update({f"/{HOSTILE}": {"post": operation}})]
    )
    text = reference_page.render(document, "")
    assert "<script" not in text
    assert _Page(text).tags <= {
        "html", "head", "meta", "title", "style", "body", "nav", "main", "section", "article", "h1", "h2", "h3", "h4",
        "p", "pre", "ul", "li", "a", "b", "code", "table", "tr", "th", "td", "small", "details", "summary",
    }  # fmt: skip


def test_definitions_move_to_where_references_point() -> None:
    schema = {
        "$ref": "#/components/schemas/A",
        "$defs": {"A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}}, "B": {"type": "string"}},
    }

    def describe(document: dict[str, Any]) -> None:
        document["paths"]["/a"] = {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}

    document = reference.complete({"openapi": "3.1.0", "info": {}, "paths": {}}, [describe])
    assert document["components"]["schemas"]["B"] == {"type": "string"}
    assert all("$defs" not in part for part in parts(document))


def test_an_example_holds_what_is_required() -> None:
    schema = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {
            "a": {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {"type": "string"},
        },
    }
    schemas = {"A": {"type": "object", "properties": {"x": {"type": "string"}}}}
    assert reference_page.example_of(schema, schemas) == {"a": {"x": "text"}, "b": [1]}
    command = reference_page.curl_of(
        "/x/{thing_id}", "post", {"parameters": [{"name": "thing_id", "in": "path"}], "security": [{"companyKey": []}],
        "requestBody": {"content": {"application/json": {"schema": {"enum": ["it's"]}}}}}, {},
    )  # fmt: skip
    assert command.startswith('curl "$MAINSTAY_URL/x/$THING_ID" -X POST')
    assert "$MAINSTAY_KEY" in command
    assert """-d '"it'"'"'s"'""" in command
