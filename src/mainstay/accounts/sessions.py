"""Sessions of people: opened, refreshed, replaced, listed and ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mainstay import identity
from mainstay.accounts import letters
from mainstay.accounts.errors import RefreshRefused, SessionNotFound
from mainstay.accounts.ground import Arrival, Ground, is_same_device
from mainstay.accounts.queries import sessions as rows
from mainstay.kernel import ids, outbox
from mainstay.kernel.crypto import digest_of, new_token
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.web.callers import Caller

MOST_OPEN = 100
"""Sessions that a person may have open; the oldest end for new ones."""
CONSOLE_PREFIX = "ms_"
Method = Literal["password", "totp", "recovery"]
Proof = Literal["password", "code", ""]


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened just now; `token` is what the console's cookie holds, '' for the API."""

    id: str
    expires_at: datetime
    token: str = ""
    is_new_device: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client of the API holds: access for 15 minutes, a refresh that is good once, and the CSRF token."""

    session_id: str
    access: str
    refresh: str
    csrf: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ShownSession:
    """A session as its person sees it."""

    id: str
    kind: str
    device: str
    address: str
    company_id: str
    company_name: str
    is_strong: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


async def open_session(
    tx: Tx, ground: Ground, arrival: Arrival, member: Record, *, method: Method, is_known_device: bool = False
) -> Opened:
    """A session of the member (a row of `queries.people.find_member`) stands, and `session.opened` is announced.

    A device that was never seen with the person writes them a letter. Nothing of what the browser sent before is used.
    """
    person_id, company_id = str(member["person_id"]), str(member["id"])
    seen_from = [] if is_known_device else await rows.seen_from_everywhere(tx, person_id, arrival.device)
    is_new = not is_known_device and not is_same_device(arrival.address, seen_from)
    token = new_token(CONSOLE_PREFIX) if arrival.via == "console" else ""
    session_id = ids.new_id()
    row = {
        "id": session_id, "person_id": person_id, "kind": arrival.via, "user_agent": arrival.device,
        "token_hash": digest_of(token) if token else None, "address": arrival.address,
        "is_strong": method != "password",
    }  # fmt: skip
    await rows.make_room_everywhere(tx, person_id, MOST_OPEN - 1)
    expires_at = await rows.open_session(tx, company_id, row, identity.SESSION_LIFETIME)
    data = {
        "personId": person_id, "sessionId": session_id, "role": member["role"], "via": arrival.via, "method": method,
        "address": arrival.address, "device": arrival.device, "isNewDevice": is_new,
    }  # fmt: skip
    await outbox.announce(tx, "session.opened", company_id=company_id, actor=actor_of(member), data=data)
    if is_new:
        told = {
            "name": member["person_name"],
            "device": arrival.device or "unknown",
            "address": arrival.address or "unknown",
        }
        await _tell(tx, ground, "new_device", member["email"], told, person_id)
    return Opened(session_id, expires_at, token, is_new)


def tokens_of(ground: Ground, person_id: str, company_id: str, opened: Opened, *, generation: int = 0) -> Tokens:
    """The tokens of a session of the API at that generation."""
    access = ground.who.tokens.sign(person_id=person_id, company_id=company_id, session_id=opened.id)
    refresh = ground.who.refresh_tokens.sign(
        person_id=person_id, session_id=opened.id, generation=generation, expires_at=opened.expires_at
    )
    return Tokens(opened.id, access, refresh, ground.who.tokens.csrf_of(opened.id), opened.expires_at)


async def refresh(ground: Ground, token: str) -> Tokens:
    """The next tokens of the session; the given one is used up. Unauthenticated, RefreshRefused.

    A token that was used before ends the session: `session.reuse_detected` is announced and the person is told.
    """
    claims = ground.who.refresh_tokens.read(token)
    async with ground.db.begin() as tx:
        row = await rows.refresh_session_everywhere(
            tx, claims.session_id, claims.person_id, claims.generation, identity.SESSION_IDLE
        )
        if row is None:
            await _end_reused(tx, ground, claims.session_id, claims.person_id, claims.generation)
    if row is None:
        raise RefreshRefused
    opened = Opened(claims.session_id, row["expires_at"])
    return tokens_of(ground, claims.person_id, str(row["company_id"]), opened, generation=row["refresh_generation"])


async def _end_reused(tx: Tx, ground: Ground, session_id: str, person_id: str, generation: int) -> None:
    reused = await rows.end_reused_everywhere(tx, session_id, person_id, generation)
    if reused is None:
        return
    actor = Actor(kind="person", id=person_id, name=reused["name"], email=reused["email"])
    data = {"personId": person_id, "sessionId": session_id, "device": reused["user_agent"]}
    company_id = str(reused["company_id"])
    await outbox.announce(tx, "session.reuse_detected", company_id=company_id, actor=actor, data=data)
    await _tell(tx, ground, "session_reuse", reused["email"], {"name": reused["name"]}, person_id)


async def replace(
    tx: Tx, caller: Caller, session_id: str, *, company_id: str, reason: str, proof: Proof = ""
) -> Opened:
    """A new session stands in the old one's place, with tokens of its own, until the same end at the latest.

    `proof` is what was shown just now, which makes the session fresh. SessionNotFound where the old one was over.
    """
    token = new_token(CONSOLE_PREFIX)
    old = {"id": session_id, "person_id": caller.id, "reason": reason}
    new: dict[str, Any] = {"id": ids.new_id(), "token_hash": digest_of(token), "proof": proof}
    row = await rows.replace_session(tx, company_id, old, new, identity.SESSION_LIFETIME)
    if row is None:
        raise SessionNotFound
    return Opened(new["id"], row["expires_at"], token if row["kind"] == "console" else "")


async def announce_switched(tx: Tx, member: Record, opened: Opened) -> None:
    """`session.opened` is announced in the company that the session is for now."""
    data = {"personId": str(member["person_id"]), "sessionId": opened.id, "role": member["role"], "via": "switch"}
    await outbox.announce(tx, "session.opened", company_id=str(member["id"]), actor=actor_of(member), data=data)


async def list_sessions(db: Connection, person_id: str) -> list[ShownSession]:
    """The person's sessions that work, at console and API and in every company, newest first: 100 at most."""
    found = await rows.list_sessions_everywhere(db, person_id, identity.SESSION_IDLE, MOST_OPEN)
    return [
        ShownSession(
            id=str(row["id"]),
            kind=row["kind"],
            device=row["user_agent"],
            address=row["address"],
            company_id=str(row["company_id"]),
            company_name=row["company_name"],
            is_strong=row["is_strong"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            expires_at=row["expires_at"],
        )
        for row in found
    ]


async def end_session(tx: Tx, caller: Caller, session_id: str, *, reason: str = "signed_out") -> None:
    """The caller's session is over and `session.ended` is announced; SessionNotFound where none of theirs was open."""
    ended = ids.is_uuid(session_id) and await rows.end_sessions_everywhere(
        tx, caller.id, session_id=session_id, reason=reason
    )
    if not ended:
        raise SessionNotFound
    await _announce_ended(tx, caller, {"sessionId": session_id, "sessions": 1, "reason": reason})


async def end_sessions(tx: Tx, caller: Caller, *, but: str | None = None, reason: str = "signed_out_everywhere") -> int:
    """Every session of the caller is over, but the one that is named; how many ended, which is announced if any did."""
    ended = await rows.end_sessions_everywhere(tx, caller.id, but=but, reason=reason)
    if ended:
        await _announce_ended(tx, caller, {"sessions": ended, "reason": reason})
    return ended


async def _announce_ended(tx: Tx, caller: Caller, data: Mapping[str, Any]) -> None:
    whole = {"personId": caller.id, **data}
    await outbox.announce(tx, "session.ended", company_id=caller.company_id, actor=caller.actor, data=whole)


def actor_of(member: Record) -> Actor:
    """The member as the author of an announcement."""
    return Actor(kind="person", id=str(member["person_id"]), name=member["person_name"], email=member["email"])


async def _tell(
    tx: Tx, ground: Ground, kind: Literal["new_device", "session_reuse"], to: str, data: dict[str, str], person_id: str
) -> None:
    await letters.write_letter(tx, ground.keyring, to=to, kind=kind, data=data, person_id=person_id)
