"""Links that are good once: 256 random bits in a letter, a digest in the database, one purpose, a while to live."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import orjson

from mainstay.accounts.link_errors import LinkOver
from mainstay.accounts.queries import links as rows
from mainstay.kernel.crypto import digest_of, new_token
from mainstay.kernel.db import Connection, Record, Tx

Purpose = Literal["password_reset", "email_change", "email_confirmation", "invitation"]

LIFETIMES: Final[Mapping[Purpose, timedelta]] = {
    "password_reset": timedelta(minutes=60),
    "email_change": timedelta(hours=24),
    "email_confirmation": timedelta(days=7),
    "invitation": timedelta(days=7),
}
KEPT: Final = timedelta(days=30)
"""How long the record of a link stays after it expired."""
_PREFIX: Final = "ml_"
_TOKEN_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for: its subject (a person's or an invitation's id), whose it is, and what was kept with it."""

    subject: str
    person_id: str | None
    company_id: str | None
    data: Mapping[str, Any]
    expires_at: datetime


async def make_link(
    tx: Tx,
    purpose: Purpose,
    subject: str,
    *,
    person_id: str | None = None,
    company_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> str:
    """The token of a new link, good for the lifetime of its purpose; an older open link of purpose and subject is not
    any more. The token goes into a letter and nowhere else; `data` is kept as it is and must hold no secret."""
    token = new_token(_PREFIX)
    row = {"purpose": purpose, "subject": subject, "person_id": person_id, "company_id": company_id}
    await rows.put_link_everywhere(tx, digest_of(token), row, data or {}, LIFETIMES[purpose])
    return token


async def use_link(tx: Tx, purpose: Purpose, token: str) -> Link:
    """The link, used up with your transaction; LinkOver, which does not tell unknown from used, expired or of another
    purpose. Of several uses at the same moment one succeeds."""
    row = await rows.use_link_everywhere(tx, digest_of(token), purpose) if _is_token(token) else None
    if row is None:
        raise LinkOver
    return _link_of(row)


async def find_link(db: Connection, purpose: Purpose, token: str) -> Link | None:
    """The link where it could be used now, left as it is."""
    row = await rows.find_link_everywhere(db, digest_of(token), purpose) if _is_token(token) else None
    return None if row is None else _link_of(row)


async def end_links(tx: Tx, purpose: Purpose, subject: str) -> int:
    """No open link of that purpose and subject is left; how many there were."""
    return await rows.end_links_everywhere(tx, purpose, subject)


async def prune(db: Connection) -> int:
    """Links that expired 30 days ago are gone; how many went."""
    return await rows.prune_links_everywhere(db, KEPT)


def _is_token(text: str) -> bool:
    return text.startswith(_PREFIX) and text.isascii() and len(text) <= _TOKEN_CHARACTERS


def _link_of(row: Record) -> Link:
    return Link(
        subject=str(row["subject"]),
        person_id=None if row["person_id"] is None else str(row["person_id"]),
        company_id=None if row["company_id"] is None else str(row["company_id"]),
        data=orjson.loads(row["data"]),
        expires_at=row["expires_at"],
    )
