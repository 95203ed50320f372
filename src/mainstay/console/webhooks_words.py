"""How webhooks read on a page: their state in a word, their times as moments, and what was sent. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from starlette.datastructures import URL

SWITCHED_OFF = "switched off"
_UNTOUCHED = frozenset({"responseHeaders", "headers", "filter", "schema", "example", "payload", "payloads"})
_ENDS = ("At", "Since", "Until")


class State(NamedTuple):
    """A state: the chip that shows it, and its word."""

    chip: str
    word: str


def state_of(endpoint: Mapping[str, Any]) -> State:
    """How the webhook stands, the worst that is true of it first."""
    if not endpoint["isActive"]:
        return (
            State("paused", "paused") if endpoint["disabledReason"] == SWITCHED_OFF else State("disabled", "disabled")
        )
    health, line = endpoint["health"], endpoint["line"]
    if health is None:
        return State("ok", "ready")
    if health["state"] == "open":
        return State("open", "breaker open")
    if line is not None and line["attempts"]:
        return State("blocked", "blocked")
    return State("failing", "failing") if health["state"] == "failing" else State("ok", "healthy")


def moments(value: Any) -> Any:
    """The same with every time as a moment; what receivers and owners wrote themselves stays as it is."""
    if isinstance(value, list):
        return [moments(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {name: _moment(name, one) for name, one in value.items()}


def _moment(name: str, value: Any) -> Any:
    if name in _UNTOUCHED:
        return value
    if isinstance(value, str) and (name.endswith(_ENDS) or name in ("since", "until", "bucket")):
        return datetime.fromisoformat(value)
    return moments(value)


def name_of(endpoint: Mapping[str, Any]) -> str:
    """What people call the webhook: its address, or what it is where it has none."""
    return str(endpoint["url"] or endpoint["description"] or f"Pull …{endpoint['id'][-8:]}")


def confirmation_of(endpoint: Mapping[str, Any]) -> str:
    """What must be typed before the webhook is deleted: the host of its address, or the end of its id."""
    host = URL(endpoint["url"]).hostname if endpoint["url"] else None
    return host or str(endpoint["id"])[-8:]


def percent(share: float | None) -> str:
    """A share in hundredths; never 100 % while something failed."""
    if share is None:
        return "–"  # noqa: RUF001 - a dash for a missing number
    return f"{int(share * 1_000) / 10:g} %"


def sent_headers(endpoint: Mapping[str, Any], delivery: Mapping[str, Any], brand: str) -> list[tuple[str, str]]:
    """The headers of each try at the delivery; what is computed anew for each try is named in angle brackets."""
    is_hmac = endpoint["signing"] == "hmac"
    sent = [
        ("Content-Type", "application/json"),
        ("User-Agent", f"{brand}-Webhooks/1.0"),
        (f"X-{brand}-Event", str(delivery["eventType"])),
        (f"X-{brand}-Webhook-Id", str(endpoint["id"])),
        ("webhook-id", str(delivery["messageId"])),
        ("webhook-timestamp", "<seconds since 1970, at the try>"),
        ("webhook-signature", "v1,<base64>" if is_hmac else "v1a,<base64>"),
    ]
    if is_hmac:
        sent.append((f"X-{brand}-Signature", "sha256=<hex>"))
    if endpoint["traceContext"] == "propagate":
        sent.append(("traceparent", f"00-{delivery['traceId']}-<span>-01"))
    elif endpoint["traceContext"] == "restart":
        sent.append(("traceparent", "00-<a trace of its own>-<span>-01"))
    return sent + list((endpoint["headers"] or {}).items())
