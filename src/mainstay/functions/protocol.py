"""Inngest's wire: signatures over canonical bodies, hashed signing keys, durations. Source: the SDKs' specification."""

import hashlib
import hmac
import re
import time
from datetime import timedelta

import orjson
import rfc8785

SIGNATURE = "x-inngest-signature"
MOST_AGE_SECONDS = 300
_PREFIX = re.compile(r"^signkey-\w+-")
_DURATION = re.compile(r"(\d+)(ms|w|d|h|m|s)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def sign(key: str, body: bytes, *, at: int | None = None, is_canonical: bool = False) -> str:
    """The signature of a body (its RFC 8785 form, which answers are not brought into) at a Unix time: `t=…&s=…`."""
    moment = int(time.time()) if at is None else at
    signed = body if is_canonical else _canonical(body)
    mac = hmac.new(_PREFIX.sub("", key).encode(), signed + str(moment).encode(), hashlib.sha256)
    return f"t={moment}&s={mac.hexdigest()}"


def is_signed(key: str | None, body: bytes, signature: str, *, is_canonical: bool = False) -> bool:
    """Whether the signature is that of the body under the key, and at most 5 minutes old."""
    parts = dict(part.partition("=")[::2] for part in signature.split("&"))
    moment = parts.get("t", "")
    if key is None or not (moment.isascii() and moment.isdigit() and len(moment) <= 12):
        return False
    if abs(time.time() - int(moment)) > MOST_AGE_SECONDS:
        return False
    try:
        right = sign(key, body, at=int(moment), is_canonical=is_canonical)
    except ValueError:
        return False
    return hmac.compare_digest(right.encode(), f"t={moment}&s={parts.get('s', '')}".encode())


def hashed_key(key: str) -> str:
    """The signing key as SDKs send it: SHA-256 of its bytes, in hex."""
    try:
        raw = bytes.fromhex(_PREFIX.sub("", key))
    except ValueError:
        raw = _PREFIX.sub("", key).encode()
    return hashlib.sha256(raw).hexdigest()


def duration_of(text: str) -> timedelta:
    """The time that `1h30m` or `7d` says; ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text or len(text) > 50:
        raise ValueError(f"{text!r} is no duration such as 30s, 1h30m or 7d")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta(0))
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than any time") from error


def _canonical(body: bytes) -> bytes:
    return rfc8785.dumps(orjson.loads(body)) if body else body
