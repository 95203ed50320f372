"""Events as OCSF 1.3 API Activity (class 6003): what has a place there, and everything else under `unmapped`."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

import orjson

VERSION: Final = "1.3.0"
CLASS_UID: Final = 6003
CATEGORY_UID: Final = 6
_OTHER: Final = 99
_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other"}
_WORDS: Final = {
    **dict.fromkeys(
        ("add", "added", "create", "created", "invite", "invited", "issue", "issued", "open", "opened", "register",
         "registered", "upload", "uploaded"), 1),
    **dict.fromkeys(
        ("access", "accessed", "download", "downloaded", "export", "exported", "get", "list", "listed", "read",
         "search", "searched", "view", "viewed"), 2),
    **dict.fromkeys(
        ("archive", "archived", "assign", "assigned", "change", "changed", "disable", "disabled", "edit", "edited",
         "enable", "enabled", "move", "moved", "rename", "renamed", "reset", "rotate", "rotated", "set", "update",
         "updated"), 3),
    **dict.fromkeys(
        ("cancel", "cancelled", "close", "closed", "delete", "deleted", "erase", "erased", "purge", "purged", "remove",
         "removed", "revoke", "revoked"), 4),
}  # fmt: skip
_ADDRESS_NAMES: Final = ("ip", "ipAddress", "ip_address", "sourceIp", "source_ip", "sourceIPAddress", "clientIp")


def activity_of(action: str) -> int:
    """1 Create, 2 Read, 3 Update or 4 Delete, by the last word of the action; 99 where that says none of them."""
    last = action.rpartition(".")[2].replace("-", "_").replace(":", "_").lower()
    return next((_WORDS[word] for word in reversed(last.split("_")) if word in _WORDS), _OTHER)


def api_activity(row: Mapping[str, Any]) -> dict[str, Any]:
    """One stored event as an API Activity."""
    payload, metadata = _object(row["payload"]), _object(row["metadata"])
    activity = activity_of(row["action"])
    return {
        "activity_id": activity,
        "activity_name": row["action"] if activity == _OTHER else _NAMES[activity],
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "type_uid": CLASS_UID * 100 + activity,
        "type_name": f"API Activity: {_NAMES[activity]}",
        "severity_id": 1,
        "severity": "Informational",
        "time": _milliseconds(row["occurred_at"]),
        "message": row["action"],
        "metadata": {
            "version": VERSION,
            "product": {"name": "Mainstay", "vendor_name": "Mainstay"},
            "uid": str(row["id"]),
            "correlation_uid": row["trace_id"],
            "event_code": row["action"],
            "log_name": str(row["workspace_id"]),
            "logged_time": _milliseconds(row["received_at"]),
            "sequence": row["seq"],
            "tenant_uid": str(row["company_id"]),
        },
        "actor": _actor(row),
        "api": {"operation": row["action"], "service": {"name": row["category"]}},
        "src_endpoint": _endpoint(metadata, payload),
        **_resources(row),
        "unmapped": {
            "payload": payload,
            "metadata": metadata,
            "changes": None if row["changes"] is None else orjson.loads(row["changes"]),
            "project_id": row["project_id"],
            "data_region": row["data_region"],
            "hash": row["hash"].hex(),
            "prev_hash": row["prev_hash"].hex(),
        },
    }


def _actor(row: Mapping[str, Any]) -> dict[str, Any]:
    """The user; an event without an actor was made by the application that sent it."""
    user = {"uid": row["actor_id"], "name": row["actor_name"] or row["actor_email"], "email_addr": row["actor_email"]}
    known = {name: value for name, value in user.items() if value is not None}
    if "uid" not in known and "name" not in known:
        return {"app_name": row["category"]}
    return {"user": known}


def _endpoint(*places: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the call came from, as far as the sender told it."""
    for place in places:
        for name in _ADDRESS_NAMES:
            found = (place or {}).get(name)
            if isinstance(found, str) and _is_address(found):
                return {"ip": found}
    return {"name": "unknown"}


def _resources(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["target_id"] is None and row["target_type"] is None:
        return {}
    named = {"uid": row["target_id"], "type": row["target_type"]}
    return {"resources": [{name: value for name, value in named.items() if value is not None}]}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _object(text: str | None) -> dict[str, Any] | None:
    found = None if text is None else orjson.loads(text)
    return found if isinstance(found, dict) else None


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
