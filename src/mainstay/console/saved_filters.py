"""Filters of the list of events that a person keeps under a name, in one company; nobody else sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from mainstay.console import queries
from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault, Invalid, NotFound

SAVED_AT_MOST: Final = 30
NAME_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Saved:
    """Filters under a name, as the address of the list has them."""

    id: str
    name: str
    filters: dict[str, str]


async def save(tx: Tx, company_id: str, person_id: str, *, name: str, filters: Mapping[str, str]) -> str:
    """The person has the filters under that name, in place of what had it; the name as it is kept.

    Invalid for a name that is none, for no filters, and past 30.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable():
        raise Invalid(faults=[Fault(f"must have 1 to {NAME_CHARACTERS} characters", "name")])
    if not filters:
        raise Invalid("There is no filter to save: set one first.")
    await queries.lock_saved(tx, company_id, person_id)
    if await queries.count_saved(tx, company_id, person_id, besides=name) >= SAVED_AT_MOST:
        raise Invalid(f"You keep {SAVED_AT_MOST} filters already: delete one first.")
    text = orjson.dumps(dict(filters)).decode()
    await queries.save(tx, company_id, person_id, saved_id=ids.new_id(), name=name, filters=text)
    return name


async def list_saved(db: Connection, company_id: str, person_id: str) -> list[Saved]:
    """What the person keeps, by name."""
    rows = await queries.list_saved(db, company_id, person_id)
    return [Saved(str(row["id"]), row["name"], orjson.loads(row["filters"])) for row in rows]


async def delete(tx: Tx, company_id: str, person_id: str, saved_id: str) -> None:
    """The person does not keep it any more. NotFound."""
    if not ids.is_uuid(saved_id) or not await queries.delete_saved(tx, company_id, person_id, saved_id):
        raise NotFound("You keep no such filter.")
