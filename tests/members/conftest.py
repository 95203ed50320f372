"""A company with people of each role, and letters that can be opened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest

from mainstay import accounts, identity
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from tests.tenancy import OPERATOR, Tenancy, bearer, test_settings

MEMBERS, INVITES, DEPARTMENTS, COMPANY = (f"/api/v1/{one}" for one in ("members", "invites", "departments", "company"))
PASSWORD = "correct horse battery staple"
TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
Headers = dict[str, str]


@dataclass
class Crew:
    """One company: people by name, with their ids and the headers with which they call."""

    api: httpx.AsyncClient
    db: Database
    tenancy: Tenancy
    ids: dict[str, str] = field(default_factory=dict)
    headers: dict[str, Headers] = field(default_factory=dict)

    async def add(self, name: str, role: Any, *, hashed: str = "$argon2id$unused", is_fresh: bool = True) -> str:
        """Somebody more with that role; their id."""
        async with self.db.begin() as tx:
            person = await identity.add_person(
                tx, OPERATOR, self.tenancy.company_id, email=f"{name}@example.com", name=name.title(),
                password_hash=hashed, role=role,
            )  # fmt: skip
        self.ids[name] = person.id
        self.headers[name] = await bearer(self.db, person.id, self.tenancy.company_id, is_fresh=is_fresh)
        return person.id

    async def call(self, method: str, path: str, by: str = "owner", **more: Any) -> httpx.Response:
        """The answer to that person."""
        return await self.api.request(method, path, headers={**self.headers[by], **more.pop("headers", {})}, **more)

    async def done(self, method: str, path: str, by: str = "owner", **more: Any) -> Any:
        """The content of an answer that was no refusal."""
        answer = await self.call(method, path, by, **more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def invited(self, email: str, role: str = "staff", by: str = "owner", **more: Any) -> tuple[Any, str]:
        """An invitation, and the token of the newest letter to that address."""
        made = await self.done("POST", INVITES, by, json={"email": email, "role": role, **more})
        return made, await self.token(email)

    async def token(self, email: str) -> str:
        """The token in the newest letter to that address."""
        settings = test_settings(self.db.dsn)
        keyring = Keyring(settings.secret)
        for letter, words in await accounts.letters.read_letters(self.db, keyring, settings):
            if letter.recipient == email and words.link is not None:
                return parse_qs(urlsplit(words.link).query)["token"][0]
        raise AssertionError(f"no letter with a link to {email}")

    async def letters(self, email: str) -> list[str]:
        """The kinds of the letters to that address, newest first."""
        return [one.kind for one in await accounts.letters.list_letters(self.db) if one.recipient == email]

    async def announced(self, *names: str) -> list[tuple[str, dict[str, Any]]]:
        """What was announced under those names, or all of it, in order, with the actor's id as `by`."""
        async with self.db.connection() as connection:
            found = await connection.fetch(
                "select name, data, actor->>'id' as by, company_id from mainstay.announcements order by id"
            )
        return [
            (row["name"], {**orjson.loads(row["data"]), "by": row["by"], "company": str(row["company_id"])})
            for row in found
            if row["name"] in names
        ]


def refused(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem of a refusal with that status and that code at the end of its type."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    if code is not None:
        assert problem["type"].endswith(code), problem
    return problem


def pointers(answer: httpx.Response, status: int = 400) -> list[str]:
    """What a refusal points at."""
    return [fault["pointer"] for fault in refused(answer, status)["errors"]]


async def crew_of(api: httpx.AsyncClient, db: Database, tenancy: Tenancy, names: Sequence[str]) -> Crew:
    """The company with somebody of each role, who is named after it."""
    crew = Crew(api, db, tenancy)
    for name in names:
        await crew.add(name, name)
    return crew


@pytest.fixture
async def crew(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> Crew:
    """An owner, a manager and somebody of the staff."""
    return await crew_of(api, db, tenancy, ("owner", "manager", "staff"))
