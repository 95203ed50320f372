"""The page of an OpenAPI document as plain HTML: every text in it is escaped, nothing in it runs."""

import shlex
from collections import defaultdict
from html import escape
from typing import Any

import orjson

Document = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
_DEEPEST = 6
_LIMITS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minimum", "from {}"),
    ("maximum", "to {}"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matches {}"),
    ("default", "default {}"),
)
_CREDENTIAL = {
    "workspaceKey": ("a workspace key", "Authorization: Bearer $MAINSTAY_KEY"),
    "companyKey": ("a company key", "Authorization: Bearer $MAINSTAY_KEY"),
    "accessToken": ("a person's access token", "Authorization: Bearer $ACCESS_TOKEN"),
    "operatorToken": ("the operators' token", "x-internal-token: $INTERNAL_TOKEN"),
}


def render(document: Document, css: str) -> str:
    """The whole page, operations grouped by their first tag."""
    groups: dict[str, list[tuple[str, str, Document]]] = defaultdict(list)
    for path, item in sorted(document["paths"].items()):
        for method in (name for name in _METHODS if name in item):
            groups[item[method].get("tags", ["other"])[0]].append((path, method, item[method]))
    schemas = document.get("components", {}).get("schemas", {})
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}: API reference</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head><body>'
        f'<nav aria-label="Operations"><h2>{escape(info["title"])}</h2>{"".join(map(_menu, groups.items()))}</nav>'
        f"<main><h1>{escape(title)}: API reference</h1>{_INTRODUCTION}"
        + "".join(_group(tag, found, schemas) for tag, found in groups.items())
        + "</main></body></html>"
    )


_INTRODUCTION = (
    '<p>Everything here is also in <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1). Every refusal is '
    "<code>application/problem+json</code> with <code>errors</code> that point at what is wrong. The examples read "
    "two variables:</p><pre>export MAINSTAY_URL=http://127.0.0.1:8080\nexport MAINSTAY_KEY=mk_ws_…</pre>"
)


def _menu(group: tuple[str, list[tuple[str, str, Document]]]) -> str:
    tag, found = group
    links = "".join(
        f'<li><a href="#{_anchor(path, method)}"><b class="{method}">{method.upper()}</b> {escape(path)}</a></li>'
        for path, method, _ in found
    )
    return f"<h3>{escape(tag)}</h3><ul>{links}</ul>"


def _group(tag: str, found: list[tuple[str, str, Document]], schemas: Document) -> str:
    shown = "".join(_operation(path, method, operation, schemas) for path, method, operation in found)
    return f'<section><h2 id="tag-{escape(tag)}">{escape(tag)}</h2>{shown}</section>'


def _operation(path: str, method: str, operation: Document, schemas: Document) -> str:
    summary, description = operation.get("summary", ""), operation.get("description", "")
    more = f"<p>{_prose(description)}</p>" if description and description != summary else ""
    body = _body_schema(operation)
    return (
        f'<article id="{_anchor(path, method)}"><h3><b class="{method}">{method.upper()}</b> '
        f'<code>{escape(path)}</code></h3><p class="summary">{_prose(summary)}</p>{more}'
        f'<p class="who">{_who(operation)}</p>{_parameters(operation, schemas)}'
        + ("" if body is None else "<h4>Body</h4>" + _schema_table(body, schemas))
        + _answers(operation, schemas)
        + f"<h4>Example</h4><pre>{escape(curl_of(path, method, operation, schemas))}</pre></article>"
    )


def _who(operation: Document) -> str:
    schemes = [name for one in operation.get("security", ()) for name in one]
    if not schemes:
        return "Needs no credential."
    return "Needs " + " or ".join(escape(_CREDENTIAL.get(name, (name, ""))[0]) for name in schemes) + "."


def _parameters(operation: Document, schemas: Document) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{'yes' if one.get('required') else ''}</td>"
        f"<td>{_type_of(one.get('schema', {}), schemas)} {_limits(one.get('schema', {}))} "
        f"{_prose(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    head = "<tr><th>Parameter</th><th>In</th><th>Required</th><th>What</th></tr>"
    return f"<h4>Parameters</h4><table>{head}{rows}</table>" if rows else ""


def _answers(operation: Document, schemas: Document) -> str:
    parts = []
    for status, answer in sorted(operation.get("responses", {}).items()):
        content = answer.get("content", {})
        schema = next((kind["schema"] for kind in content.values() if kind.get("schema")), None)
        shown = _schema_table(schema, schemas) if schema and _members(schema, schemas) else ""
        folded = f"<details><summary>fields</summary>{shown}</details>" if shown else ""
        parts.append(
            f"<tr><td><code>{escape(status)}</code></td><td>{_prose(answer.get('description', ''))} "
            f"<small>{escape(', '.join(content))}</small>{folded}</td></tr>"
        )
    return f"<h4>Answers</h4><table><tr><th>Status</th><th>What</th></tr>{''.join(parts)}</table>" if parts else ""


