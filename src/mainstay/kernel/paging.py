"""Cursors that clients carry and cannot forge, and the limits of a page."""

import hmac

import msgspec

from mainstay.kernel.crypto import Keyring, b64url, unb64url
from mainstay.kernel.errors import Fault, Invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000
_TAG_BYTES = 12


class Cursors:
    """Seals positions of a list for one owner, so that a cursor of another list or tenant is refused."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.derive_all("cursors")

    def seal(self, scope: str, position: list[object]) -> str:
        """An opaque, authenticated cursor for a position within a scope (list name and tenant id)."""
        body = msgspec.json.encode(position)
        return b64url(self._tag(self._keys[0], scope, body) + body)

    def open(self, scope: str, cursor: str) -> list[object]:
        """The position inside a cursor; Invalid where it is not one of ours for this scope."""
        try:
            raw = unb64url(cursor)
            tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
            if any(hmac.compare_digest(tag, self._tag(key, scope, body)) for key in self._keys):
                return list(msgspec.json.decode(body, type=list))
        except (ValueError, msgspec.DecodeError):
            pass
        raise Invalid(
            "The cursor is not one that this list gave.", faults=[Fault("not a cursor of this list", "cursor")]
        )

    @staticmethod
    def _tag(key: bytes, scope: str, body: bytes) -> bytes:
        return hmac.digest(key, scope.encode() + b"\0" + body, "sha256")[:_TAG_BYTES]


def check_limit(limit: int, *, most: int = MAX_LIMIT) -> int:
    """The limit itself where it lies in 1..most; Invalid otherwise."""
    if not 1 <= limit <= most:
        raise Invalid(faults=[Fault(f"must be from 1 to {most}", "limit")])
    return limit
