"""What the routes answer, as the description of the API tells it; answers are written without passing through here."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from mainstay.web import problem

_ALWAYS: Final = {
    401: "The credential is missing, unknown, expired or revoked.",
    403: "The credential is of another kind, may only read, or its role does not suffice.",
}
NO_ENDPOINT: Final[dict[int, str]] = {404: "There is no such webhook."}
NOT_VALID: Final[dict[int, str]] = {400: "The request is not valid; `errors` names every fault."}


def told(model: type[BaseModel], status: int = 200, *more: Mapping[int, str]) -> dict[str, Any]:
    """What a route says about its answers: its model, its status and why it refuses."""
    why: dict[int, str] = {**_ALWAYS}
    for one in more:
        for code, text in one.items():
            why[code] = f"{why[code]} {text}" if code in why else text
    return {
        "status_code": status,
        "response_model": model,
        "response_class": JSONResponse,  # the description shows models of answers of this class only
        "responses": problem.responses(dict(sorted(why.items()))),
    }


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class PageMeta(_Answer):
    """How much was asked for, and the `cursor` of what comes next; null at the end."""

    limit: int
    next_cursor: str | None


class EndpointHealth(_Answer):
    """Whether tries get through; `open` is a webhook to which nothing is sent until `openUntil`."""

    state: Literal["healthy", "failing", "open", "disabled"]
    failures: int
    failing_since: str | None
    open_until: str | None
    disables_at: str | None


class EndpointLine(_Answer):
    """The delivery at the head of an ordered webhook, and how many wait behind it (counted to 10,000)."""

    head_delivery_id: str | None
    blocked_since: str | None
    attempts: int
    next_attempt_at: str | None
    waiting: int


class EndpointShown(_Answer):
    """A webhook; what only webhooks have that are sent to is null in those of the kind pull."""

    id: str
    company_id: str
    workspace_id: str | None
    kind: Literal["push", "pull"]
    url: str | None
    description: str
    events: list[str]
    filter: dict[str, Any] | None
    payload_version: int
    is_active: bool
    disabled_at: str | None
    disabled_reason: str | None
    previous_secret_until: str | None
    created_at: str
    updated_at: str
    retry_profile: Literal["standard", "three_days"] | None
    retries: int | None
    max_attempts: int | None
    signing: Literal["hmac", "ed25519"] | None
    public_key: str | None
    previous_public_key: str | None
    ordering: Literal["none", "fifo"] | None
    rate_limit_per_second: int | None
    concurrency: int | None
    headers: dict[str, str] | None
    trace_context: Literal["propagate", "restart", "off"] | None
    health: EndpointHealth | None
    line: EndpointLine | None


class EndpointIssued(EndpointShown):
    """A webhook with its secret, which is shown this once; null where it signs with a key pair."""

    secret: str | None


class EndpointList(_Answer):
    """One page of webhooks."""

    data: list[EndpointShown]
    meta: PageMeta


class Tries(_Answer):
    """How many tries there were, and how many got through."""

    attempts: int
    delivered: int
    failed: int


class TriesAt(Tries):
    """The tries of one step of a series."""

    bucket: str


class TriesInAll(Tries):
    """All tries of a window; the share goes from 0 to 1 and is null, as are the durations, where there was none."""

    success_share: float | None
    p50_ms: float | None
    p99_ms: float | None


class FiguresShown(_Answer):
    """The tries of a window; `status` counts them by the receiver's answer, 0 for none."""

    window: Literal["hour", "day", "month"]
    step_seconds: int
    series: list[TriesAt]
    totals: TriesInAll
    status: dict[str, int]


class FilterVerdict(_Answer):
    """Whether the message passes the filter."""

    matches: bool


class DeliveryMade(_Answer):
    """The delivery that is on its way."""

    delivery_id: str


class DeliveryRepeated(DeliveryMade):
    """The delivery that is on its way, and the one that it repeats."""

    replay_of: str


class AttemptShown(_Answer):
    """One try, and the first bytes of what came back."""

    number: int
    started_at: str
    duration_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    response_headers: Any
    response_body: str | None
    address: str | None
    worker: str | None


class DeliveryShown(_Answer):
    """A delivery with every try; type and trace are null once the message is no longer kept."""

    id: str
    message_id: str
    event_type: str | None
    trace_id: str | None
    status: Literal["PENDING", "RETRYING", "DELIVERED", "FAILED", "DISCARDED"]
    attempt_count: int
    max_attempts: int
    next_attempt_at: str | None
    delivered_at: str | None
    last_status_code: int | None
    last_error: str | None
    replay_of: str | None
    created_at: str
    updated_at: str
    attempts: list[AttemptShown]


class DeliveryLog(_Answer):
    """One page of deliveries."""

    data: list[DeliveryShown]
    meta: PageMeta


class ReplayCount(_Answer):
    """How many match; at least so many where counting ended early."""

    dry_run: Literal[True]
    matched: int
    is_floor: bool


class ReplayShown(_Answer):
    """A replay; `made` of `matched` are on their way, and `progress` goes from 0 to 1 where the end is known."""

    id: str
    endpoint_id: str
    scope: Literal["deliveries", "messages", "missed"]
    since: str
    until: str | None
    status: list[str] | None
    types: list[str] | None
    state: Literal["running", "done", "cancelled", "failed"]
    matched: int
    is_floor: bool
    made: int
    progress: float | None
    error: str | None
    created_at: str
    created_by: dict[str, Any]
    finished_at: str | None


class ReplayList(_Answer):
    """One page of replays."""

    data: list[ReplayShown]
    meta: PageMeta


class TypePayload(_Answer):
    """Schema and example of a type's `data` in one payload version."""

    version: int
    schema_: Any = None
    example: Any = None

    model_config = ConfigDict(alias_generator=lambda name: to_camel(name.rstrip("_")), extra="forbid")


class TypeShown(_Answer):
    """An event type, the company's or Mainstay's own; `version` counts the changes of its schema."""

    name: str
    source: Literal["company", "mainstay"]
    description: str
    schema_: Any = None
    example: Any = None
    payloads: list[TypePayload]
    version: int
    deprecated_at: str | None
    created_at: str | None
    updated_at: str | None

    model_config = ConfigDict(alias_generator=lambda name: to_camel(name.rstrip("_")), extra="forbid")


class TypeList(_Answer):
    """One page of event types."""

    data: list[TypeShown]
    meta: PageMeta


class PulledMessage(_Answer):
    """A message as it would be sent, and its id."""

    id: str
    type: str
    timestamp: str
    data: Any

    model_config = ConfigDict(extra="allow")


class PulledMeta(_Answer):
    """The reader's place after these messages, and whether there was nothing more just now."""

    next_cursor: str
    done: bool


class PulledMessages(_Answer):
    """The next messages of a webhook that is read from."""

    data: list[PulledMessage]
    meta: PulledMeta
