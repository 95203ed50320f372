"""How often a password may be guessed wrong: so often for an email, so often from an address, then not for a while."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.identity.errors import TooManyTries
from mainstay.identity.queries import sessions as session_rows
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection

WINDOW = timedelta(minutes=10)
MOST_FOR_AN_EMAIL = 10
MOST_FROM_AN_ADDRESS = 50
"""More than for an email, as an office shares its address."""


async def begin(db: Connection, *, email_key: str | None, address: str) -> list[bytes]:
    """The try is counted before the password is looked at, so that simultaneous ones cannot slip through; what to
    forgive if it was right. TooManyTries past 10 for an email or 50 from an address in 10 minutes, known or not."""
    limits = {}
    if email_key is not None:
        limits[digest_of("email:" + email_key)] = MOST_FOR_AN_EMAIL
    if address:
        limits[digest_of("address:" + address)] = MOST_FROM_AN_ADDRESS
    if not limits:
        return []
    counted = await session_rows.count_tries_everywhere(db, list(limits), WINDOW)
    if any(counted[subject] > most for subject, most in limits.items()):
        raise TooManyTries(headers={"Retry-After": str(int(WINDOW.total_seconds()))})
    return list(limits)


async def forgive(db: Connection, subjects: Sequence[bytes]) -> None:
    """The try does not count: the password was right, or nobody looked at it."""
    if subjects:
        await session_rows.forgive_tries_everywhere(db, subjects)


async def prune(db: Connection) -> int:
    """Counts that mean nothing any more are gone; how many went."""
    return await session_rows.prune_tries_everywhere(db, WINDOW)
