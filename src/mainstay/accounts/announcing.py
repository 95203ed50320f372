"""What the room announces of a person: each of their companies learns of it."""

from collections.abc import Mapping
from typing import Any

from mainstay import identity
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.outbox import Actor


def actor_of(person: Record) -> Actor:
    """The person as the author of an announcement."""
    return Actor(kind="person", id=str(person["id"]), name=person["name"], email=person["email"])


async def announce(tx: Tx, name: str, *, actor: Actor, person_id: str, data: Mapping[str, Any]) -> None:
    """Every company of the person has the fact on record; that of nobody's member the operator's. What is cached of the
    person is read anew."""
    await identity.cached.clear_person(tx, person_id)
    companies = await rows.companies_of_everywhere(tx, person_id)
    found: list[str | None] = [str(one["id"]) for one in companies]
    for company_id in found or [None]:
        await outbox.announce(tx, name, company_id=company_id, actor=actor, data={"personId": person_id, **data})