def _schema_table(schema: Document, schemas: Document) -> str:
    rows: list[str] = []
    _add_rows(rows, schema, schemas, "", 0)
    if not rows:
        return f"<p>{_type_of(schema, schemas)}</p>"
    head = "<tr><th>Field</th><th>Required</th><th>What</th></tr>"
    told = _prose(_resolve(schema, schemas).get("description", ""))
    return (f"<p>{told}</p>" if told else "") + f"<table>{head}{''.join(rows)}</table>"


def _add_rows(rows: list[str], schema: Document, schemas: Document, under: str, depth: int) -> None:
    required = _resolve(schema, schemas).get("required", ())
    for name, member in _members(schema, schemas).items():
        path = under + name
        resolved = _resolve(member, schemas)
        rows.append(
            f"<tr><td><code>{escape(path)}</code></td><td>{'yes' if name in required and not under else ''}</td>"
            f"<td>{_type_of(member, schemas)} {_limits(resolved)} {_prose(resolved.get('description', ''))}</td></tr>"
        )
        if depth < _DEEPEST:
            inner = resolved.get("items") if resolved.get("type") == "array" else resolved
            suffix = "[]." if resolved.get("type") == "array" else "."
            _add_rows(rows, inner or {}, schemas, path + suffix, depth + 1)


def _members(schema: Document, schemas: Document) -> Document:
    found: Document = _resolve(schema, schemas).get("properties", {})
    return found


def _resolve(schema: Document, schemas: Document) -> Document:
    """The schema behind references, and behind a choice of which only one is more than null."""
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            schema = schemas.get(schema["$ref"].rpartition("/")[2], {})
            continue
        choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if len(choices) != 1:
            break
        schema = {**choices[0], **{key: value for key, value in schema.items() if key in ("description", "default")}}
    return schema


def _type_of(schema: Document, schemas: Document) -> str:
    resolved = _resolve(schema, schemas)
    if "enum" in resolved:
        return "one of " + ", ".join(f"<code>{escape(str(value))}</code>" for value in resolved["enum"])
    if "anyOf" in resolved:
        return " or ".join(_type_of(one, schemas) for one in resolved["anyOf"])
    kind = resolved.get("type", "any")
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array":
        named = f"array of {_type_of(resolved.get('items', {}), schemas)}"
        return named
    return escape(named)


def _limits(schema: Document) -> str:
    told = [text.format(schema[name]) for name, text in _LIMITS if schema.get(name) is not None]
    return f"<small>({escape('; '.join(told))})</small>" if told else ""


def curl_of(path: str, method: str, operation: Document, schemas: Document) -> str:
    """A command that makes the call, with an example body where there is one."""
    for one in operation.get("parameters", ()):
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", "$" + one["name"].upper())
    lines = [f'curl "$MAINSTAY_URL{path}"' + ("" if method == "get" else f" -X {method.upper()}")]
    schemes = [name for one in operation.get("security", ()) for name in one]
    if schemes and schemes[0] in _CREDENTIAL:
        lines.append(f'-H "{_CREDENTIAL[schemes[0]][1]}"')
    body = _body_schema(operation)
    if body is not None:
        example = body.get("examples", [None])[0] or example_of(body, schemas)
        lines += ['-H "Content-Type: application/json"', "-d " + shlex.quote(orjson.dumps(example).decode())]
    return " \\\n  ".join(lines)


def example_of(schema: Document, schemas: Document, depth: int = 0) -> Any:
    """A value that resembles what the schema asks for: its required members, or the first few where none is."""
    resolved = _resolve(schema, schemas)
    if resolved.get("examples"):
        return resolved["examples"][0]
    if "enum" in resolved:
        return resolved["enum"][0]
    members: Document = resolved.get("properties", {})
    if members and depth < _DEEPEST:
        names = resolved.get("required") or list(members)[:3]
        return {name: example_of(members[name], schemas, depth + 1) for name in names if name in members}
    kind = resolved.get("type")
    if kind == "array":
        return [example_of(resolved.get("items", {}), schemas, depth + 1)]
    plain: Document = {"string": "text", "integer": 1, "number": 1, "boolean": True, "null": None}
    return plain.get(str(kind), {})


def _body_schema(operation: Document) -> Document | None:
    content = operation.get("requestBody", {}).get("content", {})
    for kind in content.values():
        found: Document | None = kind.get("schema")
        return found
    return None


def _prose(text: str) -> str:
    """Escaped text in which `backquotes` mark code."""
    parts = escape(text).split("`")
    closed = len(parts) % 2 == 1
    return "".join(f"<code>{part}</code>" if closed and n % 2 else part for n, part in enumerate(parts))


def _anchor(path: str, method: str) -> str:
    return escape(method + path.replace("/", "-").replace("{", "").replace("}", ""))
