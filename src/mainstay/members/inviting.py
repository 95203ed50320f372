"""Invitations: somebody is asked by letter to join a company with a role."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import orjson

from mainstay import accounts, identity
from mainstay.kernel import ids, once, outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.members import gains, members
from mainstay.members.errors import AlreadyMember, CompanyFull, InvitationClosed, InvitationNotFound
from mainstay.members.gains import Rights
from mainstay.members.queries import company as company_rows
from mainstay.members.queries import invitations as rows
from mainstay.members.queries import members as member_rows
from mainstay.web.callers import Caller
from mainstay.web.roles import Role

State = Literal["open", "accepted", "expired", "withdrawn"]
LIFETIME: Final = accounts.links.LIFETIMES["invitation"]
KEPT: Final = timedelta(days=90)
"""How long an invitation that was accepted, withdrawn or over is listed; its events stay."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as its company sees it: the link is in the letter alone."""

    id: str
    company_id: str
    email: str
    email_key: str
    rights: Rights
    state: State
    invited_by: dict[str, Any]
    invited_at: datetime
    sent_at: datetime
    times_sent: int
    expires_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None
    withdrawn_at: datetime | None


async def invite(
    tx: Tx,
    keyring: Keyring,
    caller: Caller,
    *,
    email: str,
    role: Role,
    features: Sequence[str] | None,
    request: once.Request | None = None,
) -> Invitation:
    """A letter with a link that is good once and for 7 days waits for the address, and `member.invited` is announced.

    An invitation that was open, or expired, is renewed with what is asked now, and its older link is over. A repeated
    request finds what it made. Invalid, AlreadyMember, CompanyFull, and OwnersOnly, StepUpRequired for owners.
    """
    shown, key = identity.names.check_email(email)
    rights = gains.rights_of(role, features)
    await member_rows.lock_company(tx, caller.company_id)
    made = None if request is None else await once.claim(tx, caller.company_id, request)
    if made is not None:
        return await get_invitation(tx, caller.company_id, made)
    before = await rows.find_open_for(tx, caller.company_id, key)
    if role == "owner" or (before is not None and before["role"] == "owner"):
        members.check_owners_change(caller, caller.role)
    await _check_room(tx, caller.company_id, key)
    row = {
        "id": ids.new_id(),
        "email": shown,
        "email_key": key,
        "role": rights.role,
        "features": rights.features,
        "invited_by": members.text_of(caller.actor),
    }
    invitation = invitation_of(await rows.put_invitation(tx, caller.company_id, row, LIFETIME))
    await _send(tx, keyring, caller, invitation)
    if request is not None:
        await once.made(tx, caller.company_id, request, invitation.id)
    return invitation


async def resend(tx: Tx, keyring: Keyring, caller: Caller, invitation_id: str) -> Invitation:
    """Another letter with another link waits, good for 7 days from now, and the older link is over; the invitation
    is the caller's from now on, and `member.invited` is announced. InvitationNotFound, InvitationClosed,
    AlreadyMember, CompanyFull, OwnersOnly, StepUpRequired."""
    before = await _admit(tx, caller, invitation_id)
    await _check_room(tx, caller.company_id, before.email_key)
    row = await rows.renew_invitation(tx, caller.company_id, before.id, LIFETIME, by=members.text_of(caller.actor))
    if row is None:
        raise InvitationClosed
    invitation = invitation_of(row)
    await _send(tx, keyring, caller, invitation)
    return invitation


async def withdraw(tx: Tx, caller: Caller, invitation_id: str) -> Invitation:
    """The invitation's link opens nothing any more, and `invitation.withdrawn` is announced; again changes nothing.
    InvitationNotFound, InvitationClosed where it was accepted, OwnersOnly, StepUpRequired."""
    before = await _admit(tx, caller, invitation_id)
    row = await rows.withdraw_invitation(tx, caller.company_id, before.id)
    if row is None:
        now = await get_invitation(tx, caller.company_id, before.id)
        if now.state != "withdrawn":
            raise InvitationClosed
        return now
    await accounts.links.end_links(tx, "invitation", before.id)
    data = {"invitationId": before.id, "email": before.email, "role": before.rights.role}
    await outbox.announce(tx, "invitation.withdrawn", company_id=caller.company_id, actor=caller.actor, data=data)
    await identity.cached.clear_company(tx, caller.company_id)
    return invitation_of(row)


async def list_invitations(
    db: Connection, company_id: str, *, state: State | None, before: str | None, limit: int
) -> tuple[list[Invitation], int]:
    """Up to `limit` invitations in that state, or in any, before the given id, newest first, and how many there are."""
    found = await rows.list_invitations(db, company_id, state=state, before=before, limit=limit)
    return [invitation_of(row) for row in found], await rows.count_invitations(db, company_id, state)


async def get_invitation(db: Connection, company_id: str, invitation_id: str) -> Invitation:
    """The invitation; InvitationNotFound."""
    row = await rows.find_invitation(db, company_id, invitation_id) if ids.is_uuid(invitation_id) else None
    if row is None:
        raise InvitationNotFound
    return invitation_of(row)


async def prune(db: Connection) -> int:
    """Invitations that were accepted, withdrawn or over 90 days ago are gone; how many went."""
    return await rows.prune_invitations_everywhere(db, KEPT)


async def _admit(tx: Tx, caller: Caller, invitation_id: str) -> Invitation:
    """The invitation, for a caller who may change it; the company is locked."""
    await member_rows.lock_company(tx, caller.company_id)
    invitation = await get_invitation(tx, caller.company_id, invitation_id)
    if invitation.rights.role == "owner":
        members.check_owners_change(caller, caller.role)
    return invitation


async def _check_room(tx: Tx, company_id: str, email_key: str) -> None:
    """Passes an address that may become a member's; AlreadyMember, CompanyFull."""
    if await rows.is_member_by_email(tx, company_id, email_key):
        raise AlreadyMember
    if await member_rows.count_places(tx, company_id, email_key) >= members.MOST_MEMBERS:
        raise CompanyFull


async def _send(tx: Tx, keyring: Keyring, caller: Caller, invitation: Invitation) -> None:
    company_id, role = caller.company_id, invitation.rights.role
    company = await company_rows.find_company(tx, company_id)
    assert company is not None
    token = await accounts.links.make_link(tx, "invitation", invitation.id, company_id=company_id)
    words = {"inviter": caller.name, "company": company["name"], "role": role}
    await accounts.write_letter(
        tx, keyring, to=invitation.email, kind="invitation", data=words, company_id=company_id, link_token=token
    )
    data = {
        "invitationId": invitation.id,
        "email": invitation.email,
        "role": role,
        "features": invitation.rights.features,
        "renewed": invitation.times_sent > 1,
    }
    await outbox.announce(tx, "member.invited", company_id=company_id, actor=caller.actor, data=data)
    await identity.cached.clear_company(tx, company_id)


def invitation_of(row: Record) -> Invitation:
    """An invitation from its row."""
    return Invitation(
        id=str(row["id"]),
        company_id=str(row["company_id"]),
        email=row["email"],
        email_key=row["email_key"],
        rights=Rights(row["role"], tuple(row["features"])),
        state=row["state"],
        invited_by=orjson.loads(row["invited_by"]),
        invited_at=row["created_at"],
        sent_at=row["sent_at"],
        times_sent=row["sent"],
        expires_at=row["expires_at"],
        accepted_at=row["accepted_at"],
        accepted_by=None if row["accepted_by"] is None else str(row["accepted_by"]),
        withdrawn_at=row["withdrawn_at"],
    )
