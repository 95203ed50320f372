"""What the routes take and give, and the checks that a type alone cannot make."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from mainstay.kernel.addresses import AllowList, RefusedAddress, check_url
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.kernel.errors import Fault, Invalid
from mainstay.webhooks import filters, headers
from mainstay.webhooks.ladder import PROFILES, Profile
from mainstay.webhooks.standing import DISABLE_AFTER
from mainstay.webhooks.versions import VERSIONS

EVENTS_AT_MOST: Final = 100
PATTERN_CHARACTERS: Final = 128
DESCRIPTION_CHARACTERS: Final = 512
OVERLAP_SECONDS_AT_MOST: Final = 604_800
DEFAULT_OVERLAP_SECONDS: Final = 86_400
RATE_AT_MOST: Final = 10_000
CONCURRENCY_AT_MOST: Final = 10
TYPE_DESCRIPTION_CHARACTERS: Final = 2_048
MASK: Final = "••••"

_PATTERN: Final = re.compile(r"\*|[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*(\.\*)?")
_NAME: Final = re.compile(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*")
_SENSITIVE: Final = re.compile(r"auth|cookie|key|token|secret|pass|pwd|signature|credential|session|jwt", re.IGNORECASE)
_PUSH_ONLY: Final = {
    "url": "url",
    "retries": "retries",
    "retry_profile": "retryProfile",
    "signing": "signing",
    "ordering": "ordering",
    "rate_limit_per_second": "rateLimitPerSecond",
    "concurrency": "concurrency",
    "headers": "headers",
    "trace_context": "traceContext",
}
_NOT_OF_PULL: Final = (
    "retryProfile", "retries", "maxAttempts", "signing", "publicKey", "previousPublicKey", "ordering",
    "rateLimitPerSecond", "concurrency", "headers", "traceContext", "health", "line",
)  # fmt: skip

Kind = Literal["push", "pull"]
Signing = Literal["hmac", "ed25519"]
Ordering = Literal["none", "fifo"]
TraceContext = Literal["propagate", "restart", "off"]
Retries = Annotated[int, msgspec.Meta(ge=0, le=max(map(len, PROFILES.values())))]
Description = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_CHARACTERS)]
Rate = Annotated[int, msgspec.Meta(ge=1, le=RATE_AT_MOST)]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=CONCURRENCY_AT_MOST)]
Filter = dict[str, Any]


class _Settings(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may be given when a webhook is made and when it is changed."""

    retries: Retries | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    workspace_id: str | UnsetType | None = UNSET
    kind: Kind | UnsetType = UNSET
    retry_profile: Profile | UnsetType = UNSET
    signing: Signing | UnsetType = UNSET
    ordering: Ordering | UnsetType = UNSET
    rate_limit_per_second: Rate | UnsetType | None = UNSET
    concurrency: Concurrency | UnsetType | None = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    trace_context: TraceContext | UnsetType = UNSET
    payload_version: Annotated[int, msgspec.Meta(ge=1, le=max(VERSIONS))] | UnsetType = UNSET
    filter: Filter | UnsetType | None = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, by their names here."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class NewEndpoint(_Settings, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A webhook to be made; a pull endpoint has no `url`. `retries` counts the tries after the first."""

    events: list[str]
    url: str | UnsetType = UNSET


class EndpointChange(_Settings, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields to change; the others stay."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET


class Rotation(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How long the old secret signs beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_SECONDS_AT_MOST)] = DEFAULT_OVERLAP_SECONDS


