"""A person's own factor: set up, verified, disabled, with recovery codes that can be renewed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from mainstay.kernel import ids
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.mfa import codes, pictures, proving
from mainstay.mfa.announcing import announce
from mainstay.mfa.errors import AlreadyOn, CodeRefused, NotOn, NotSetUp, PersonNotFound, WrongCode
from mainstay.mfa.pictures import Pictures
from mainstay.mfa.proving import Guess, Method
from mainstay.mfa.queries import factors as rows
from mainstay.mfa.queries import people as people_rows
from mainstay.web.callers import Caller

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a person takes over into an app and puts away; shown once."""

    secret: str
    otpauth_uri: str
    pictures: Pictures
    recovery_codes: list[str]


@dataclass(frozen=True, slots=True)
class State:
    """Whether a person's second factor is on, or waits to be verified."""

    enabled_at: datetime | None
    is_waiting: bool
    last_used_at: datetime | None
    codes_left: int


async def is_on(db: Connection, person_id: str) -> bool:
    """Whether signing in takes a code of the person."""
    person = await people_rows.find_person_everywhere(db, person_id)
    return person is not None and person["mfa_enabled_at"] is not None


async def state(db: Connection, person_id: str) -> State:
    """What there is to tell of the person's second factor."""
    row = await rows.read_state_everywhere(db, person_id)
    if row is None:
        return State(None, False, None, 0)
    is_waiting = row["confirmed_at"] is None
    return State(row["confirmed_at"], is_waiting, row["last_used_at"], 0 if is_waiting else row["codes_left"])


async def set_up(db: Database, keyring: Keyring, caller: Caller, *, issuer: str) -> Setup:
    """A factor with ten recovery codes waits to be verified, in place of one that waited; AlreadyOn.

    Signing in is as it was until then.
    """
    factor_id, secret, shown = ids.new_id(), codes.new_secret(), codes.new_recovery_codes()
    sealed = proving.seal_secret(keyring, factor_id, secret)
    async with db.begin() as tx:
        if not await rows.put_waiting_factor_everywhere(tx, caller.id, factor_id, sealed):
            raise AlreadyOn
        await rows.put_codes_everywhere(tx, caller.id, [codes.digest_of_recovery(code) for code in shown])
    uri = pictures.otpauth_uri(secret, issuer=issuer, email=caller.email or caller.name)
    return Setup(secret, uri, pictures.draw(uri), shown)


async def verify(db: Database, keyring: Keyring, caller: Caller, code: str) -> State:
    """The factor that waited is on, the person's other sessions that a password alone opened are over, and
    `mfa.enabled` is announced; CodeRefused, TooManyCodes, AlreadyOn, NotSetUp."""

    async def enable(tx: Tx, _: Method) -> None:
        await rows.confirm_factor_everywhere(tx, caller.id)
        if caller.session_id:
            await people_rows.strengthen_session_everywhere(tx, caller.id, caller.session_id)
        ended = await people_rows.end_weak_sessions_everywhere(tx, caller.id, but=caller.session_id or None)
        await _announce(tx, caller, "mfa.enabled", {"sessionsEnded": ended})

    guess = Guess(caller.id, code, caller.company_id, is_waiting=True)
    try:
        await _with_code(db, keyring, guess, enable)
    except NotOn:
        raise (AlreadyOn if await is_on(db, caller.id) else NotSetUp) from None
    return await state(db, caller.id)


async def disable(db: Database, keyring: Keyring, caller: Caller, code: str) -> None:
    """Factor and recovery codes are gone, and `mfa.disabled` is announced; CodeRefused, TooManyCodes, NotOn."""

    async def drop(tx: Tx, method: Method) -> None:
        await rows.drop_factor_everywhere(tx, caller.id)
        await _announce(tx, caller, "mfa.disabled", {"method": method})

    await _with_code(db, keyring, Guess(caller.id, code, caller.company_id), drop)


async def renew_codes(db: Database, keyring: Keyring, caller: Caller, code: str) -> list[str]:
    """Ten new recovery codes count, the old ones do not; `mfa.codes_renewed` is announced. What `disable` refuses."""
    shown = codes.new_recovery_codes()

    async def renew(tx: Tx, method: Method) -> None:
        await rows.put_codes_everywhere(tx, caller.id, [codes.digest_of_recovery(code) for code in shown])
        await _announce(tx, caller, "mfa.codes_renewed", {"method": method})

    await _with_code(db, keyring, Guess(caller.id, code, caller.company_id), renew)
    return shown


async def _with_code(db: Database, keyring: Keyring, guess: Guess, then: Callable[[Tx, Method], Awaitable[T]]) -> T:
    """What `proving.take` does, for somebody who is signed in: a wrong code is a wrong member of the request."""
    try:
        return await proving.take(db, keyring, guess, then)
    except WrongCode:
        raise CodeRefused from None


async def _announce(tx: Tx, caller: Caller, name: str, data: Mapping[str, Any]) -> None:
    person = await people_rows.find_person_everywhere(tx, caller.id)
    if person is None:
        raise PersonNotFound
    await announce(tx, name, actor=caller.actor, person=person, data=data, company_id=caller.company_id)
