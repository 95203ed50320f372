"""The description of the API: an OpenAPI document and a page of it that needs neither scripts nor the network."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from mainstay.web import reference_page

Document = dict[str, Any]
Describer = Callable[[Document], None]

PAGE_PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"
METHODS = ("get", "post", "put", "patch", "delete")
_PUBLIC_PATHS = frozenset(
    f"/api/v1/{path}"
    for path in ("auth/register", "auth/login", "auth/mfa/challenge", "auth/refresh", "auth/password/forgot",
                 "auth/password/reset", "auth/email/confirm", "invites/accept")
)  # fmt: skip
_PUBLIC_TAG = "operations"
_CREDENTIALS = (
    ("/v1/key/workspace", "workspaceKey"),
    ("/v1/key/company", "companyKey"),
    ("/internal", "operatorToken"),
    ("/api/v1", "accessToken"),
)
_SCHEMES: Document = {
    "workspaceKey": {"type": "http", "scheme": "bearer", "description": "An API key of one workspace (`mk_ws_…`)."},
    "companyKey": {"type": "http", "scheme": "bearer", "description": "An API key of a company (`mk_co_…`)."},
    "accessToken": {"type": "http", "scheme": "bearer", "description": "A person's token from `/api/v1/auth/login`."},
    "operatorToken": {
        "type": "apiKey",
        "in": "header",
        "name": "x-internal-token",
        "description": "The operators' token (INTERNAL_TOKEN).",
    },
}


def router(app: FastAPI, describers: Sequence[Describer]) -> APIRouter:
    """`/openapi.json` and `/docs` of the whole application, with what the describers add; written once and kept."""
    routes = APIRouter(include_in_schema=False)
    plain_document = app.openapi
    kept: dict[str, Any] = {}

    def document() -> Document:
        plain = plain_document()
        if kept.get("plain") is not plain:
            kept.clear()
            kept.update(plain=plain, document=complete(plain, describers))
        found: Document = kept["document"]
        return found

    app.openapi = document  # type: ignore[method-assign]
    css = (Path(__file__).parent / "reference.css").read_text(encoding="utf-8")
    policy = _policy(css)

    @routes.get(DOCUMENT_PATH)
    async def openapi_document() -> Response:
        described = document()
        body = kept.get("json") or kept.setdefault("json", orjson.dumps(described))
        return Response(body, media_type="application/json")

    @routes.get(PAGE_PATH)
    async def reference_of_the_api() -> Response:
        described = document()
        page = kept.get("page") or kept.setdefault("page", reference_page.render(described, css).encode())
        headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return routes


def complete(plain: Document, describers: Sequence[Describer]) -> Document:
    """The document with every describer's part, its definitions in one place, and who may call each operation."""
    document: Document = orjson.loads(orjson.dumps(plain))
    document["openapi"] = "3.1.0"
    document.setdefault("paths", {})
    for describe in describers:
        describe(document)
    document = orjson.loads(orjson.dumps(document))
    components = document.setdefault("components", {})
    _lift_definitions(document["paths"], components.setdefault("schemas", {}))
    components["securitySchemes"] = {**_SCHEMES, **components.get("securitySchemes", {})}
    for path, _, operation in operations(document):
        operation.setdefault("security", _security_of(path, operation))
        _split_docstring(operation)
    return document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Path, method and description of every operation, in the order of paths."""
    for path, item in sorted(document["paths"].items()):
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _security_of(path: str, operation: Document) -> list[dict[str, list[str]]]:
    if path in _PUBLIC_PATHS or _PUBLIC_TAG in operation.get("tags", ()):
        return []
    needed: list[dict[str, list[str]]] = [{scheme: []} for family, scheme in _CREDENTIALS if path.startswith(family)]
    return needed[:1]


def _split_docstring(operation: Document) -> None:
    """A route's sentence says more than the words of its function's name."""
    description = operation.get("description", "").strip()
    first, _, rest = description.partition("\n")
    if first:
        operation["summary"] = first.rstrip()
        operation["description"] = rest.strip() or first


def _lift_definitions(node: Any, schemas: Document) -> None:
    """Every `$defs` inside moves to the components, where the references to it point."""
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
            _lift_definitions(schema, schemas)
        for value in node.values():
            _lift_definitions(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _lift_definitions(value, schemas)


def _policy(css: str) -> str:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
