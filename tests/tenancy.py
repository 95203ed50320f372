"""A company with workspaces, keys and people, made through the rooms' own verbs."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

from mainstay import identity
from mainstay.identity.tokens import AccessTokens, RefreshTokens
from mainstay.kernel import ids
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.db import Connection, Database, Sql
from mainstay.kernel.outbox import Actor
from mainstay.kernel.settings import Settings, load

OPERATOR = Actor(kind="operator", id="test", name="Test")


@dataclass(frozen=True, slots=True)
class Tenancy:
    """One company: two workspaces with a key each, and a company key."""

    company_id: str
    workspace_id: str
    other_workspace_id: str
    key: str
    key_id: str
    other_key: str
    company_key: str
    company_key_id: str

    @property
    def auth(self) -> dict[str, str]:
        """The headers of the first workspace's key."""
        return {"authorization": f"Bearer {self.key}"}

    @property
    def company_auth(self) -> dict[str, str]:
        """The headers of the company key."""
        return {"authorization": f"Bearer {self.company_key}"}


async def open_tenancy(db: Database, *, region: Any = "US", plan: Any = "growth") -> Tenancy:
    """A fresh company."""
    async with db.begin() as tx:
        company = await identity.open_company(
            tx, OPERATOR, name="Test company", slug=f"c-{secrets.token_hex(6)}", region=region, plan=plan
        )
        first = await identity.open_workspace(tx, OPERATOR, company.id, name="Production")
        second = await identity.open_workspace(tx, OPERATOR, company.id, name="Staging")
        keys = [
            await identity.issue_key(tx, OPERATOR, company.id, kind="workspace", name="k", workspace_id=workspace.id)
            for workspace in (first, second)
        ]
        whole = await identity.issue_key(tx, OPERATOR, company.id, kind="company", name="k")
    return Tenancy(
        company.id,
        first.id,
        second.id,
        keys[0].secret,
        keys[0].record.id,
        keys[1].secret,
        whole.secret,
        whole.record.id,
    )


ACCESS_SECRET = "a-test-secret-of-forty-characters-or-so-2"
REFRESH_SECRET = "a-test-secret-of-forty-characters-or-so-4"
_SESSION = Sql(
    "test.session",
    """insert into mainstay.sessions (id, person_id, company_id, kind, user_agent, authenticated_at, last_used_at,
                                     expires_at)
       values ($1, $2, $3, 'api', 'test', mainstay.now() - $4::interval, mainstay.now() + interval '9000 days',
               mainstay.now() + interval '9000 days')""",
)


async def open_session(db: Connection, person_id: str, company_id: str, *, is_fresh: bool = True) -> str:
    """The id of a session at the API of a person who has just signed in, or an hour ago; `db` may be a transaction.
    It stands until something ends it, however far a test moves the clock."""
    session_id = ids.new_id()
    await db.run(_SESSION, session_id, person_id, company_id, timedelta(0) if is_fresh else timedelta(hours=1))
    return session_id


async def bearer(
    db: Connection, person_id: str, company_id: str, *, is_fresh: bool = True, secret: str = ACCESS_SECRET
) -> dict[str, str]:
    """The headers of such a person."""
    session_id = await open_session(db, person_id, company_id, is_fresh=is_fresh)
    tokens = AccessTokens([secret], SystemClock())
    token = tokens.sign(person_id=person_id, company_id=company_id, session_id=session_id)
    return {"authorization": f"Bearer {token}"}


def refresh_beside(headers: Mapping[str, str]) -> str:
    """The first refresh token of the session whose access token the headers carry; any text where they carry none."""
    try:
        claims = jwt.decode(headers.get("authorization", "")[7:], ACCESS_SECRET, ["HS256"], {"verify_aud": False})
    except jwt.PyJWTError:
        return "none"
    clock = SystemClock()
    tokens, end = RefreshTokens([REFRESH_SECRET], clock), clock.now() + timedelta(days=1)
    return tokens.sign(person_id=claims["sub"], session_id=claims["sid"], generation=0, expires_at=end)


def test_settings(url: str, **more: str) -> Settings:
    """Settings for tests on one database: development, webhooks may reach loopback."""
    return load(
        {
            "DATABASE_URL": url,
            "PROFILE": "development",
            "MAINSTAY_SECRET": "a-test-secret-of-forty-characters-or-so-1",
            "JWT_ACCESS_SECRET": ACCESS_SECRET,
            "JWT_REFRESH_SECRET": REFRESH_SECRET,
            "INTERNAL_TOKEN": "a-test-token-of-forty-characters-or-more-3",
            "OUTBOUND_ALLOW": "127.0.0.0/8,localhost,::1",
            "RATE_LIMITS": "all=none",
            "RATE_LIMIT_STORE": "memory",
            **more,
        }
    )


test_settings.__test__ = False  # type: ignore[attr-defined]
