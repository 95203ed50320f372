"""People with an app that shows codes, at a clock that stands."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import orjson
import pytest

from mainstay import identity, mfa
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.web.callers import Caller
from tests.conftest import SqlClock
from tests.mfa.rfc6238 import code_at
from tests.tenancy import OPERATOR, Tenancy, bearer

SECRET = "a master secret of 32 characters or more"
AT = "/api/v1/auth/mfa"


@dataclass
class Someone:
    """A person with the secret that their app keeps and the recovery codes that they put away."""

    caller: Caller
    clock: SqlClock
    now: datetime
    secret: str = ""
    recovery: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.caller.id

    def code(self, offset: int = 0) -> str:
        """What the app shows, or would so many steps later."""
        return code_at(self.secret, int((self.now + self.clock.offset).timestamp()) // 30 + offset)

    def wrong(self) -> str:
        """Six digits that no step around now has."""
        near = {self.code(offset) for offset in range(-5, 6)}
        return next(text for text in (f"{number:06d}" for number in range(100)) if text not in near)


class People:
    """Makes people of the test's company."""

    def __init__(self, db: Database, keyring: Keyring, tenancy: Tenancy, clock: SqlClock, now: datetime) -> None:
        self.db = db
        self.keyring = keyring
        self.tenancy = tenancy
        self.clock = clock
        self.now = now

    async def add(self, role: Any = "owner", *, company_id: str | None = None, password_hash: str = "") -> Someone:
        """A member without a second factor."""
        company_id = company_id or self.tenancy.company_id
        email = f"{secrets.token_hex(6)}@example.com"
        async with self.db.begin() as tx:
            person = await identity.add_person(
                tx, OPERATOR, company_id, email=email, name="Ada Lane", role=role,
                password_hash=password_hash or "$argon2id$unused",
            )  # fmt: skip
        caller = Caller(kind="person", id=person.id, name="Ada Lane", company_id=company_id, role=role, email=email)
        return Someone(caller, self.clock, self.now)

    async def begin(self, one: Someone) -> Someone:
        """The same with a factor that waits."""
        setup = await mfa.set_up(self.db, self.keyring, one.caller, issuer="NovaPulse")
        one.secret, one.recovery = setup.secret, tuple(setup.recovery_codes)
        return one

    async def with_factor(self, role: Any = "owner", **more: Any) -> Someone:
        """A member whose factor is on; its newest code is that of three steps ago."""
        one = await self.begin(await self.add(role, **more))
        await mfa.verify(self.db, self.keyring, one.caller, one.code())
        await self.forget_step(one)
        return one

    async def forget_step(self, one: Someone) -> None:
        """As if the app's codes had not been used."""
        async with self.db.begin() as tx:
            await tx.connection.execute("update mainstay.mfa_factors set last_step = null where person_id = $1", one.id)

    async def challenge(self, one: Someone) -> str:
        """The token of an open challenge."""
        async with self.db.begin() as tx:
            return await mfa.challenge(tx, one.id, one.caller.company_id, via="api")

    async def headers(self, one: Someone, *, is_fresh: bool = True) -> dict[str, str]:
        """The credential of a session of the person."""
        return await bearer(self.db, one.id, one.caller.company_id, is_fresh=is_fresh)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(SECRET)


@pytest.fixture
async def people(db: Database, keyring: Keyring, tenancy: Tenancy, sql_clock: SqlClock) -> People:
    return People(db, keyring, tenancy, sql_clock, await sql_clock.stop())


@pytest.fixture
def owners(api: httpx.AsyncClient, people: People) -> People:
    """The same people, whose secrets the running application can open."""
    people.keyring = Keyring("a-test-secret-of-forty-characters-or-so-1")
    return people


async def announced(db: Database, name: str) -> list[tuple[str | None, dict[str, Any]]]:
    """Company and data of what was announced under that name."""
    async with db.connection() as connection:
        found = await connection.fetch(
            "select company_id::text, data::text from mainstay.announcements where name = $1 order by id", name
        )
    return [(row["company_id"], orjson.loads(row["data"])) for row in found]
