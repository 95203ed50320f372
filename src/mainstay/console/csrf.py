"""Proof that a request which changes something comes from our own page: a token bound to the session. Pure."""

import hmac
from collections.abc import Mapping

from mainstay.kernel.crypto import Keyring, b64url, same

HEADER = "x-csrf-token"
FIELD = "csrf"
_PURPOSE = "console csrf"
_FROM_US = frozenset({"same-origin", "none"})


def of_session(session_id: str) -> str:
    """What the token of a session is bound to."""
    return f"session {session_id}"


def of_start(cookie: str) -> str:
    """What the token of a sign-in page is bound to: never to a session, whatever a browser puts into its cookie."""
    return f"start {cookie}"


def token_of(keyring: Keyring, bound_to: str) -> str:
    """The token that is bound to a session or to a sign-in page."""
    return _token(keyring.derive(_PURPOSE), bound_to)


def is_token_of(keyring: Keyring, bound_to: str, token: str) -> bool:
    """Whether the token is of that session, under this master secret or an older one."""
    return any(same(_token(key, bound_to), token) for key in keyring.derive_all(_PURPOSE))


def is_from_us(headers: Mapping[str, str], base_url: str) -> bool:
    """Whether the browser says that one of our pages sent the request; true where it does not say."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _FROM_US
    origin = headers.get("origin")
    return origin is None or origin == base_url or origin.partition("://")[2] == headers.get("host")


def _token(key: bytes, bound_to: str) -> str:
    return b64url(hmac.digest(key, bound_to.encode(), "sha256"))
