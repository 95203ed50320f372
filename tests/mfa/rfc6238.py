"""Codes as RFC 6238 and RFC 4226 describe them, written from their text alone."""

import base64
import hashlib
import hmac


def code_at(secret: str, step: int) -> str:
    """The six digits of a base32 secret for a step of 30 seconds."""
    digest = hmac.new(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[19] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"
