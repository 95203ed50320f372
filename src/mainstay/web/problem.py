"""Errors as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from typing import Any

import orjson

from mainstay.kernel.errors import MainstayError

TYPE_PREFIX = "urn:mainstay:problem:"
_CONTENT = {"application/problem+json": {"schema": {"type": "object"}}}


def responses(why: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """What the description of a route says of its refusals: by status, why it refuses."""
    return {status: {"description": text, "content": _CONTENT} for status, text in why.items()}


def render(error: MainstayError, *, request_id: str, instance: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer that tells of this error."""
    body: dict[str, object] = {
        "type": TYPE_PREFIX + error.code,
        "code": error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "requestId": request_id,
        **error.extra,
    }
    if error.faults:
        body["errors"] = [{"detail": fault.detail, "pointer": fault.pointer} for fault in error.faults]
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return error.status, headers, orjson.dumps(body)
