"""Statements on challenges, which stand between a right password and a session."""

from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_OPEN = Sql(
    "mfa.open_challenge",
    """insert into mainstay.sign_in_challenges (digest, person_id, company_id, via, expires_at)
       values ($1, $2, $3, $4, mainstay.now() + $5::interval)""",
)
_TRY = Sql(
    "mfa.try_challenge",
    """update mainstay.sign_in_challenges s set tries = s.tries + 1
       where s.digest = $1 and s.used_at is null and s.expires_at > mainstay.now() and s.tries < $2
       returning s.person_id, s.company_id, s.via""",
)
_USE = Sql(
    "mfa.use_challenge",
    """update mainstay.sign_in_challenges s set used_at = mainstay.now()
       where s.digest = $1 and s.used_at is null""",
)
_END = Sql("mfa.end_challenges", "delete from mainstay.sign_in_challenges where person_id = $1")
_PRUNE = Sql("mfa.prune_challenges", "delete from mainstay.sign_in_challenges where expires_at < mainstay.now()")


async def insert_challenge(
    tx: Tx, company_id: str, *, digest: bytes, person_id: str, via: str, lifetime: timedelta
) -> None:
    """The challenge is open for that long."""
    await tx.run(_OPEN, digest, person_id, company_id, via, lifetime)


async def try_challenge_everywhere(db: Connection, digest: bytes, *, most: int) -> Record | None:
    """Whose challenge it is, one of its tries being counted; None where it is over or has none left."""
    return await db.row(_TRY, digest, most)


async def use_challenge_everywhere(tx: Tx, digest: bytes) -> bool:
    """Whether the challenge was used just now."""
    return count_of(await tx.run(_USE, digest)) == 1


async def end_challenges_everywhere(tx: Tx, person_id: str) -> None:
    """No challenge of the person is open."""
    await tx.run(_END, person_id)


async def prune_challenges_everywhere(db: Connection) -> int:
    """How many challenges are gone whose time is over."""
    return count_of(await db.run(_PRUNE))
