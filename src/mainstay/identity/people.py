"""People: global, with memberships in companies, recognised by email and password."""

from dataclasses import dataclass

from prometheus_client import Counter

from mainstay.identity import cached, companies, tries
from mainstay.identity.errors import AlreadyMember, LoginRefused, PersonSuspended, TooManyLogins
from mainstay.identity.names import check_email, check_name, find_email_key
from mainstay.identity.passwords import Passwords
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.web import refusals
from mainstay.web.roles import Role

LOGINS = Counter("logins_total", "Attempts to log in", ["outcome"], registry=telemetry.REGISTRY)
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Person:
    """A person as one company sees them."""

    id: str
    email: str
    name: str
    role: Role


async def add_person(
    tx: Tx, actor: Actor, company_id: str, *, email: str, name: str, password_hash: str, role: Role
) -> Person:
    """The person is a member with that role and `person.added` is announced; CompanyNotFound, AlreadyMember, Invalid.

    Somebody who exists already, by the normalised email, keeps name and password and gains the membership.
    `password_hash` comes from `Passwords.hash`, which is awaited before the transaction begins.
    """
    shown, key = check_email(email)
    name = check_name(name)
    if not password_hash.startswith("$argon2id$"):
        raise ValueError("password_hash must be made by Passwords.hash")
    await companies.get_company(tx, company_id)
    row = {"id": ids.new_id(), "email": shown, "email_key": key, "name": name, "password_hash": password_hash}
    found = await tenant_rows.insert_person_everywhere(tx, row) or await tenant_rows.find_person_everywhere(tx, key)
    if found is None:
        raise AlreadyMember("Somebody else already has this email.")
    person = Person(str(found["id"]), found["email"], found["name"], role)
    if not await tenant_rows.insert_membership(tx, company_id, person.id, role):
        raise AlreadyMember
    data = {"personId": person.id, "email": person.email, "name": person.name, "role": role}
    await outbox.announce(tx, "person.added", company_id=company_id, actor=actor, data=data)
    await cached.clear_company(tx, company_id)
    return person


@dataclass(frozen=True, slots=True)
class Recognised:
    """Somebody who gave the right password."""

    row: Record
    fresh_hash: str | None


async def recognise(db: Database, passwords: Passwords, *, email: str, password: str, address: str) -> Recognised:
    """The person with that email and password, not suspended.

    LoginRefused for an unknown email as for a wrong password, after the same work; PersonSuspended only behind the
    right password; TooManyTries before any work. No connection is held while the hash is checked. A wrong password of
    somebody we know is announced as `login.failed`, where they signed in last.
    """
    key = find_email_key(email)
    refusals.about(email=email)
    tried = await tries.begin(db, email_key=key, address=address)
    found = None if key is None else await tenant_rows.find_person_everywhere(db, key)
    try:
        verdict = await passwords.verify(None if found is None else found["password_hash"], password)
    except TooManyLogins:
        await tries.forgive(db, tried)
        raise
    if found is not None:
        refusals.about(person_id=str(found["id"]))
    if found is None or not verdict.right:
        LOGINS.labels("refused").inc()
        async with db.begin() as tx:
            await _announce_failed(tx, found, address)
        raise LoginRefused
    await tries.forgive(db, tried)
    if found["suspended_at"] is not None:
        LOGINS.labels("suspended").inc()
        raise PersonSuspended
    LOGINS.labels("recognised").inc()
    return Recognised(found, verdict.fresh_hash)


async def _announce_failed(tx: Tx, found: Record | None, address: str) -> None:
    """Nothing of a person is known by how long it takes: somebody unknown is asked for as well."""
    person_id = _NOBODY if found is None else str(found["id"])
    company_id = await tenant_rows.last_company_everywhere(tx, person_id)
    if found is not None:
        actor = Actor(kind="anonymous", id="", name="Somebody without the password")
        data = {"personId": person_id, "address": address}
        await outbox.announce(tx, "login.failed", company_id=company_id, actor=actor, data=data)
