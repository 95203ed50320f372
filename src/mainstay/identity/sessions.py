"""Sessions of people at the console: an opaque token, of which the database keeps only the digest."""

from dataclasses import dataclass
from datetime import timedelta

from mainstay.identity import companies, people, tries
from mainstay.identity.companies import Company
from mainstay.identity.errors import CompanyNotFound, NoCompany, SessionOver
from mainstay.identity.passwords import Passwords
from mainstay.identity.queries import sessions as session_rows
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.kernel import ids, outbox
from mainstay.kernel.crypto import digest_of, new_token
from mainstay.kernel.db import Connection, Database, Record
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
_AGENT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Session:
    """A session that works now: whose it is, and the company and workspace that it looks at ('' for all)."""

    id: str
    caller: Caller
    company_name: str
    workspace_id: str
    workspace_name: str


class Sessions:
    """Opens, reads, moves and ends sessions."""

    def __init__(self, db: Database, passwords: Passwords) -> None:
        self._db = db
        self._passwords = passwords

    async def sign_in(self, *, email: str, password: str, address: str, user_agent: str) -> str:
        """The token of a new session in the company that the person used last; `session.opened` is announced.

        LoginRefused, TooManyTries, PersonSuspended, NoCompany, TooManyLogins. The token holds 32 random bytes and is
        good for 7 days, or until nobody used it for 12 hours.
        """
        found = await people.recognise(self._db, self._passwords, email=email, password=password, address=address)
        memberships = await tenant_rows.memberships_everywhere(
            self._db, str(found.row["id"]), company_id=None, most=_MOST_COMPANIES
        )
        if not memberships:
            raise NoCompany
        last = await session_rows.last_company_everywhere(self._db, str(found.row["id"]))
        membership = next((one for one in memberships if one["id"] == last), memberships[0])
        person, company_id, token = people.person_of(found.row, membership), str(membership["id"]), new_token(_PREFIX)
        row = {
            "id": ids.new_id(),
            "person_id": person.id,
            "token_hash": digest_of(token),
            "kind": "console",
            "user_agent": agent_of(user_agent),
            "address": address,
            "is_strong": False,
        }
        async with self._db.begin() as tx:
            await session_rows.insert_session(tx, company_id, row, SESSION_LIFETIME)
            await people.welcome(tx, found, person, company_id, via="console")
        return token

    async def read(self, token: str) -> Session:
        """The session of the token; SessionOver. Being read keeps it from going idle."""
        row = None
        if token.startswith(_PREFIX) and token.isascii():
            row = await session_rows.find_session_everywhere(self._db, digest_of(token), idle=SESSION_IDLE, fresh=FRESH)
        if row is None:
            raise SessionOver
        refusals.about(person_id=str(row["person_id"]), company_id=str(row["company_id"]))
        if row["is_stale"]:
            await session_rows.touch_session_everywhere(self._db, str(row["id"]))
        workspace_id = "" if row["workspace_id"] is None else str(row["workspace_id"])
        return Session(str(row["id"]), caller_of(row), row["company_name"], workspace_id, row["workspace_name"])

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
        if not known or not await session_rows.move_session(self._db, session.id, company_id, workspace_id or None):
            raise CompanyNotFound

    async def sign_out(self, session: Session, *, everywhere: bool = False) -> None:
        """The session, or every session of the person, is over; `session.ended` is announced if it was not before."""
        caller = session.caller
        async with self._db.begin() as tx:
            ended = await session_rows.end_sessions_everywhere(tx, caller.id, None if everywhere else session.id)
            if ended:
                data = {"personId": caller.id, "sessions": ended}
                await outbox.announce(tx, "session.ended", company_id=caller.company_id, actor=caller.actor, data=data)


def agent_of(user_agent: str) -> str:
    """What is kept of a browser's name: 200 characters that can be shown."""
    return "".join(one for one in user_agent if one.isprintable())[:_AGENT_CHARACTERS]


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
    )


async def prune(db: Connection) -> int:
    """Sessions over for 30 days and counts of tries that mean nothing any more are gone; how many went."""
    return await session_rows.prune_sessions_everywhere(db, KEPT) + await tries.prune(db)
