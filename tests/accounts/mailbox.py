"""People with a password, and what comes into their mailboxes."""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from mainstay import accounts, identity, jobs
from mainstay.accounts import resetting
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Record, Sql
from tests.jobs.conftest import until, working
from tests.tenancy import OPERATOR, Tenancy, bearer, test_settings

KEYRING = Keyring("a-test-secret-of-forty-characters-or-so-1")
PASSWORD = "correct horse battery staple"
OTHER = "another horse, another battery"


@dataclass(frozen=True, slots=True)
class Someone:
    """A person of the test's company, and their headers in a session that is fresh."""

    id: str
    email: str
    headers: dict[str, str]


async def add(db: Database, tenancy: Tenancy, *, email: str | None = None, name: str = "Ada Lane") -> Someone:
    """A member who knows PASSWORD."""
    made = await made_of(PASSWORD)
    email = email or f"{secrets.token_hex(6)}@example.com"
    async with db.begin() as tx:
        person = await identity.add_person(
            tx, OPERATOR, tenancy.company_id, email=email, name=name, role="manager", password_hash=made
        )
    return Someone(person.id, person.email, await bearer(db, person.id, tenancy.company_id))


async def made_of(password: str) -> str:
    """The hash of a password."""
    passwords = identity.Passwords()
    made = await passwords.hash(password)
    passwords.close()
    return made


async def letters(db: Database, to: str | None = None) -> list[tuple[str, str, str | None]]:
    """(kind, recipient, link) of the letters that wait, oldest first."""
    found = await accounts.letters.read_letters(db, KEYRING, test_settings(db.dsn))
    every = [(letter.kind, letter.recipient, written.link) for letter, written in reversed(found)]
    return [one for one in every if to is None or one[1] == to]


async def token_of(db: Database, to: str) -> str:
    """The token of the newest link that went to that address."""
    links = [link for _, _, link in await letters(db, to) if link is not None]
    return links[-1].partition("?token=")[2]


async def work(db: Database) -> None:
    """Every request for a new password was answered."""
    queues = [jobs.QueueConfig(resetting.QUEUE, 2)]
    async with working(db, accounts.tasks(db, KEYRING), queues=queues):

        async def is_done() -> bool:
            return not await db.value(Sql("test", "select count(*) from mainstay.jobs"))

        await until(is_done)


async def announced(db: Database, name: str) -> list[dict[str, Any]]:
    """What was announced under that name, oldest first."""
    rows = await db.rows(
        Sql("test", "select company_id, actor, data from mainstay.announcements where name = $1 order by id"), name
    )
    return [{**orjson.loads(row["data"]), "actor": orjson.loads(row["actor"])} for row in rows]


async def sign_in(api: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    """The answer of the login."""
    return await api.post("/api/v1/auth/login", json={"email": email, "password": password})


async def row_of(db: Database, person_id: str) -> Record:
    """The person as stored."""
    row = await db.row(Sql("test", "select * from mainstay.people where id = $1"), person_id)
    assert row is not None
    return row
