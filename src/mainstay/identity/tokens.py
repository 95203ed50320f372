"""Access tokens of people: JWTs that name a person and the company they act for (D-10). Pure but for the clock."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
from jwt.types import Options

from mainstay.kernel import ids
from mainstay.kernel.clock import Clock
from mainstay.kernel.errors import Unauthenticated

LIFETIME = timedelta(minutes=15)
ISSUER = "mainstay"
AUDIENCE = "mainstay-api"
ALGORITHM = "HS256"
_MAX_CHARACTERS = 4_096
_CLAIMS = ("iss", "aud", "sub", "company", "typ", "iat", "exp", "jti")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a good access token says."""

    person_id: str
    company_id: str


class AccessTokens:
    """Signs and reads access tokens under one secret; only HS256, only our issuer, audience and type."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def sign(self, *, person_id: str, company_id: str) -> str:
        """A token that is good for 15 minutes."""
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": person_id,
            "company": company_id,
            "typ": "access",
            "iat": now,
            "exp": now + int(LIFETIME.total_seconds()),
            "jti": ids.new_id(),
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def read(self, token: str) -> AccessClaims:
        """The claims of a token that we signed and that has not expired; Unauthenticated otherwise."""
        claims = self._decoded(token)
        person_id, company_id, expires = claims["sub"], claims["company"], claims["exp"]
        if claims["typ"] != "access" or not isinstance(company_id, str) or type(expires) is not int:
            raise Unauthenticated("This is not an access token.")
        if not ids.is_uuid(person_id) or not ids.is_uuid(company_id):
            raise Unauthenticated("This is not an access token.")
        if expires <= self._clock.now().timestamp():
            raise Unauthenticated("The access token has expired.")
        return AccessClaims(person_id, company_id)

    def _decoded(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_CHARACTERS:
            raise Unauthenticated("This is not an access token.")
        # The time is checked against the injected clock, so the library's own clock stays out of it.
        options: Options = {
            "require": list(_CLAIMS),
            "strict_aud": True,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._secret, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, options=options
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthenticated("This is not an access token of this service.") from error
        return claims
