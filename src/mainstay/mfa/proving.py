"""A code, of an app or for recovery, is taken once; wrong ones are counted, told of and soon not looked at."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

from mainstay.kernel import outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.mfa import codes
from mainstay.mfa.announcing import person_actor
from mainstay.mfa.errors import NotOn, TooManyCodes, WrongCode
from mainstay.mfa.queries import factors as rows
from mainstay.mfa.queries import people as people_rows

T = TypeVar("T")
Method = Literal["totp", "recovery"]

MOST_WRONG = 10
WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Guess:
    """A code that somebody gives for a person: where it comes from, and whether for a factor that is not on yet."""

    person_id: str
    code: str
    company_id: str | None = None
    address: str = ""
    is_waiting: bool = False


async def prove(db: Database, keyring: Keyring, person_id: str, code: str) -> Method:
    """The person showed their second factor, which used the code up; WrongCode, TooManyCodes, NotOn."""

    async def done(_: Tx, method: Method) -> Method:
        return method

    return await take(db, keyring, Guess(person_id, code), done)


async def take(db: Database, keyring: Keyring, guess: Guess, then: Callable[[Tx, Method], Awaitable[T]]) -> T:
    """The code is used up and `then` has run in the same transaction; WrongCode, TooManyCodes, NotOn.

    The try is counted before, in a transaction of its own, so that simultaneous ones cannot slip through.
    """
    tried = await rows.count_try_everywhere(db, guess.person_id, is_waiting=guess.is_waiting, window=WINDOW)
    if tried is None:
        raise NotOn
    if tried["tries"] > MOST_WRONG:
        raise TooManyCodes(max(tried["seconds_left"], 1))
    async with db.begin() as tx:
        method = await _accept(tx, keyring, guess)
        if method is not None:
            return await then(tx, method)
    if tried["tries"] == MOST_WRONG:
        await _tell(db, guess)
    raise WrongCode


async def _accept(tx: Tx, keyring: Keyring, guess: Guess) -> Method | None:
    """What the code was, which is used up; None where it is wrong or was used before."""
    factor = await rows.read_factor_everywhere(
        tx, guess.person_id, is_waiting=guess.is_waiting, step_seconds=codes.STEP_SECONDS
    )
    if factor is None:
        return None
    if (code := codes.find_totp(guess.code)) is not None:
        secret = open_secret(keyring, str(factor["id"]), factor["secret"])
        step = codes.find_step(secret, code, now=factor["step"], after=factor["last_step"])
        is_taken = step is not None and await rows.use_factor_everywhere(tx, factor["id"], step)
        return "totp" if is_taken else None
    if guess.is_waiting or (code := codes.find_recovery(guess.code)) is None:
        return None
    if not await rows.use_code_everywhere(tx, guess.person_id, codes.digest_of_recovery(code)):
        return None
    await rows.use_factor_everywhere(tx, factor["id"], None)
    return "recovery"


async def _tell(db: Database, guess: Guess) -> None:
    """`mfa.code_refused` is announced once for ten wrong codes, where the codes came from or was last signed in."""
    async with db.begin() as tx:
        if not await rows.tell_once_everywhere(tx, guess.person_id, least=MOST_WRONG):
            return
        person = await people_rows.find_person_everywhere(tx, guess.person_id)
        if person is None:
            return
        companies = await people_rows.companies_of_everywhere(tx, guess.person_id)
        data = {
            "personId": guess.person_id,
            "name": person["name"],
            "email": person["email"],
            "wrongCodes": MOST_WRONG,
            "address": guess.address,
            "tellPerson": True,
        }
        company_id = guess.company_id or next(iter(companies), None)
        await outbox.announce(tx, "mfa.code_refused", company_id=company_id, actor=person_actor(person), data=data)


def seal_secret(keyring: Keyring, factor_id: str, secret: str) -> bytes:
    """The secret, to be opened beside the factor of that id alone."""
    return keyring.seal(secret.encode(), _context(factor_id))


def open_secret(keyring: Keyring, factor_id: str, sealed: bytes) -> str:
    """The secret that was sealed beside that factor; Unsealable."""
    return keyring.open(bytes(sealed), _context(factor_id)).decode()


def _context(factor_id: str) -> bytes:
    return f"mfa factor {factor_id}".encode()
