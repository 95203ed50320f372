"""Another email address: asked for by the person, confirmed from the new mailbox, told to both."""

import asyncpg

from mainstay import identity
from mainstay.accounts import announcing, confirming, letters, links
from mainstay.accounts.link_errors import EmailTaken, LinkOver, TooManyLetters
from mainstay.accounts.links import Link
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Fault, Invalid, Unauthenticated
from mainstay.web.callers import Caller


async def ask_for_change(db: Database, keyring: Keyring, caller: Caller, *, email: str) -> str:
    """A letter with a link waits for the new address, which it gives as it will be written, one without for the old;
    `email.change_requested` is announced. Nothing tells whether somebody else has the address.

    Invalid, TooManyLetters after five within the hour.
    """
    shown, key = identity.names.check_email(email)
    async with db.begin() as tx:
        person = await rows.find_person_everywhere(tx, caller.id)
        if person is None:
            raise Unauthenticated
        if shown == person["email"]:
            raise Invalid(faults=[Fault("is your address already", "#/email")])
        if await letters.is_enough(tx, caller.id, "email_change"):
            raise TooManyLetters
        data = {"email": shown, "key": key, "oldKey": person["email_key"]}
        token = await links.make_link(tx, "email_change", caller.id, person_id=caller.id, data=data)
        told = {"name": person["name"], "email": shown}
        await letters.write_letter(
            tx, keyring, to=shown, kind="email_change", data=told, person_id=caller.id, link_token=token
        )
        await _tell(tx, keyring, caller.id, {**told, "old": person["email"], "change": "asked"}, to=person["email"])
        facts = {"email": person["email"], "newEmail": shown}
        await announcing.announce(tx, "email.change_requested", actor=caller.actor, person_id=caller.id, data=facts)
    return shown


async def confirm(db: Database, keyring: Keyring, *, token: str) -> str:
    """The address for which the link was made is the person's and confirmed; the address.

    After a change letters go to both addresses and `email.changed` is announced. LinkOver; EmailTaken, which leaves the
    link as it is, where somebody else has the address.
    """
    async with db.begin() as tx:
        found = await links.find_link(tx, "email_change", token)
        if found is None:
            return await confirming.confirm(tx, await links.use_link(tx, "email_confirmation", token))
        return await _change(tx, keyring, await links.use_link(tx, "email_change", token))


async def _change(tx: Tx, keyring: Keyring, link: Link) -> str:
    person_id, email = link.subject, str(link.data["email"])
    person = await rows.find_person_everywhere(tx, person_id)
    if person is None:
        raise LinkOver
    try:
        name = await rows.change_email_everywhere(
            tx, person_id, email=email, key=link.data["key"], old_key=link.data["oldKey"]
        )
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None
    if name is None:
        raise LinkOver
    for purpose in ("password_reset", "email_confirmation"):
        await links.end_links(tx, purpose, person_id)
    told = {"name": name, "email": email, "old": person["email"], "change": "done"}
    for to in dict.fromkeys((email, person["email"])):
        await _tell(tx, keyring, person_id, told, to=to)
    facts = {"email": email, "oldEmail": person["email"]}
    await announcing.announce(tx, "email.changed", actor=announcing.actor_of(person), person_id=person_id, data=facts)
    return email


async def _tell(tx: Tx, keyring: Keyring, person_id: str, data: dict[str, str], *, to: str) -> None:
    await letters.write_letter(tx, keyring, to=to, kind="email_changed", data=data, person_id=person_id)
