"""What an API key may be narrowed to: one table of the paths that keys open. Pure."""

from collections.abc import Mapping
from typing import Literal, get_args

Scope = Literal[
    "events.write",
    "events.read",
    "exports",
    "archive",
    "erasures",
    "webhooks",
    "streams",
    "templates",
    "usage",
    "workspaces",
    "keys",
]

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Everything a key may be narrowed to; a key with none of them may do all that its kind may."""

# By what stands after /v1/key/workspace or /v1/key/company.
_AREAS: Mapping[str, Scope] = {
    "checkpoint": "events.read",
    "regions": "events.read",
    "export.json": "exports",
    "export.csv": "exports",
    "export.ndjson": "exports",
    "archive": "archive",
    "export-archive.json": "archive",
    "retention": "archive",
    "erasures": "erasures",
    "holds": "erasures",
    "gdpr": "erasures",
    "jobs": "erasures",
    "webhooks": "webhooks",
    "event-types": "webhooks",
    "streams": "streams",
    "schemas": "templates",
    "usage": "usage",
    "stats": "usage",
    "workspaces": "workspaces",
    "create": "keys",
    "rotate": "keys",
    "revoke": "keys",
}
_OF_EVERY_KEY = frozenset({"", "rate-limit"})
"""What a key may know of itself, whatever it is narrowed to."""


def is_within(scopes: frozenset[str], method: str, path: str) -> bool:
    """Whether a key of these scopes may ask for the path; a path that the table does not know is within none."""
    area = _area_of(path)
    return area in _OF_EVERY_KEY or find_scope(method, path) in scopes


def find_scope(method: str, path: str) -> Scope | None:
    """The scope that a path below `/v1/key/…` needs; None where every key may ask, or the table does not know it."""
    area = _area_of(path)
    if area == "events":
        return "events.write" if method == "POST" else "events.read"
    return _AREAS.get(area)


def _area_of(path: str) -> str:
    parts = path.split("/", 5)
    return parts[4] if len(parts) > 4 else ""
