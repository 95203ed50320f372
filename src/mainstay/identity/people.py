"""People: global, with memberships in companies, and how they log in."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prometheus_client import Counter

from mainstay.identity import companies, tries
from mainstay.identity.companies import Company
from mainstay.identity.errors import (
    AlreadyMember,
    CompanyNotFound,
    LoginRefused,
    NoCompany,
    PersonSuspended,
    SeveralCompanies,
    TooManyLogins,
)
from mainstay.identity.names import check_email, check_name, find_email_key
from mainstay.identity.passwords import Passwords
from mainstay.identity.queries import sessions as session_rows
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.identity.tokens import LIFETIME, AccessTokens
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.web import refusals
from mainstay.web.roles import Role

LOGINS = Counter("logins_total", "Attempts to log in", ["outcome"], registry=telemetry.REGISTRY)
_MOST_COMPANIES_SHOWN = 100
SESSION_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Person:
    """A person as one company sees them."""

    id: str
    email: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Login:
    """What a successful login gives."""

    access_token: str
    expires_in: timedelta
    person: Person
    company: Company


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
    return person


async def log_in(
    db: Database,
    passwords: Passwords,
    tokens: AccessTokens,
    *,
    email: str,
    password: str,
    company_id: str | None = None,
    address: str = "",
    user_agent: str = "",
) -> Login:
    """A token for the person in the company, and `session.opened` is announced.

    What `recognise` raises. Only behind the right password: NoCompany, CompanyNotFound, SeveralCompanies.
    """
    found = await recognise(db, passwords, email=email, password=password, address=address)
    membership = await _choose(db, str(found.row["id"]), company_id)
    person, company = person_of(found.row, membership), companies.company_of(membership)
    session_id = ids.new_id()
    row = {
        "id": session_id, "person_id": person.id, "kind": "api", "token_hash": None, "user_agent": user_agent,
        "address": address, "is_strong": False,
    }  # fmt: skip
    async with db.begin() as tx:
        await session_rows.insert_session(tx, company.id, row, SESSION_LIFETIME)
        await welcome(tx, found, person, company.id, via="api")
    token = tokens.sign(person_id=person.id, company_id=company.id, session_id=session_id)
    return Login(token, LIFETIME, person, company)


@dataclass(frozen=True, slots=True)
class Recognised:
    """Somebody who gave the right password."""

    row: Record
    fresh_hash: str | None


async def recognise(db: Database, passwords: Passwords, *, email: str, password: str, address: str) -> Recognised:
    """The person with that email and password, not suspended.

    LoginRefused for an unknown email as for a wrong password, after the same work; PersonSuspended only behind the
    right password; TooManyTries before any work. No connection is held while the hash is checked.
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
        raise LoginRefused
    await tries.forgive(db, tried)
    if found["suspended_at"] is not None:
        LOGINS.labels("suspended").inc()
        raise PersonSuspended
    return Recognised(found, verdict.fresh_hash)


async def welcome(tx: Tx, found: Recognised, person: Person, company_id: str, *, via: str) -> None:
    """`session.opened` is announced, and a hash made with old parameters is replaced."""
    if found.fresh_hash is not None:
        await tenant_rows.replace_hash_everywhere(tx, person.id, old=found.row["password_hash"], new=found.fresh_hash)
    actor = Actor(kind="person", id=person.id, name=person.name, email=person.email)
    data: dict[str, Any] = {"personId": person.id, "role": person.role, "via": via}
    await outbox.announce(tx, "session.opened", company_id=company_id, actor=actor, data=data)
    LOGINS.labels("opened").inc()


def person_of(row: Record, membership: Record) -> Person:
    """A person as the company of the membership sees them."""
    return Person(str(row["id"]), row["email"], row["name"], membership["role"])


async def _choose(db: Database, person_id: str, company_id: str | None) -> Record:
    """The membership that the login is for, with its company."""
    if company_id is not None:
        if ids.is_uuid(company_id):
            for one in await tenant_rows.memberships_everywhere(db, person_id, company_id=company_id, most=1):
                return one
        raise CompanyNotFound
    memberships = await tenant_rows.memberships_everywhere(db, person_id, company_id=None, most=_MOST_COMPANIES_SHOWN)
    if not memberships:
        raise NoCompany
    if len(memberships) > 1:
        shown = [{"id": str(m["id"]), "name": m["name"], "slug": m["slug"], "role": m["role"]} for m in memberships]
        raise SeveralCompanies(extra={"companies": shown})
    return memberships[0]
