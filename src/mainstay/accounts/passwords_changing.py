"""Another password, chosen by somebody who is signed in and knows the current one."""

from typing import Final

from mainstay import mfa
from mainstay.accounts import announcing, letters, links
from mainstay.accounts.ground import Ground
from mainstay.accounts.link_errors import PasswordChangedMeanwhile
from mainstay.accounts.links import Purpose
from mainstay.accounts.proving import prove_password
from mainstay.accounts.queries import credentials as rows
from mainstay.accounts.queries import sessions as session_rows
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.callers import Caller

NEW = "#/newPassword"
_OVER: Final[tuple[Purpose, ...]] = ("password_reset", "email_change")


async def change_password(ground: Ground, caller: Caller, *, current: str, new: str, keeps_others: bool) -> int:
    """The person's password is the new one; how many other sessions ended: all, unless they are to be kept.

    The session that asks goes on. Open links to a new password and to another address, and challenges are over, a
    letter tells the person, and `password.changed` is announced. WrongPassword, TooManyGuesses, Invalid,
    PasswordChangedMeanwhile.
    """
    person = await prove_password(ground.db, ground.passwords, caller.id, current)
    if new == current:
        raise Invalid(faults=[Fault("must differ from the current one", NEW)])
    made = await ground.passwords.hash(new, context=await known_names(ground.db, person, ground), pointer=NEW)
    async with ground.db.begin() as tx:
        if not await rows.set_password_everywhere(tx, caller.id, made, old_hash=person["password_hash"]):
            raise PasswordChangedMeanwhile
        ended = 0
        if not keeps_others:
            ended = await session_rows.end_sessions_everywhere(
                tx, caller.id, but=caller.session_id or None, reason="password_changed"
            )
        await _follow(tx, ground, person)
        data = {"sessionsEnded": ended}
        await announcing.announce(tx, "password.changed", actor=caller.actor, person_id=caller.id, data=data)
    return ended


async def replace_password(tx: Tx, ground: Ground, person: Record, made: str) -> int:
    """The password is the one of that hash, every session has ended (how many), as have links and challenges, and a
    letter tells the person; PasswordChangedMeanwhile where the person is suspended."""
    person_id = str(person["id"])
    if not await rows.set_password_everywhere(tx, person_id, made, old_hash=None):
        raise PasswordChangedMeanwhile
    ended = await session_rows.end_sessions_everywhere(tx, person_id, reason="password_reset")
    await _follow(tx, ground, person)
    return ended


async def known_names(db: Connection, person: Record, ground: Ground) -> list[str]:
    """What somebody who attacks the account would try: names of the person, their companies and the product."""
    companies = [one["name"] for one in await rows.companies_of_everywhere(db, str(person["id"]))]
    return [person["name"], person["email"], ground.settings.brand, *companies]


async def _follow(tx: Tx, ground: Ground, person: Record) -> None:
    person_id = str(person["id"])
    # Whoever held the account before may have asked for their own address, which would give it back to them.
    for purpose in _OVER:
        await links.end_links(tx, purpose, person_id)
    await mfa.end_challenges(tx, person_id)
    await letters.write_letter(
        tx,
        ground.keyring,
        to=person["email"],
        kind="password_changed",
        data={"name": person["name"]},
        person_id=person_id,
    )
