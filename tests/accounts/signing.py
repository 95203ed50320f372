"""A company with people who know a password, and how they come in at the API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from mainstay import identity
from mainstay.kernel.db import Database
from tests.tenancy import OPERATOR

AUTH = "/api/v1/auth"
PASSWORD = "correct horse battery staple"
Bearer = dict[str, str]


async def add(db: Database, company_id: str, email: str, role: Any = "owner", name: str = "Ada Lane") -> str:
    """The id of a member who knows PASSWORD."""
    passwords = identity.Passwords()
    made = await passwords.hash(PASSWORD)
    passwords.close()
    async with db.begin() as tx:
        person = await identity.add_person(
            tx, OPERATOR, company_id, email=email, name=name, password_hash=made, role=role
        )
    return person.id


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a login answered."""

    access: str
    refresh: str
    csrf: str
    session_id: str

    @classmethod
    def of(cls, answer: httpx.Response) -> "SignedIn":
        """From a login, a refresh, a step-up or a switch."""
        assert answer.status_code in (200, 201), answer.text
        told = answer.json()
        return cls(told["accessToken"], told["refreshToken"], told["csrfToken"], told["sessionId"])

    @property
    def auth(self) -> Bearer:
        """The headers of a request by bearer."""
        return {"authorization": f"Bearer {self.access}"}


async def log_in(api: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: Any) -> SignedIn:
    """A session of the API; its cookies are forgotten, so that what is called next says who calls."""
    answer = await api.post(f"{AUTH}/login", json={"email": email, "password": password, **more})
    api.cookies.clear()
    return SignedIn.of(answer)


async def me(api: httpx.AsyncClient, signed_in: SignedIn) -> int:
    """The status of asking who one is."""
    return (await api.get(f"{AUTH}/me", headers=signed_in.auth)).status_code


def forged(token: str, change: Callable[[dict[str, Any]], dict[str, Any]], secret: str) -> str:
    """The token with other claims, signed with that secret."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(change(claims), secret, algorithm="HS256")
