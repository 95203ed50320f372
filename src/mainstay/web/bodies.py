"""Request bodies within stated limits, and answers as plain ASGI messages."""

from mainstay.kernel.errors import Fault, Invalid, TooLarge
from mainstay.web.asgi import Headers, Receive, Scope, Send

MAX_BODY_BYTES = 1_048_576
"""The most that one request body may hold, unless its route states another limit."""


class ClientGone(Exception):
    """The caller hung up before its request was whole; there is nobody to answer."""


async def read(scope: Scope, receive: Receive, *, most: int = MAX_BODY_BYTES) -> bytes:
    """The whole body; TooLarge past `most` bytes (refused on its declared length before any of it is read)."""
    declared = header(scope["headers"], b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > most:
        raise TooLarge(f"The body may have at most {most} bytes.")
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                break
        body = b"".join(parts)
    if len(body) > most:
        raise TooLarge(f"The body may have at most {most} bytes.")
    return body


def require_json(headers: Headers) -> None:
    """Passes a request whose content type is JSON or absent."""
    kind = header(headers, b"content-type")
    if kind is None or kind == b"application/json":
        return
    essence = kind.split(b";", 1)[0].strip().lower()
    if essence != b"application/json" and not (essence.startswith(b"application/") and essence.endswith(b"+json")):
        raise Invalid(
            "The body must be JSON: send Content-Type: application/json.", faults=[Fault("not JSON", "content-type")]
        )


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that lower-case name."""
    for key, value in headers:
        if key == name:
            return value
    return None


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """One whole answer."""
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
