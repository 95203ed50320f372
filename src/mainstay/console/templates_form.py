"""The forms of templates and event schemas: what was typed, what it means, and what is wrong in which field. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.kernel.errors import Fault

ACTOR_FIELDS = ("id", "email", "name")
TEMPLATE: Mapping[str, str] = {
    "name": "", "description": "", "mode": "enforce", "actor-id": "", "actor-email": "", "actor-name": "",
    "requiredMetadataKeys": "", "defaultCategories": "", "retentionDays": "", "projectRequired": "",
}  # fmt: skip
SCHEMA: Mapping[str, str] = {"action": "", "workspaceId": "", "mode": "enforce", "description": "", "schema": ""}
_SPACE = " \t\r\n"


@dataclass(slots=True)
class Draft:
    """A form as it came; `given` is what it means to the room."""

    typed: dict[str, str]
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def refuse(self, name: str, words: str) -> None:
        """The field is wrong; the first reason stands."""
        self.wrong.setdefault(name, words)

    def take_faults(self, faults: Sequence[Fault]) -> None:
        """What the room found wrong stands at the field where it was typed; in a schema, with its place and line."""
        for fault in faults:
            steps = fault.pointer.removeprefix("#").removeprefix("/rules").removeprefix("/")
            name, _, inner = steps.partition("/")
            if name == "requiredActorFields":
                name = "actor-id"
            if name == "schema" and inner:
                line = line_of(self.typed["schema"], f"/{inner}")
                self.refuse("schema", f"Line {line}, /{inner}: {fault.detail}")
            elif name in self.typed:
                self.refuse(name, f"{_entry(self.typed[name], inner)}{fault.detail[:1].upper()}{fault.detail[1:]}")
            else:
                self.refuse(next(iter(self.typed)), fault.detail)


def template_of(row: Mapping[str, Any]) -> Draft:
    """The form of a template as it is."""
    rules = json.loads(row["rules"])
    typed = {
        **TEMPLATE,
        "name": row["name"],
        "description": row["description"] or "",
        "mode": row["mode"],
        "requiredMetadataKeys": "\n".join(rules.get("requiredMetadataKeys") or ()),
        "defaultCategories": "\n".join(
            f"{pattern} = {one}" for pattern, one in (rules.get("defaultCategories") or {}).items()
        ),
        "retentionDays": str(rules.get("retentionDays") or ""),
        "projectRequired": "1" if rules.get("projectRequired") else "",
    }
    typed.update({f"actor-{name}": "1" for name in rules.get("requiredActorFields") or ()})
    return Draft(typed)


def read_template(form: Mapping[str, str]) -> Draft:
    """The form of a template as it came."""
    draft = Draft({name: form.get(name, "").replace("\r\n", "\n").strip() for name in TEMPLATE})
    typed = draft.typed
    days = typed["retentionDays"]
    if days and not (days.isascii() and days.isdigit() and len(days) <= 6):
        draft.refuse("retentionDays", "Must be a whole number of days, or empty.")
        days = ""
    draft.given = {
        "name": typed["name"],
        "description": typed["description"] or None,
        "mode": typed["mode"] or "enforce",
        "rules": {
            "requiredActorFields": [name for name in ACTOR_FIELDS if typed[f"actor-{name}"]],
            "requiredMetadataKeys": [
                line.strip() for line in typed["requiredMetadataKeys"].splitlines() if line.strip()
            ],
            "defaultCategories": _categories(draft),
            "retentionDays": int(days) if days else None,
            "projectRequired": bool(typed["projectRequired"]),
        },
    }
    return draft


def read_schema(form: Mapping[str, str]) -> Draft:
    """The form of an event schema as it came."""
    draft = Draft({name: form.get(name, "").replace("\r\n", "\n") for name in SCHEMA})
    typed = draft.typed
    draft.given = {
        "mode": typed["mode"] or "enforce",
        "description": typed["description"].strip() or None,
        "schema": {},
    }
    try:
        found = json.loads(typed["schema"], parse_constant=_no_constant)
        if not isinstance(found, dict | bool):
            draft.refuse("schema", "Must be a JSON Schema: an object in braces.")
        draft.given["schema"] = found
    except json.JSONDecodeError as error:
        draft.refuse("schema", f"Line {error.lineno}, column {error.colno}: this is not JSON. {error.msg}.")
    except (ValueError, RecursionError):
        draft.refuse("schema", "This is not JSON that can be read.")
    return draft


def line_of(text: str, pointer: str) -> int:
    """The line of a JSON text to which a pointer leads, as far as it leads anywhere; lines begin with 1."""
    at = _skip(text, 0)
    for step in pointer.split("/")[1:]:
        found = _inside(text, at, step.replace("~1", "/").replace("~0", "~"))
        if found is None:
            break
        at = found
    return text.count("\n", 0, at) + 1


def _inside(text: str, at: int, step: str) -> int | None:
    """Where the member or element stands in the object or list that begins here."""
    opening, number, decoder = text[at : at + 1], 0, json.JSONDecoder()
    if opening not in ("{", "["):
        return None
    at = _skip(text, at + 1)
    while at < len(text) and text[at] not in "}]":
        begins, name = at, str(number)
        if opening == "{":
            name, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        if name == step:
            value = _skip(text, at)
            return value if text[value] in "{[" else begins if opening == "[" else value
        _, at = decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        number += 1
    return None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _categories(draft: Draft) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(draft.typed["defaultCategories"].splitlines(), 1):
        pattern, sign, category = (part.strip() for part in line.partition("="))
        if line.strip() and not sign:
            draft.refuse("defaultCategories", f"Line {number}: write action = category, such as invoice.* = billing.")
        elif line.strip():
            found[pattern] = category
    return found


def _entry(text: str, inner: str) -> str:
    """The entry of a list that a fault is about, as it was typed."""
    lines = _lines(text)
    if inner.isdigit() and int(inner) < len(lines):
        return f"{lines[int(inner)]}: "
    return f"{inner.replace('~1', '/').replace('~0', '~')}: " if inner and inner != "..." else ""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _no_constant(text: str) -> Any:
    raise ValueError(text)
