"""Whether an address is really the person's: a link goes there, and whoever opens it proves it."""

from mainstay import identity
from mainstay.accounts import announcing, letters, links
from mainstay.accounts.link_errors import EmailConfirmed, LinkOver, TooManyLetters
from mainstay.accounts.links import Link
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.web.callers import Caller


async def ask_to_confirm(
    tx: Tx, keyring: Keyring, *, person_id: str, email: str, name: str, company_id: str | None = None
) -> None:
    """A letter with a link waits for the person, as after registering."""
    key = identity.names.check_email(email)[1]
    token = await links.make_link(tx, "email_confirmation", person_id, person_id=person_id, data={"key": key})
    await letters.write_letter(
        tx,
        keyring,
        to=email,
        kind="email_confirmation",
        data={"name": name, "email": email},
        person_id=person_id,
        company_id=company_id,
        link_token=token,
    )


async def ask_again(db: Database, keyring: Keyring, caller: Caller) -> None:
    """The same once more, for somebody who is signed in; EmailConfirmed, TooManyLetters after five within the hour."""
    async with db.begin() as tx:
        person = await rows.find_person_everywhere(tx, caller.id)
        if person is None or person["email_confirmed_at"] is not None:
            raise EmailConfirmed
        if await letters.is_enough(tx, caller.id, "email_confirmation"):
            raise TooManyLetters
        await ask_to_confirm(
            tx, keyring, person_id=caller.id, email=person["email"], name=person["name"], company_id=caller.company_id
        )


async def confirm(tx: Tx, link: Link) -> str:
    """The address for which the link was made is confirmed, and `email.confirmed` announced if it was not before; the
    address. LinkOver where the person has another one by now."""
    person = await rows.find_person_everywhere(tx, link.subject)
    if person is None or person["email_key"] != link.data["key"]:
        raise LinkOver
    if await rows.confirm_email_everywhere(tx, link.subject, person["email_key"]):
        actor, data = announcing.actor_of(person), {"email": person["email"]}
        await announcing.announce(tx, "email.confirmed", actor=actor, person_id=link.subject, data=data)
    return str(person["email"])
