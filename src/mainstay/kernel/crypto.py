"""Secrets: keys derived from the one master secret, sealed values with rotation, digests of tokens, sealed cursors."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_ID_BYTES = 4


class Unsealable(Exception):
    """The value was sealed under a key that this service does not have, or was changed."""


class Keyring:
    """Keys derived from the master secret; older secrets still open what they sealed."""

    def __init__(self, current: str, previous: Sequence[str] = ()) -> None:
        self._secrets = [current.encode(), *(old.encode() for old in previous)]
        self._boxes = [(self._key_id(s), AESGCM(_derive(s, b"box"))) for s in self._secrets]

    @staticmethod
    def _key_id(secret: bytes) -> bytes:
        return _derive(secret, b"key-id")[:_KEY_ID_BYTES]

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, from the current secret."""
        return _derive(self._secrets[0], purpose.encode())

    def derive_all(self, purpose: str) -> list[bytes]:
        """The key for one purpose under every known secret, current first."""
        return [_derive(s, purpose.encode()) for s in self._secrets]

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypted and authenticated bytes that only open under the same context (such as the row's id)."""
        key_id, box = self._boxes[0]
        nonce = os.urandom(_NONCE_BYTES)
        return key_id + nonce + box.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed, or Unsealable."""
        for key_id, box in self._boxes:
            if sealed[:_KEY_ID_BYTES] == key_id:
                nonce = sealed[_KEY_ID_BYTES : _KEY_ID_BYTES + _NONCE_BYTES]
                try:
                    return box.decrypt(nonce, sealed[_KEY_ID_BYTES + _NONCE_BYTES :], context)
                except InvalidTag as error:
                    raise Unsealable("the sealed value was changed") from error
        raise Unsealable("sealed under a secret that is neither MAINSTAY_SECRET nor in MAINSTAY_SECRET_PREVIOUS")

    def is_current(self, sealed: bytes) -> bool:
        """Whether the value is sealed under the current secret (if not, it is due for re-sealing)."""
        return sealed[:_KEY_ID_BYTES] == self._boxes[0][0]


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"mainstay/1/" + purpose, "sha256")


def digest_of(token: str) -> bytes:
    """SHA-256 of a high-entropy token: what is stored in its place."""
    return hashlib.sha256(token.encode()).digest()


def new_token(prefix: str, nbytes: int = 32) -> str:
    """A fresh random token with a prefix that people and secret scanners recognise."""
    return prefix + secrets.token_urlsafe(nbytes)


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def b64url(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """The bytes of URL-safe base64 without padding; ValueError where it is not."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
