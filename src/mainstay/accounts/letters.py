"""Letters to people: written in the transaction of what they tell, sealed, and waiting for a sender."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

import orjson
from prometheus_client import Gauge

from mainstay import identity
from mainstay.accounts import letter_words
from mainstay.accounts.letter_words import Kind, Written
from mainstay.accounts.link_errors import LetterNotFound
from mainstay.accounts.links import LIFETIMES, Purpose
from mainstay.accounts.queries import letters as rows
from mainstay.kernel import ids
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.settings import Settings
from mainstay.kernel.telemetry import REGISTRY

WAITING = Gauge("letters_waiting", "Letters that wait for a sender", ["kind"], registry=REGISTRY)
KEPT: Final = timedelta(days=30)
ENOUGH, ENOUGH_WITHIN = 5, timedelta(hours=1)
"""Letters of one kind that somebody can have sent to a person, whoever asks for them."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter without its content: of what kind, to whom, and until when it has a meaning (None: always)."""

    id: str
    kind: Kind
    recipient: str
    person_id: str | None
    company_id: str | None
    created_at: datetime
    expires_at: datetime | None


async def write_letter(
    tx: Tx,
    keyring: Keyring,
    *,
    to: str,
    kind: Kind,
    data: Mapping[str, str],
    person_id: str | None = None,
    company_id: str | None = None,
    link_token: str | None = None,
    letter_id: str | None = None,
) -> str:
    """The letter waits for a sender, with its data and link sealed; its id. With an id of yours it is written once.

    Invalid where `to` is no address; ValueError where the data or the link that its words need are missing.
    """
    if identity.names.find_email_key(to) is None:
        raise Invalid(faults=[Fault("must be an email address", "#/to")])
    letter_words.check_data(kind, data, has_link=link_token is not None)
    letter_id = letter_id or ids.new_id()
    content = orjson.dumps({"data": dict(data), "token": link_token})
    row = {
        "id": letter_id,
        "kind": kind,
        "recipient": unicodedata.normalize("NFKC", to.strip()),
        "person_id": person_id,
        "company_id": company_id,
        "data": keyring.seal(content, _context(letter_id)),
    }
    lifetime = None if link_token is None else LIFETIMES[cast(Purpose, kind)]
    await rows.insert_letter_everywhere(tx, row, lifetime)
    return letter_id


async def is_enough(db: Connection, person_id: str, kind: Kind) -> bool:
    """Whether the person was written five letters of the kind within the hour, and gets no more of them for now."""
    return await rows.count_recent_letters_everywhere(db, person_id, kind, ENOUGH_WITHIN) >= ENOUGH


async def list_letters(db: Connection, *, before: str | None = None, limit: int = 50) -> list[Letter]:
    """Letters that wait, newest first, without their content."""
    return [_letter_of(row) for row in await rows.list_letters_everywhere(db, before=before, limit=limit)]


async def read_letter(db: Connection, keyring: Keyring, settings: Settings, letter_id: str) -> tuple[Letter, Written]:
    """A letter with its words and its link; LetterNotFound. Whoever shows it shows a way into an account."""
    row = await rows.find_letter_everywhere(db, letter_id) if ids.is_uuid(letter_id) else None
    if row is None:
        raise LetterNotFound
    return _letter_of(row), _words_of(row, keyring, settings)


async def read_letters(
    db: Connection, keyring: Keyring, settings: Settings, *, before: str | None = None, limit: int = 50
) -> list[tuple[Letter, Written]]:
    """Letters that wait, newest first, with their words and links."""
    found = await rows.list_letters_everywhere(db, before=before, limit=limit)
    return [(_letter_of(row), _words_of(row, keyring, settings)) for row in found]


async def count_letters(db: Connection) -> dict[str, int]:
    """How many letters wait, by kind."""
    return {row["kind"]: row["many"] for row in await rows.count_letters_everywhere(db)}


async def measure(db: Connection) -> None:
    """The gauge says how many letters wait."""
    WAITING.clear()
    for kind, many in (await count_letters(db)).items():
        WAITING.labels(kind).set(many)


async def prune(db: Connection) -> int:
    """Letters written 30 days ago are gone; how many went."""
    return await rows.prune_letters_everywhere(db, KEPT)


def _context(letter_id: str) -> bytes:
    return b"letter:" + letter_id.encode()


def _letter_of(row: Record) -> Letter:
    return Letter(
        id=str(row["id"]),
        kind=row["kind"],
        recipient=row["recipient"],
        person_id=None if row["person_id"] is None else str(row["person_id"]),
        company_id=None if row["company_id"] is None else str(row["company_id"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _words_of(row: Record, keyring: Keyring, settings: Settings) -> Written:
    content = orjson.loads(keyring.open(row["data"], _context(str(row["id"]))))
    return letter_words.write(
        row["kind"],
        content["data"],
        content["token"],
        at=row["created_at"],
        brand=settings.brand,
        base_url=settings.base_url,
    )