class SampleWanted(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which type of the catalogue to send the example of."""

    type: str | None = None


class FilterTrial(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A filter, and the message to try it on."""

    filter: Filter
    example: dict[str, Any]


class NewReplay(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to send again: deliveries as they stand, or messages, or the messages that were never tried."""

    scope: Literal["deliveries", "messages", "missed"]
    since: str
    until: str | None = None
    status: list[Literal["FAILED", "DISCARDED", "DELIVERED"]] | None = None
    types: list[str] | None = None
    dry_run: bool = False


class TypeWanted(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An event type as its company describes it."""

    description: Annotated[str, msgspec.Meta(max_length=TYPE_DESCRIPTION_CHARACTERS)] = ""
    schema: dict[str, Any] | bool | None = None
    example: Any = None


def check(values: Mapping[str, Any], *, kind: Kind, profile: Profile, brand: str, allow: AllowList) -> None:
    """Passes given values that an endpoint of that kind and profile may have; Invalid names every one it may not."""
    if kind == "pull":
        faults = [
            Fault("a pull endpoint is not sent to: leave this out", f"#/{public}")
            for name, public in _PUSH_ONLY.items()
            if name in values
        ]
    else:
        faults = [*_url_faults(values.get("url"), allow), *_retry_faults(values.get("retries"), profile)]
        faults += [Fault(reason, at) for at, reason in headers.faults(values.get("headers") or {}, brand)]
    faults += [*event_faults(values.get("events")), *text_faults(values.get("description"), "#/description")]
    if values.get("filter") is not None:
        faults += filters.faults_of(values["filter"])
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


def _retry_faults(retries: int | None, profile: Profile) -> list[Fault]:
    most = len(PROFILES[profile])
    return [Fault(f"must be from 0 to {most} with the retry profile {profile}", "#/retries")] * ((retries or 0) > most)


def event_faults(events: Sequence[str] | None, under: str = "#/events") -> list[Fault]:
    """What is wrong with patterns of event types."""
    if events is None:
        return []
    if not 1 <= len(events) <= EVENTS_AT_MOST:
        return [Fault(f"must have from 1 to {EVENTS_AT_MOST} patterns", under)]
    return [
        Fault(
            f"must be '*', an event type of at most {PATTERN_CHARACTERS} letters, digits, '_', ':' and '-' "
            "in parts joined by dots, or such a prefix with '.*'",
            f"{under}/{index}",
        )
        for index, pattern in enumerate(events)
        if len(pattern) > PATTERN_CHARACTERS or not _PATTERN.fullmatch(pattern)
    ]


def is_type_name(text: str) -> bool:
    """Whether the text is the exact name of an event type."""
    return len(text) <= PATTERN_CHARACTERS and _NAME.fullmatch(text) is not None


def text_faults(text: str | None, under: str) -> list[Fault]:
    """What is wrong with a text that is stored as it is."""
    return [Fault("must not hold the character NUL", under)] if "\0" in (text or "") else []


def no_such_workspace() -> Fault:
    """What is wrong with a workspace id of somebody else or of nobody."""
    return Fault("the company has no such workspace", "#/workspaceId")


def shown_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Headers as their owner reads them: the values of those whose names speak of secrets end in four characters."""
    return {name: _masked(value) if _SENSITIVE.search(name) else value for name, value in given.items()}


def _masked(value: str) -> str:
    return f"{MASK} {value[-4:]}" if len(value) >= 12 else MASK


def unmasked(given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Headers as given, where a value that was sent back as it was shown stands for the one that is known."""
    shown = shown_headers(known)
    return {name: known[name] if name in known and value == shown[name] else value for name, value in given.items()}


def show_endpoint(
    row: Record, *, given_headers: Mapping[str, str], public_keys: Sequence[str], standing: Record | None
) -> dict[str, Any]:
    """A webhook as its owner reads it; the secret is never part of it."""
    pushes = row["kind"] == "push"
    shown = {
        "id": str(row["id"]),
        "companyId": str(row["company_id"]),
        "workspaceId": row["workspace_id"] and str(row["workspace_id"]),
        "kind": row["kind"],
        "url": row["url"],
        "description": row["description"],
        "events": row["events"],
        "filter": row["filter"] and orjson.loads(row["filter"]),
        "payloadVersion": row["payload_version"],
        "isActive": row["is_active"],
        "disabledAt": time_text(row["disabled_at"]),
        "disabledReason": row["disabled_reason"],
        "previousSecretUntil": time_text(row["previous_secret_until"]),
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "retryProfile": row["retry_profile"],
        "retries": row["retries"],
        "maxAttempts": row["retries"] + 1,
        "signing": row["signing"],
        "publicKey": public_keys[0] if public_keys else None,
        "previousPublicKey": public_keys[1] if len(public_keys) > 1 else None,
        "ordering": "fifo" if row["is_fifo"] else "none",
        "rateLimitPerSecond": row["rate_limit_per_second"],
        "concurrency": row["concurrency"],
        "headers": shown_headers(given_headers),
        "traceContext": row["trace_context"],
        "health": _show_health(row, standing),
        "line": _show_line(standing) if row["is_fifo"] else None,
    }
    return shown if pushes else {**shown, **dict.fromkeys(_NOT_OF_PULL)}


def _show_health(row: Record, standing: Record | None) -> dict[str, Any]:
    failing = standing is not None and standing["failures"]
    if not row["is_active"]:
        state = "disabled"
    elif standing is None or not failing:
        state = "healthy"
    else:
        state = "open" if standing["is_open"] else "failing"
    known = standing if failing else None
    return {
        "state": state,
        "failures": known["failures"] if known else 0,
        "failingSince": time_text(known["failing_since"]) if known else None,
        "openUntil": time_text(known["open_until"]) if known and state == "open" else None,
        "disablesAt": time_text(known["failing_since"] + DISABLE_AFTER) if known and row["is_active"] else None,
    }


def _show_line(standing: Record | None) -> dict[str, Any]:
    head = standing if standing is not None and standing["head_id"] is not None else None
    return {
        "headDeliveryId": str(head["head_id"]) if head else None,
        "blockedSince": time_text(head["blocked_since"]) if head else None,
        "attempts": head["head_attempts"] if head else 0,
        "nextAttemptAt": time_text(head["head_next_attempt_at"]) if head else None,
        "waiting": head["waiting"] if head else 0,
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
        "nextAttemptAt": time_text(row["next_attempt_at"]),
        "deliveredAt": time_text(row["delivered_at"]),
        "lastStatusCode": row["last_status_code"],
        "lastError": row["last_error"],
        "replayOf": row["replay_of"] and str(row["replay_of"]),
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "attempts": [_show_attempt(attempt) for attempt in attempts],
    }


def _show_attempt(row: Record) -> dict[str, Any]:
    return {
        "number": row["number"],
        "startedAt": time_text(row["started_at"]),
        "durationMs": row["duration_ms"],
        "outcome": row["outcome"],
        "statusCode": row["status_code"],
        "error": row["error"],
        "responseHeaders": msgspec.json.decode(row["response_headers"]),
        "responseBody": row["response_body"],
        "address": row["address"],
        "worker": row["worker"],
    }


def time_text(moment: Any) -> str | None:
    """A time as answers write it."""
    return None if moment is None else iso(moment)
