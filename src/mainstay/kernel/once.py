"""Requests that carry an idempotency key: what the first one made is found by those that repeat it within 24 hours."""

from dataclasses import dataclass

from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Sql, Tx, count_of
from mainstay.kernel.errors import Fault, Invalid, Unprocessable

MAX_KEY_CHARACTERS = 255
HEADER = "Idempotency-Key"

# A row that is there makes the statement wait for its transaction, and is taken over where it is a day old.
_CLAIM = Sql(
    "once.claim",
    """insert into mainstay.made_once as m (company_id, scope, key_digest, fingerprint) values ($1, $2, $3, $4)
       on conflict (company_id, scope, key_digest) do update
         set fingerprint = excluded.fingerprint, made_id = null, at = mainstay.now()
         where m.at <= mainstay.now() - interval '24 hours'
       returning at""",
)
_FIND = Sql(
    "once.find",
    """select fingerprint, made_id from mainstay.made_once
       where company_id = $1 and scope = $2 and key_digest = $3""",
)
_MADE = Sql(
    "once.made",
    "update mainstay.made_once set made_id = $4 where company_id = $1 and scope = $2 and key_digest = $3",
)
_PRUNE = Sql("once.prune", "delete from mainstay.made_once where at <= mainstay.now() - interval '24 hours'")


class OtherContent(Unprocessable):
    """This idempotency key was used for a request with other content within the last 24 hours."""

    code = "idempotency-mismatch"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is to have its effect once: `scope` names the act and its actor, `content` is what it asks."""

    scope: str
    key: str
    content: str


def header_key(given: str | None) -> str | None:
    """The key of an `Idempotency-Key` header, None without one; Invalid unless it is 1 to 255 printable ASCII."""
    if given is None:
        return None
    key = given.strip()
    if not (1 <= len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise Invalid(faults=[Fault(f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters", HEADER)])
    return key


async def claim(tx: Tx, company_id: str, request: Request) -> str | None:
    """None where the request is the first of its key: it is remembered if the transaction commits. Else the id of what
    the first one made; OtherContent where that one asked for something else. Waits for one that is under way."""
    digest, fingerprint = digest_of(request.key), digest_of(request.content)
    if await tx.row(_CLAIM, company_id, request.scope, digest, fingerprint) is not None:
        return None
    row = await tx.row(_FIND, company_id, request.scope, digest)
    if row is None or row["fingerprint"] != fingerprint:
        raise OtherContent
    return str(row["made_id"])


async def made(tx: Tx, company_id: str, request: Request, made_id: str) -> None:
    """Whoever repeats the request is told that id."""
    await tx.run(_MADE, company_id, request.scope, digest_of(request.key), made_id)


async def prune_everywhere(db: Connection) -> int:
    """Requests of more than 24 hours ago are forgotten; how many went."""
    return count_of(await db.run(_PRUNE))
