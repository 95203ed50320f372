"""Registering: a company with its first owner, who is signed in at once."""

from dataclasses import dataclass

from mainstay import identity
from mainstay.accounts import confirming, sessions
from mainstay.accounts.ground import Arrival, Ground
from mainstay.accounts.link_errors import EmailTaken
from mainstay.accounts.queries import people as rows
from mainstay.accounts.signing_in import SignedIn
from mainstay.kernel import ids, outbox
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Region


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody registers with."""

    company_name: str
    name: str
    email: str
    password: str
    region: Region = "US"


async def register(ground: Ground, arrival: Arrival, given: Registration) -> SignedIn:
    """Company, owner and session stand, a letter asks to confirm the address; `person.registered` is announced.

    Invalid with pointers; EmailTaken where somebody has the address already, in whatever case or form; TooManyLogins.
    """
    company_name = identity.names.check_name(given.company_name, "#/companyName")
    name = identity.names.check_name(given.name)
    email, key = identity.names.check_email(given.email)
    if await rows.is_registered_everywhere(ground.db, key):
        raise EmailTaken
    known = [company_name, name, email, ground.settings.brand]
    password_hash = await ground.passwords.hash(given.password, context=known)
    person = {"id": ids.new_id(), "email": email, "email_key": key, "name": name, "password_hash": password_hash}
    actor = Actor(kind="person", id=person["id"], name=name, email=email)
    async with ground.db.begin() as tx:
        company = await identity.open_company(tx, actor, name=company_name, region=given.region)
        if not await rows.insert_person_everywhere(tx, person):
            raise EmailTaken
        await rows.insert_owner(tx, company.id, person["id"])
        data = {"personId": person["id"], "email": email, "name": name, "role": "owner"}
        await outbox.announce(tx, "person.registered", company_id=company.id, actor=actor, data=data)
        await confirming.ask_to_confirm(
            tx, ground.keyring, person_id=person["id"], email=email, name=name, company_id=company.id
        )
        member = await rows.find_member(tx, company.id, person["id"])
        assert member is not None, "it was made in this transaction"
        opened = await sessions.open_session(tx, ground, arrival, member, method="password", is_known_device=True)
    return SignedIn(member, opened)
