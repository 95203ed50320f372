"""Probe accounts: people who exist for a moment, so that logging in can be tried from end to end."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from mainstay import identity
from mainstay.incidents import queries
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor

PROBE_DOMAIN = "@probe.invalid"
_LEFT_BEHIND = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Probe:
    """Somebody who may log in with that password and do nothing."""

    person_id: str
    email: str
    password: str


async def make_probe(db: Database, passwords: identity.Passwords, actor: Actor) -> Probe:
    """A member of the operators' company, staff without features; probes left behind an hour ago are gone."""
    for left in await queries.old_probes_everywhere(db, PROBE_DOMAIN, _LEFT_BEHIND):
        await remove_probe(db, left)
    email, password = f"probe-{secrets.token_hex(8)}{PROBE_DOMAIN}", secrets.token_urlsafe(24)
    password_hash = await passwords.hash(password)
    async with db.begin() as tx:
        person = await identity.add_person(
            tx, actor, identity.OPERATOR_COMPANY, email=email, name="Login probe", password_hash=password_hash,
            role="staff",
        )  # fmt: skip
    return Probe(person.id, email, password)


async def remove_probe(db: Database, person_id: str) -> None:
    """The probe account is gone with its membership and sessions; nobody else is ever removed by this."""
    async with db.begin() as tx:
        await queries.drop_probe_everywhere(tx, person_id, PROBE_DOMAIN)
