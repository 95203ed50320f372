"""A password asked for once more of somebody who is signed in; guesses count apart from those at signing in."""

from mainstay import identity
from mainstay.accounts.link_errors import TooManyGuesses, WrongPassword
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import Unauthenticated, Unavailable

MOST_GUESSES = 10


async def prove_password(db: Database, passwords: identity.Passwords, person_id: str, password: str) -> Record:
    """The person, whose password this is; WrongPassword, TooManyGuesses after ten wrong ones within ten minutes.

    What strangers guess at signing in does not count here, and nothing here keeps anybody from signing in. The guess is
    counted before the password is looked at; no connection is held meanwhile.
    """
    person = await rows.find_person_everywhere(db, person_id)
    if person is None or person["suspended_at"] is not None:
        raise Unauthenticated
    tried = await identity.tries.count(db, {digest_of(f"person:{person_id}"): MOST_GUESSES}, TooManyGuesses)
    try:
        verdict = await passwords.verify(person["password_hash"], password)
    except Unavailable:
        await identity.tries.forgive(db, tried)
        raise
    if not verdict.right:
        raise WrongPassword
    await identity.tries.forgive(db, tried)
    return person
