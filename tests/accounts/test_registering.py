"""Registering: a company with its owner, once for an address in whatever form, and nothing half-made."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from mainstay.kernel.db import Database, Sql
from tests.accounts.mailbox import announced, letters
from tests.accounts.signing import AUTH, PASSWORD, SignedIn, me

GOOD: dict[str, Any] = {"companyName": "Acme Ltd", "name": "Ada Lane", "email": "Ada@example.com", "password": PASSWORD}
_COUNTS = Sql("t", "select (select count(*) from mainstay.companies) || ' ' || (select count(*) from mainstay.people)")


async def register(api: httpx.AsyncClient, **change: Any) -> httpx.Response:
    answer = await api.post(f"{AUTH}/register", json={**GOOD, **change})
    api.cookies.clear()
    return answer


@pytest.mark.contract("NP-A-06")
async def test_a_company_and_its_owner_are_made_once_for_an_address(api: httpx.AsyncClient, db: Database) -> None:
    answer = await register(api, dataRegion="US")
    assert answer.status_code == 201
    told = answer.json()
    assert (told["person"]["role"], told["person"]["email"], told["company"]["name"]) == (
        "owner", "Ada@example.com", "Acme Ltd",
    )  # fmt: skip
    assert await me(api, SignedIn.of(answer)) == 200
    (fact,) = await announced(db, "person.registered")
    assert (fact["personId"], fact["actor"]["id"]) == (told["person"]["id"], told["person"]["id"])
    kinds = [(kind, to, link is not None) for kind, to, link in await letters(db)]
    assert kinds == [("email_confirmation", "Ada@example.com", True)]
    assert "token=" not in str(told) + str(await announced(db, "person.registered"))
    counts = await db.value(_COUNTS)
    for email in ("Ada@example.com", "ADA@EXAMPLE.COM", "\uff21da@example.com", " ada@example.com "):
        taken = await register(api, email=email)
        assert (taken.status_code, taken.json()["code"]) == (409, "email-taken")
    assert await db.value(_COUNTS) == counts


@pytest.mark.contract("NP-A-11")
async def test_the_database_itself_refuses_a_second_person_of_an_address(api: httpx.AsyncClient, db: Database) -> None:
    await register(api)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.run(
            Sql("t", """insert into mainstay.people (id, email, email_key, name, password_hash)
                        values (gen_random_uuid(), 'ADA@example.com', 'other key', 'N', '')""")
        )  # fmt: skip


async def test_of_two_at_the_same_moment_one_succeeds(api: httpx.AsyncClient, db: Database) -> None:
    answers = await asyncio.gather(*(register(api, email=email) for email in ("ada@example.com", "ADA@example.com")))
    assert sorted(one.status_code for one in answers) == [201, 409]
    assert await db.value(Sql("t", "select count(*) from mainstay.companies where name = 'Acme Ltd'")) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"companyName": ""}, "#/companyName"),
        ({"companyName": "Acme\r\nBcc: x@example.com"}, "#/companyName"),
        ({"name": "Ada\nX-Header: 1"}, "#/name"),
        ({"name": "x" * 201}, "#/name"),
        ({"email": "ada"}, "#/email"),
        ({"email": "ada@example.com\r\nBcc: x@example.com"}, "#/email"),
        ({"password": "short"}, "#/password"),
        ({"password": "password1"}, "#/password"),
        ({"password": "Acme Ltd"}, "#/password"),
        ({"dataRegion": "MARS"}, "#/dataRegion"),
        ({"role": "owner"}, "#"),
    ],
)
async def test_what_is_wrong_is_pointed_at_and_nothing_is_made(
    api: httpx.AsyncClient, db: Database, change: dict[str, Any], pointer: str
) -> None:
    counts = await db.value(_COUNTS)
    answer = await register(api, **change)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert await db.value(_COUNTS) == counts
