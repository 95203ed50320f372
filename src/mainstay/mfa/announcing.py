"""What the room announces of a person: in each of their companies, with one of them to tell the person from."""

from collections.abc import Mapping
from typing import Any

from mainstay import identity
from mainstay.kernel import outbox
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.mfa.queries import people as people_rows


def person_actor(row: Record) -> Actor:
    """The person as the author of an announcement."""
    return Actor(kind="person", id=str(row["id"]), name=row["name"], email=row["email"])


async def announce(
    tx: Tx,
    name: str,
    *,
    actor: Actor,
    person: Record,
    data: Mapping[str, Any] | None = None,
    company_id: str | None = None,
) -> None:
    """Each company of the person learns of it, the given one (else that of the newest session) with `tellPerson`."""
    person_id = str(person["id"])
    await identity.cached.clear_person(tx, person_id)
    companies = await people_rows.companies_of_everywhere(tx, person_id)
    first = company_id or next(iter(companies), None)
    told = {"personId": person_id, "name": person["name"], "email": person["email"], **(data or {})}
    for one in dict.fromkeys((first, *companies)):
        await outbox.announce(tx, name, company_id=one, actor=actor, data={**told, "tellPerson": one == first})
