"""Tokens of people: JWTs for access, which name person, company and session (D-10), and for refreshing. Pure."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from jwt.types import Options

from mainstay.kernel import ids
from mainstay.kernel.clock import Clock
from mainstay.kernel.crypto import b64url, same
from mainstay.kernel.errors import Unauthenticated

LIFETIME = timedelta(minutes=15)
SKEW = timedelta(minutes=1)
"""So far may the clock of the node that signed be ahead of ours; an expiry has no such leeway."""
ISSUER = "mainstay"
AUDIENCE = "mainstay-api"
REFRESH_AUDIENCE = "mainstay-refresh"
ALGORITHM = "HS256"
_MAX_CHARACTERS = 4_096
_CLAIMS = ("iss", "aud", "sub", "typ", "sid", "iat", "exp", "jti")
# The time is checked against the injected clock, so the library's own clock stays out of it.
_OPTIONS: Options = {
    "require": list(_CLAIMS),
    "strict_aud": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a good access token says."""

    person_id: str
    company_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a good refresh token says; `generation` counts the refreshes of the session before it."""

    person_id: str
    session_id: str
    generation: int


class _Signer:
    """Signs under the first secret and reads under each; only HS256, only our issuer, one audience and type."""

    def __init__(self, secrets: Sequence[str], clock: Clock, *, audience: str, kind: str) -> None:
        self._secrets = tuple(secrets)
        self._clock = clock
        self._audience = audience
        self._kind = kind

    def sign(self, claims: dict[str, Any], expires: int) -> str:
        now = int(self._clock.now().timestamp())
        whole = {
            "iss": ISSUER, "aud": self._audience, "typ": self._kind, "iat": now, "exp": expires, "jti": ids.new_id(),
        }  # fmt: skip
        return jwt.encode({**whole, **claims}, self._secrets[0], algorithm=ALGORITHM)

    def read(self, token: str) -> dict[str, Any]:
        """The claims of a token that we signed and that is good now, with ids that are ids; Unauthenticated."""
        claims = self._decoded(token)
        issued, begins, expires = claims["iat"], claims.get("nbf", claims["iat"]), claims["exp"]
        if claims["typ"] != self._kind or any(type(moment) is not int for moment in (issued, begins, expires)):
            raise self._refusal()
        if not all(isinstance(one, str) and ids.is_uuid(one) for one in (claims["sub"], claims["sid"])):
            raise self._refusal()
        now = self._clock.now().timestamp()
        if max(issued, begins) > now + SKEW.total_seconds():
            raise Unauthenticated(f"The {self._kind} token is not good yet.")
        if expires <= now:
            raise Unauthenticated(f"The {self._kind} token has expired.")
        return claims

    def _decoded(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_CHARACTERS:
            raise self._refusal()
        for secret in self._secrets:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token, secret, algorithms=[ALGORITHM], issuer=ISSUER, audience=self._audience, options=_OPTIONS
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError) as error:
                raise self._refusal() from error
            return claims
        raise self._refusal()

    def _refusal(self) -> Unauthenticated:
        return Unauthenticated(f"This is not a good {self._kind} token of this service.")


class AccessTokens:
    """Signs and reads access tokens: under the first secret, and under older ones. CSRF tokens of sessions, too."""

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._signer = _Signer(secrets, clock, audience=AUDIENCE, kind="access")
        self._csrf_keys = [hmac.digest(secret.encode(), b"csrf tokens of sessions", "sha256") for secret in secrets]
        self._clock = clock

    def sign(self, *, person_id: str, company_id: str, session_id: str) -> str:
        """A token that is good for 15 minutes, for as long as the session stands."""
        expires = int(self._clock.now().timestamp()) + int(LIFETIME.total_seconds())
        return self._signer.sign({"sub": person_id, "company": company_id, "sid": session_id}, expires)

    def read(self, token: str) -> AccessClaims:
        """The claims of a token that we signed and that has not expired; Unauthenticated otherwise."""
        claims = self._signer.read(token)
        company_id = claims.get("company")
        if not isinstance(company_id, str) or not ids.is_uuid(company_id):
            raise Unauthenticated("This is not a good access token of this service.")
        return AccessClaims(claims["sub"], company_id, claims["sid"])

    def csrf_of(self, session_id: str) -> str:
        """What a request must show beside a cookie to change something in that session."""
        return _csrf(self._csrf_keys[0], session_id)

    def is_csrf_of(self, session_id: str, token: str) -> bool:
        """Whether the token is that of the session, under the secret or an older one."""
        return token.isascii() and any(same(_csrf(key, session_id), token) for key in self._csrf_keys)


class RefreshTokens:
    """Signs and reads refresh tokens: under the first secret, and under older ones."""

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._signer = _Signer(secrets, clock, audience=REFRESH_AUDIENCE, kind="refresh")

    def sign(self, *, person_id: str, session_id: str, generation: int, expires_at: datetime) -> str:
        """A token that gives the next access token of the session, once, until the session's own end."""
        claims = {"sub": person_id, "sid": session_id, "gen": generation}
        return self._signer.sign(claims, int(expires_at.timestamp()))

    def read(self, token: str) -> RefreshClaims:
        """The claims of a token that we signed and that has not expired; Unauthenticated otherwise."""
        claims = self._signer.read(token)
        generation = claims.get("gen")
        if type(generation) is not int or generation < 0:
            raise Unauthenticated("This is not a good refresh token of this service.")
        return RefreshClaims(claims["sub"], claims["sid"], generation)


def _csrf(key: bytes, session_id: str) -> str:
    return b64url(hmac.digest(key, session_id.encode(), "sha256"))
