"""How somebody who was invited joins: with a new account, or with the one that they have and prove."""

from dataclasses import dataclass

from mainstay import accounts, identity
from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.members import inviting, members
from mainstay.members.errors import AlreadyMember, CompanyFull, InvitationClosed, PersonSuspended, ProofNeeded
from mainstay.members.inviting import Invitation
from mainstay.members.queries import company as company_rows
from mainstay.members.queries import invitations as rows
from mainstay.members.queries import members as member_rows
from mainstay.members.queries import people as people_rows
from mainstay.web.callers import Caller
from mainstay.web.roles import ACTS


@dataclass(frozen=True, slots=True)
class Offer:
    """What the holder of a link is told: into which company, and whether there is an account with the address."""

    invitation: Invitation
    company_name: str
    has_account: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What whoever accepts gives: who they say to be signed in as, or a name and a password."""

    token: str
    name: str | None = None
    password: str | None = None
    signed_in: Caller | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody who is a member now; `is_new` where the account was made for it."""

    person_id: str
    email: str
    name: str
    invitation: Invitation
    company_name: str
    is_new: bool


async def read_offer(db: Connection, token: str) -> Offer:
    """What the link is an invitation to, left as it is; LinkOver."""
    link = await accounts.links.find_link(db, "invitation", token)
    if link is None or link.company_id is None:
        raise accounts.LinkOver
    invitation = await inviting.get_invitation(db, link.company_id, link.subject)
    company = await company_rows.find_company(db, link.company_id)
    assert company is not None
    person = await people_rows.find_by_email_everywhere(db, invitation.email_key)
    return Offer(invitation, company["name"], person is not None)


async def accept(db: Database, passwords: identity.Passwords, given: Answer) -> Joined:
    """Whoever holds the link is a member with the role that it says, with a confirmed address, and `member.joined` is
    announced; nobody is signed in by it.

    Where nobody has the address, an account is made with name and password (`person.registered`). Where somebody
    has, they are signed in as that person or give its password, and the account stays as it is: ProofNeeded.
    LinkOver, of several at the same moment for all but one; InvitationClosed where whoever made it may not any
    more; Invalid, PersonSuspended, AlreadyMember, CompanyFull, and what checking and hashing a password refuse.
    """
    offer = await read_offer(db, given.token)
    person = await people_rows.find_by_email_everywhere(db, offer.invitation.email_key)
    if person is None:
        made = await _new_person(passwords, offer, given)
        return await _join(db, offer, given.token, made, is_new=True)
    await _prove(db, passwords, person, given)
    known = {"id": str(person["id"]), "name": person["name"], "email": person["email"]}
    return await _join(db, offer, given.token, known, is_new=False)


async def _new_person(passwords: identity.Passwords, offer: Offer, given: Answer) -> dict[str, str]:
    faults = [
        Fault("is missing: there is no account with this address yet", f"#/{member}")
        for member, value in (("name", given.name), ("password", given.password))
        if value is None
    ]
    if given.name is None or given.password is None:
        raise Invalid(faults=faults)
    name, email = identity.names.check_name(given.name), offer.invitation.email
    context = (name, email.partition("@")[0], offer.company_name)
    password_hash = await passwords.hash(given.password, context=context)
    row = {"id": ids.new_id(), "email": email, "email_key": offer.invitation.email_key, "name": name}
    return {**row, "password_hash": password_hash}


async def _prove(db: Database, passwords: identity.Passwords, person: Record, given: Answer) -> None:
    """Passes whoever is signed in as the person or knows the password; ProofNeeded, and what a login refuses."""
    if given.signed_in is not None and given.signed_in.id == str(person["id"]):
        return
    if given.password is None:
        raise ProofNeeded
    await identity.recognise(db, passwords, email=person["email"], password=given.password, address=given.address)


async def _join(db: Database, offer: Offer, token: str, person: dict[str, str], *, is_new: bool) -> Joined:
    invitation, person_id = offer.invitation, person["id"]
    async with db.begin() as tx:
        await member_rows.lock_company(tx, invitation.company_id)
        await accounts.links.use_link(tx, "invitation", token)
        if is_new:
            if not await people_rows.insert_person_everywhere(tx, person):
                raise ProofNeeded
        else:
            await _check_standing(tx, person_id)
        if await member_rows.count_places(tx, invitation.company_id, invitation.email_key) >= members.MOST_MEMBERS:
            raise CompanyFull
        now = await inviting.get_invitation(tx, invitation.company_id, invitation.id)
        await _check_inviter(tx, now)
        if not await rows.accept_invitation(tx, now.company_id, now.id, person_id):
            raise InvitationClosed
        by = members.text_of(Actor(**now.invited_by))
        added = await member_rows.insert_member(
            tx, now.company_id, person_id, role=now.rights.role, features=now.rights.features, invited_by=by
        )
        if not added:
            raise AlreadyMember
        await people_rows.confirm_email_everywhere(tx, person_id)
        await _announce(tx, now, person, is_new=is_new)
    return Joined(person_id, person["email"], person["name"], now, offer.company_name, is_new)


async def _check_inviter(tx: Tx, invitation: Invitation) -> None:
    """Passes an invitation that whoever made it could make now, else somebody who was removed could come back by one to
    themselves; InvitationClosed."""
    if invitation.invited_by["kind"] != "person":
        return
    row = await member_rows.find_acting(tx, invitation.company_id, invitation.invited_by["id"])
    acts = ("members.invite", "owners.change") if invitation.rights.role == "owner" else ("members.invite",)
    if row is None or not all(ACTS[act].allows(row["role"], row["features"]) for act in acts):
        raise InvitationClosed("Whoever invited you may not do so any more; ask the company for another invitation.")


async def _check_standing(tx: Tx, person_id: str) -> None:
    """Passes a person who is not suspended everywhere; nobody suspends them meanwhile."""
    row = await people_rows.lock_person_everywhere(tx, person_id)
    if row is None:
        raise ProofNeeded
    if row["suspended_at"] is not None:
        raise PersonSuspended


async def _announce(tx: Tx, invitation: Invitation, person: dict[str, str], *, is_new: bool) -> None:
    actor = Actor(kind="person", id=person["id"], name=person["name"], email=person["email"])
    told = {"personId": person["id"], "email": person["email"], "name": person["name"]}
    if is_new:
        await outbox.announce(tx, "person.registered", company_id=invitation.company_id, actor=actor, data=told)
    data = {**told, "role": invitation.rights.role, "features": invitation.rights.features}
    data |= {"invitationId": invitation.id}
    await outbox.announce(tx, "member.joined", company_id=invitation.company_id, actor=actor, data=data)
    await identity.cached.clear_person(tx, person["id"])
