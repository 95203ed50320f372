"""Sessions of people: an opaque token at the console, of which the database keeps the digest, or an access token."""

from dataclasses import dataclass
from datetime import timedelta

from mainstay.identity import companies, tries
from mainstay.identity.companies import Company
from mainstay.identity.errors import CompanyNotFound, SessionOver
from mainstay.identity.queries import sessions as session_rows
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.identity.tokens import AccessTokens
from mainstay.kernel import ids
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.errors import Unauthenticated
from mainstay.web import refusals
from mainstay.web.callers import Caller

SESSION_IDLE = timedelta(hours=12)
SESSION_LIFETIME = timedelta(days=7)
"""Unless the company sets other figures."""
FRESH = timedelta(minutes=15)
"""So long after a password or a code somebody counts as having just proved who they are."""
KEPT = timedelta(days=30)
_PREFIX = "ms_"
_MOST_COMPANIES = 100


@dataclass(frozen=True, slots=True)
class Session:
    """A session that works now: whose it is, and the company and workspace that it looks at ('' for all)."""

    id: str
    caller: Caller
    company_name: str
    workspace_id: str
    workspace_name: str


class Sessions:
    """Reads and moves sessions; the accounts room opens and ends them."""

    def __init__(self, db: Database, tokens: AccessTokens) -> None:
        self._db = db
        self._tokens = tokens

    async def read(self, token: str, access_token: str = "") -> Session:
        """The session of the console's token, else of the access token; SessionOver. Being read keeps it from going
        idle."""
        row = None
        if token.startswith(_PREFIX) and token.isascii():
            row = await session_rows.find_session_everywhere(self._db, digest_of(token), idle=SESSION_IDLE, fresh=FRESH)
        if row is None and access_token:
            row = await self._find_api_session(access_token)
        if row is None:
            raise SessionOver
        refusals.about(person_id=str(row["person_id"]), company_id=str(row["company_id"]))
        if row["is_stale"]:
            await session_rows.touch_session_everywhere(self._db, str(row["id"]))
        workspace_id = "" if row["workspace_id"] is None else str(row["workspace_id"])
        return Session(str(row["id"]), caller_of(row), row["company_name"], workspace_id, row["workspace_name"])

    async def _find_api_session(self, access_token: str) -> Record | None:
        try:
            claims = self._tokens.read(access_token)
        except Unauthenticated:
            return None
        return await session_rows.find_api_session(
            self._db, claims.company_id, claims.person_id, claims.session_id, idle=SESSION_IDLE, fresh=FRESH
        )

    async def working(self, company_id: str, session_ids: list[str]) -> set[str]:
        """Those of the company's sessions that are not over, in one question."""
        return await session_rows.working_sessions(self._db, company_id, session_ids, SESSION_IDLE)

    async def companies(self, person_id: str) -> list[Company]:
        """The first 100 companies of which the person is a member, oldest first."""
        rows = await tenant_rows.memberships_everywhere(self._db, person_id, company_id=None, most=_MOST_COMPANIES)
        return [companies.company_of(row) for row in rows]

    async def move(self, session: Session, *, company_id: str, workspace_id: str = "") -> None:
        """The session looks at that company, and at the workspace or at all; CompanyNotFound where it may not."""
        known = ids.is_uuid(company_id) and (not workspace_id or ids.is_uuid(workspace_id))
        if not known or not await session_rows.move_session(
            self._db, session.id, company_id, workspace_id or None, SESSION_LIFETIME
        ):
            raise CompanyNotFound


def caller_of(row: Record) -> Caller:
    """The person of a session that works."""
    return Caller(
        kind="person",
        id=str(row["person_id"]),
        name=row["name"],
        company_id=str(row["company_id"]),
        role=row["role"],
        email=row["email"],
        region=row["data_region"],
        session_id=str(row["id"]),
        features=frozenset(row["features"]),
        is_fresh=row["is_fresh"],
        must_set_up_mfa=row["must_set_up_mfa"],
    )


async def prune(db: Connection) -> int:
    """Sessions over for 30 days and counts of tries that mean nothing any more are gone; how many went."""
    return await session_rows.prune_sessions_everywhere(db, KEPT) + await tries.prune(db)
