"""Signatures of webhooks: the documented one, the Standard Webhooks ones, and the check that a receiver makes."""

import base64
import binascii
import hmac
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a public prefix
PUBLIC_PREFIX: Final = "whpk_"
SECRET_BYTES: Final = 32
TOLERANCE_SECONDS: Final = 300
REMEMBERED_KEYS: Final = 4_096

Scheme = Literal["hmac", "ed25519"]
"""Who can check: whoever shares the secret (`v1` tokens), or anybody who has the public key (`v1a` tokens)."""

_SEED_OF: Final = b"mainstay ed25519 v1"
_MISPASTED: Final = ("v1,whsec_", "v1a,whsec_", "v1a,whpk_", "v1,whpk_")
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


def public_key(secret: str) -> str:
    """The key by which anybody checks the `v1a` tokens of an endpoint with this secret: `whpk_` and base64."""
    return PUBLIC_PREFIX + base64.b64encode(_private_key(secret).public_key().public_bytes_raw()).decode()


def sign(
    secrets: Sequence[str], message_id: str, timestamp_seconds: int, body: bytes, *, scheme: Scheme = "hmac"
) -> str:
    """The value of `webhook-signature`: a token for each secret, in their order (Standard Webhooks 1.0.0)."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_seconds, body)
    if scheme == "ed25519":
        return " ".join("v1a," + _base64(_private_key(secret).sign(signed)) for secret in secrets)
    return " ".join(["v1," + _base64(hmac.digest(_key(secret), signed, "sha256")) for secret in secrets])


def documented_signature(secret: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC of the body, keyed with the secret's text as its owner received it."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def headers_for(
    *,
    brand: str,
    webhook_id: str,
    message_id: str,
    event_type: str,
    trace_id: str | None,
    span_id: str,
    timestamp_seconds: int,
    secrets: Sequence[str],
    body: bytes,
    scheme: Scheme = "hmac",
) -> dict[str, str]:
    """Every header of one attempt; `secrets[0]` keys the documented signature, which has room for one key.

    That one is an HMAC and stays out where the scheme is ed25519; without a trace id both trace headers stay out.
    """
    values = (webhook_id, message_id, event_type, trace_id or "", span_id)
    if not "".join(values).isprintable():
        raise ValueError(f"a header must not hold control characters: {values!r}")
    if "." in message_id:
        raise ValueError("a message id must not hold a dot, which separates the signed parts")
    signature, event, webhook, agent = _branded(brand)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": agent,
        event: event_type,
        webhook: webhook_id,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": sign(secrets, message_id, timestamp_seconds, body, scheme=scheme),
    }
    if scheme == "hmac":
        headers[signature] = documented_signature(secrets[0], body)
    if trace_id is not None:
        headers["X-Trace-Id"] = trace_id
        headers["traceparent"] = f"00-{trace_id}-{span_id}-01"
    return headers


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> None:
    """Nothing when one token matches one secret and the time is within the tolerance; else BadSignature says why.

    Pass the body's raw bytes. A secret (`whsec_`) checks `v1` tokens, a public key (`whpk_`) checks `v1a` tokens.
    Tokens of other versions and tokens that do not parse are skipped.
    """
    checks = [_check_or_refusal(secret) for secret in secrets]
    if not checks:
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
    matched = False
    for token in given["webhook-signature"].split():
        version, _, encoded = token.partition(",")
        found = _bytes_of(encoded)
        for wanted, key in checks:
            if wanted == version and found is not None:
                matched |= _is_signed(key, signed, found)
    if not matched:
        raise BadSignature("no signature matches: another secret, or the body's bytes were changed on the way")


def _is_signed(key: bytes | Ed25519PublicKey, signed: bytes, found: bytes) -> bool:
    if isinstance(key, bytes):
        return hmac.compare_digest(hmac.digest(key, signed, "sha256"), found)
    try:
        key.verify(found, signed)
    except InvalidSignature:
        return False
    return True


def _bytes_of(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return None


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode()


def _check_or_refusal(secret: str) -> tuple[str, bytes | Ed25519PublicKey]:
    """The version of the tokens that this key checks, and the key."""
    try:
        return ("v1a", _public_key(secret)) if secret.startswith(PUBLIC_PREFIX) else ("v1", _key(secret))
    except ValueError as problem:
        raise BadSignature(str(problem)) from None


@lru_cache(maxsize=REMEMBERED_KEYS)
def _private_key(secret: str) -> Ed25519PrivateKey:
    """The key pair that belongs to a secret, which is never shown where this one signs."""
    return Ed25519PrivateKey.from_private_bytes(hmac.digest(secret.encode(), _SEED_OF, "sha256"))


@lru_cache(maxsize=REMEMBERED_KEYS)
def _public_key(text: str) -> Ed25519PublicKey:
    key = _bytes_of(text.removeprefix(PUBLIC_PREFIX)) or b""
    if len(key) != 32:
        raise ValueError("the public key is not base64 of 32 bytes after whpk_; was it cut short?")
    return Ed25519PublicKey.from_public_bytes(key)


@lru_cache(maxsize=REMEMBERED_KEYS)
def _key(secret: str) -> bytes:
    """The bytes that the Standard Webhooks specification derives from a secret's text."""
    if secret.startswith(_MISPASTED):
        raise ValueError("the key was pasted with 'v1,' or 'v1a,' before it; it begins with whsec_ or whpk_")
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
