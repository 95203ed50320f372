"""How often a password may be guessed wrong: so often for an email, so often from an address, then not for a while.

Where somebody signed in from an address before, wrong tries from there are counted apart: strangers who guess from
elsewhere cannot lock them out.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from mainstay.identity.errors import TooManyTries
from mainstay.identity.queries import sessions as session_rows
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection
from mainstay.kernel.errors import MainstayError
from mainstay.web.forwarded import counted_as

WINDOW = timedelta(minutes=10)
MOST_FOR_AN_EMAIL = 10
MOST_FROM_AN_ADDRESS = 50
"""More than for an email, as an office shares its address."""
MOST_SEEN = 100
"""Newest sessions of a person whose addresses are known."""


async def begin(db: Connection, *, email_key: str | None, address: str) -> list[bytes]:
    """The try is counted before the password is looked at, so that simultaneous ones cannot slip through; what to
    forgive if it was right. TooManyTries past 10 for an email, or for it from an address where it signed in before, or
    50 from an address, in 10 minutes, known or not."""
    limits, place = {}, counted_as(address)
    if email_key is not None:
        seen = await session_rows.seen_addresses_everywhere(db, email_key, most=MOST_SEEN)
        is_known = bool(address) and place in map(counted_as, seen)
        limits[digest_of(f"email:{email_key}" + (f" from {place}" if is_known else ""))] = MOST_FOR_AN_EMAIL
    if address:
        limits[digest_of("address:" + place)] = MOST_FROM_AN_ADDRESS
    return await count(db, limits, TooManyTries) if limits else []


async def count(db: Connection, limits: Mapping[bytes, int], refusal: type[MainstayError]) -> list[bytes]:
    """One more try of each subject is counted; what to forgive. The refusal where one had more than its limit within
    10 minutes."""
    counted = await session_rows.count_tries_everywhere(db, list(limits), WINDOW)
    if any(counted[subject] > most for subject, most in limits.items()):
        raise refusal(headers={"Retry-After": str(int(WINDOW.total_seconds()))})
    return list(limits)


async def forgive(db: Connection, subjects: Sequence[bytes]) -> None:
    """The try does not count: the password was right, or nobody looked at it."""
    if subjects:
        await session_rows.forgive_tries_everywhere(db, subjects)


async def prune(db: Connection) -> int:
    """Counts that mean nothing any more are gone; how many went."""
    return await session_rows.prune_tries_everywhere(db, WINDOW)
