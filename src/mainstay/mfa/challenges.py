"""Challenges: what a right password gives where a second factor is on, and what a code turns into a session."""

from dataclasses import dataclass
from datetime import timedelta

from mainstay.kernel.crypto import Keyring, digest_of, new_token
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.mfa import proving
from mainstay.mfa.errors import ChallengeOver, NotOn
from mainstay.mfa.proving import Guess, Method
from mainstay.mfa.queries import challenges as rows
from mainstay.mfa.queries import factors as factor_rows

LIFETIME = timedelta(minutes=5)
MOST_TRIES = 5
FEW_CODES = 3
"""So few recovery codes left are worth a warning."""
_PREFIX = "mc_"
_MOST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered a challenge, for which company and where, with what, and how many recovery codes are left."""

    person_id: str
    company_id: str
    via: str
    method: Method
    codes_left: int


async def challenge(tx: Tx, person_id: str, company_id: str, *, via: str) -> str:
    """The token of a challenge that is open for 5 minutes and 5 tries, and good once."""
    token = new_token(_PREFIX)
    await rows.insert_challenge(
        tx, company_id, digest=digest_of(token), person_id=person_id, via=via, lifetime=LIFETIME
    )
    return token


async def answer(db: Database, keyring: Keyring, token: str, code: str, *, address: str) -> Answered:
    """The challenge and the code are used up; ChallengeOver, WrongCode, TooManyCodes.

    Whether the person may sign in now is asked afterwards: they may have been suspended meanwhile.
    """
    tried = None
    if token.startswith(_PREFIX) and token.isascii() and len(token) <= _MOST_CHARACTERS:
        tried = await rows.try_challenge_everywhere(db, digest_of(token), most=MOST_TRIES)
    if tried is None:
        raise ChallengeOver
    person_id, company_id = str(tried["person_id"]), str(tried["company_id"])

    async def done(tx: Tx, method: Method) -> Answered:
        if not await rows.use_challenge_everywhere(tx, digest_of(token)):
            raise ChallengeOver
        left = await factor_rows.codes_left_everywhere(tx, person_id)
        return Answered(person_id, company_id, tried["via"], method, left)

    try:
        return await proving.take(db, keyring, Guess(person_id, code, company_id, address), done)
    except NotOn:
        raise ChallengeOver from None


async def end_challenges(tx: Tx, person_id: str) -> None:
    """No challenge of the person is open any more, as after another password."""
    await rows.end_challenges_everywhere(tx, person_id)


async def prune(db: Connection) -> int:
    """Challenges whose time is over are gone; how many went."""
    return await rows.prune_challenges_everywhere(db)
