"""The form of an API key: what was typed, what it means, and what is wrong in which field. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.console.drafts import Draft
from mainstay.kernel.errors import MainstayError

OVERLAPS: Mapping[str, tuple[str, timedelta]] = {
    "day": ("A day", timedelta(hours=24)),
    "hour": ("An hour", timedelta(hours=1)),
    "week": ("A week", timedelta(days=7)),
    "month": ("30 days", timedelta(days=30)),
    "none": ("Not at all: it ends at once", timedelta(0)),
}
"""For how long a key works beside its successor."""
FIELDS = ("name", "workspaceId", "rights", "readOnly", "allowList", "expiresAt", "labels")
_BETWEEN = re.compile(r"[\s,]+")


def blank(workspace_id: str = "") -> Draft:
    """The form before anything was typed."""
    return Draft.of(FIELDS, {"rights": "all", "workspaceId": workspace_id})


def read(form: Mapping[str, str], scopes: Sequence[str], known: Sequence[str]) -> tuple[Draft, dict[str, Any]]:
    """The form as it came, and what it means to `identity.issue_key`; a day is its end, in UTC."""
    draft = Draft.of(FIELDS, form)
    typed = draft.typed
    narrowed = [one for one in known if one in scopes]
    if typed["rights"] == "some" and not narrowed:
        draft.wrong["rights"] = "Choose one or more, or let it do all that its kind may."
    expires_at = None
    if typed["expiresAt"]:
        try:
            day = datetime.strptime(typed["expiresAt"], "%Y-%m-%d").replace(tzinfo=UTC)
            expires_at = day + timedelta(days=1)
        except (ValueError, OverflowError):
            draft.wrong["expiresAt"] = "Must be a day such as 2027-01-31."
    given = {
        "kind": "workspace" if typed["workspaceId"] else "company",
        "name": typed["name"],
        "workspace_id": typed["workspaceId"] or None,
        "read_only": typed["readOnly"] == "1",
        "allow_list": entries_of(typed["allowList"]),
        "expires_at": expires_at,
        "labels": [one.strip() for one in typed["labels"].split(",") if one.strip()],
        "scopes": narrowed if typed["rights"] == "some" else None,
    }
    return draft, given


def take(draft: Draft, refusal: MainstayError) -> bool:
    """Whether what was refused is of fields, and stands there now, with the line of a list that it speaks of."""
    lines = entries_of(draft.typed["allowList"])
    for fault in refusal.faults:
        name, _, inner = fault.pointer.removeprefix("#/").partition("/")
        name = "rights" if name == "scopes" else name
        if name not in draft.typed:
            return False
        words = fault.detail[:1].upper() + fault.detail[1:]
        if name == "allowList" and inner.isdigit() and int(inner) < len(lines):
            words = f"{lines[int(inner)]}: {fault.detail}"
        draft.wrong.setdefault(name, words)
    if refusal.status == 404:
        draft.wrong["workspaceId"] = "Choose one of the workspaces."
    return bool(draft.wrong)


def entries_of(text: str) -> list[str]:
    """Addresses and networks, one a line or with commas between."""
    return [one for one in _BETWEEN.split(text) if one]
