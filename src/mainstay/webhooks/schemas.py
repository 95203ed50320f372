"""What the routes take and give, and the checks that a type alone cannot make."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kernel.addresses import AllowList, RefusedAddress, check_url
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.kernel.errors import Fault, Invalid
from mainstay.webhooks.ladder import DEFAULT_RETRIES, RETRIES_AT_MOST

EVENTS_AT_MOST: Final = 100
PATTERN_CHARACTERS: Final = 128
DESCRIPTION_CHARACTERS: Final = 512
OVERLAP_SECONDS_AT_MOST: Final = 604_800
DEFAULT_OVERLAP_SECONDS: Final = 86_400

_PATTERN: Final = re.compile(r"\*|[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*(\.\*)?")

Retries = Annotated[int, msgspec.Meta(ge=0, le=RETRIES_AT_MOST)]
Description = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_CHARACTERS)]


class NewEndpoint(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A webhook to be made. `retries` counts the tries after the first; without `workspaceId` it hears the company."""

    url: str
    events: list[str]
    retries: Retries = DEFAULT_RETRIES
    is_active: bool = True
    workspace_id: str | None = None
    description: Description = ""


class EndpointChange(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields to change; the others stay."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET
    retries: Retries | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    workspace_id: str | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, by their names here."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class Rotation(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How long the old secret signs beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_SECONDS_AT_MOST)] = DEFAULT_OVERLAP_SECONDS


def check(values: Mapping[str, Any], allow: AllowList) -> None:
    """Passes values that an endpoint may have; Invalid names every one that it may not."""
    faults = [
        *_url_faults(values.get("url"), allow),
        *_event_faults(values.get("events")),
        *_text_faults(values.get("description")),
    ]
    if faults:
        raise Invalid(faults=faults)


def _url_faults(url: str | None, allow: AllowList) -> list[Fault]:
    if url is None:
        return []
    try:
        check_url(url, allow)
    except RefusedAddress as refusal:
        return [Fault(refusal.reason, "#/url")]
    return []


def _event_faults(events: Sequence[str] | None) -> list[Fault]:
    if events is None:
        return []
    if not 1 <= len(events) <= EVENTS_AT_MOST:
        return [Fault(f"must have from 1 to {EVENTS_AT_MOST} patterns", "#/events")]
    return [
        Fault(
            f"must be '*', an event type of at most {PATTERN_CHARACTERS} letters, digits, '_', ':' and '-' "
            "in parts joined by dots, or such a prefix with '.*'",
            f"#/events/{index}",
        )
        for index, pattern in enumerate(events)
        if len(pattern) > PATTERN_CHARACTERS or not _PATTERN.fullmatch(pattern)
    ]


def _text_faults(description: str | None) -> list[Fault]:
    return [Fault("must not hold the character NUL", "#/description")] if "\0" in (description or "") else []


def no_such_workspace() -> Fault:
    """What is wrong with a workspace id of somebody else or of nobody."""
    return Fault("the company has no such workspace", "#/workspaceId")


def show_endpoint(row: Record) -> dict[str, Any]:
    """A webhook as its owner reads it; the secret is never part of it."""
    return {
        "id": str(row["id"]),
        "companyId": str(row["company_id"]),
        "workspaceId": row["workspace_id"] and str(row["workspace_id"]),
        "url": row["url"],
        "description": row["description"],
        "events": row["events"],
        "retries": row["retries"],
        "maxAttempts": row["retries"] + 1,
        "isActive": row["is_active"],
        "disabledAt": _time(row["disabled_at"]),
        "disabledReason": row["disabled_reason"],
        "previousSecretUntil": _time(row["previous_secret_until"]),
        "createdAt": _time(row["created_at"]),
        "updatedAt": _time(row["updated_at"]),
    }


def show_delivery(row: Record, attempts: Sequence[Record]) -> dict[str, Any]:
    """A delivery of the log with every try at it; type and trace are null once the message is no longer kept."""
    return {
        "id": str(row["id"]),
        "messageId": str(row["message_id"]),
        "eventType": row["type"],
        "traceId": row["trace_id"],
        "status": row["status"],
        "attemptCount": row["attempts"],
        "maxAttempts": row["max_attempts"],
        "nextAttemptAt": _time(row["next_attempt_at"]),
        "deliveredAt": _time(row["delivered_at"]),
        "lastStatusCode": row["last_status_code"],
        "lastError": row["last_error"],
        "replayOf": row["replay_of"] and str(row["replay_of"]),
        "createdAt": _time(row["created_at"]),
        "updatedAt": _time(row["updated_at"]),
        "attempts": [_show_attempt(attempt) for attempt in attempts],
    }


def _show_attempt(row: Record) -> dict[str, Any]:
    return {
        "number": row["number"],
        "startedAt": _time(row["started_at"]),
        "durationMs": row["duration_ms"],
        "outcome": row["outcome"],
        "statusCode": row["status_code"],
        "error": row["error"],
        "responseHeaders": msgspec.json.decode(row["response_headers"]),
        "responseBody": row["response_body"],
        "address": row["address"],
        "worker": row["worker"],
    }


def _time(moment: Any) -> str | None:
    return None if moment is None else iso(moment)
