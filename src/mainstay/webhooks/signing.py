"""Signatures of webhooks: the documented one, the Standard Webhooks ones, and the check that a receiver makes."""

import base64
import binascii
import hmac
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a public prefix
SECRET_BYTES: Final = 32
TOLERANCE_SECONDS: Final = 300
REMEMBERED_KEYS: Final = 4_096

_MISPASTED: Final = ("v1,whsec_", "v1a,whsec_")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_BRAND: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class BadSignature(Exception):
    """The message was not signed with this secret, or not lately."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def new_secret() -> str:
    """A fresh endpoint secret: `whsec_` and the base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(randomness.token_bytes(SECRET_BYTES)).decode()


def sign(secrets: Sequence[str], message_id: str, timestamp_seconds: int, body: bytes) -> str:
    """The value of `webhook-signature`: a `v1` token for each secret, in their order (Standard Webhooks 1.0.0)."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_seconds, body)
    return " ".join(
        ["v1," + binascii.b2a_base64(hmac.digest(_key(secret), signed, "sha256"), newline=False).decode()
         for secret in secrets]
    )  # fmt: skip


def documented_signature(secret: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC of the body, keyed with the secret's text as its owner received it."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def headers_for(
    *,
    brand: str,
    webhook_id: str,
    message_id: str,
    event_type: str,
    trace_id: str,
    span_id: str,
    timestamp_seconds: int,
    secrets: Sequence[str],
    body: bytes,
) -> dict[str, str]:
    """Every header of one attempt; `secrets[0]` keys the documented signature, which has room for one key."""
    values = (webhook_id, message_id, event_type, trace_id, span_id)
    if not "".join(values).isprintable():
        raise ValueError(f"a header must not hold control characters: {values!r}")
    if "." in message_id:
        raise ValueError("a message id must not hold a dot, which separates the signed parts")
    signature, event, webhook, agent = _branded(brand)
    return {
        "Content-Type": "application/json",
        "User-Agent": agent,
        signature: documented_signature(secrets[0], body),
        event: event_type,
        webhook: webhook_id,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": sign(secrets, message_id, timestamp_seconds, body),
        "X-Trace-Id": trace_id,
        "traceparent": f"00-{trace_id}-{span_id}-01",
    }


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> None:
    """Nothing when one token matches one secret and the time is within the tolerance; else BadSignature says why.

    Pass the body's raw bytes. Tokens of other versions and tokens that do not parse are skipped.
    """
    keys = [_key_or_refusal(secret) for secret in secrets]
    if not keys:
        raise BadSignature("no secret to verify with")
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not given.get(name)]
    if missing:
        raise BadSignature(f"missing header: {', '.join(missing)}")
    message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
    if not _TIMESTAMP.fullmatch(timestamp):
        raise BadSignature("webhook-timestamp is not a whole number of seconds")
    age_seconds = now_seconds - int(timestamp)
    if abs(age_seconds) > tolerance_seconds:
        direction = "old" if age_seconds > 0 else "far in the future"
        raise BadSignature(
            f"the message is too {direction}: its time differs by {abs(age_seconds):.0f} s; check the clock"
        )
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    expected = [hmac.digest(key, signed, "sha256") for key in keys]
    matched = False
    for token in given["webhook-signature"].split():
        found = _signature_in(token)
        if found is not None:
            for digest in expected:
                matched |= hmac.compare_digest(digest, found)
    if not matched:
        raise BadSignature("no signature matches: another secret, or the body's bytes were changed on the way")


def _signature_in(token: str) -> bytes | None:
    version, comma, encoded = token.partition(",")
    if version != "v1" or not comma:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return None


def _key_or_refusal(secret: str) -> bytes:
    try:
        return _key(secret)
    except ValueError as problem:
        raise BadSignature(str(problem)) from None


@lru_cache(maxsize=REMEMBERED_KEYS)
def _key(secret: str) -> bytes:
    """The bytes that the Standard Webhooks specification derives from a secret's text."""
    if secret.startswith(_MISPASTED):
        raise ValueError("the secret was pasted with 'v1,' before it; it begins with whsec_")
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("the secret does not begin with whsec_")
    encoded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("the secret is not base64 after whsec_; was it cut short?")
    return key


@lru_cache(maxsize=16)
def _branded(brand: str) -> tuple[str, str, str, str]:
    if not _BRAND.fullmatch(brand):
        raise ValueError(f"BRAND must be letters, digits and inner hyphens, as it names headers: {brand!r}")
    return f"X-{brand}-Signature", f"X-{brand}-Event", f"X-{brand}-Webhook-Id", f"{brand}-Webhooks/1.0"
