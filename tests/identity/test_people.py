"""People and memberships: one person an email, whoever inserts and however it is written."""

import asyncio

import asyncpg
import orjson
import pytest

from mainstay import identity
from mainstay.identity import errors, names
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Invalid
from tests.conftest import PASSWORD_COST
from tests.identity.conftest import ACTOR, PASSWORD, add, announced

_INSERT = """insert into mainstay.people (id, email, email_key, name, password_hash)
             values (mainstay.uuid7(), $1, $2, 'Somebody', 'x')"""


async def test_a_person_is_added_and_announced(
    db: Database, passwords: identity.Passwords, company: identity.Company
) -> None:
    person = await add(db, passwords, company, " Ada@Example.COM ", "manager", name="Ada Lane")
    assert (person.email, person.name, person.role) == ("Ada@Example.COM", "Ada Lane", "manager")
    (fact,) = await announced(db, "person.added")
    assert fact["company_id"] == company.id
    assert orjson.loads(fact["data"])["personId"] == person.id
    async with db.connection() as connection:
        stored = await connection.fetchval("select password_hash from mainstay.people")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_the_same_email_in_other_letters_is_the_same_person(
    db: Database,
    passwords: identity.Passwords,
    company: identity.Company,
    other_company: identity.Company,
) -> None:
    first = await add(db, passwords, company, "ada@example.com", "owner", name="Ada Lane")
    second = await add(
        db, passwords, other_company, "\uff21DA@EXAMPLE.com", "staff", name="Impostor", password="another password"
    )
    assert (second.id, second.name, second.email) == (first.id, "Ada Lane", "ada@example.com")
    login = {"email": "Ada@Example.com", "address": ""}
    with pytest.raises(errors.LoginRefused):
        await identity.recognise(db, passwords, password="another password", **login)
    assert str((await identity.recognise(db, passwords, password=PASSWORD, **login)).row["id"]) == first.id
    with pytest.raises(errors.AlreadyMember):
        await add(db, passwords, company, "ADA@example.com", "staff")


async def test_a_person_needs_a_company(db: Database, passwords: identity.Passwords) -> None:
    with pytest.raises(errors.CompanyNotFound):
        async with db.begin() as tx:
            await identity.add_person(
                tx,
                ACTOR,
                "00000000-0000-7000-8000-00000000dead",
                email="a@b.example",
                name="A",
                password_hash=await passwords.hash(PASSWORD),
                role="owner",
            )
    assert await announced(db, "person.added") == []


@pytest.mark.contract("NP-A-11")
@pytest.mark.contract("NP-DB-03")
@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ADA@Example.com", "ada@example.com"),
        ("ADA@example.com", "ada@example.com "),
        ("ADA@EXAMPLE.COM", "ADA@EXAMPLE.COM"),
    ],
    ids=["same", "other case", "other key", "unfolded key"],
)
async def test_the_database_refuses_a_second_person_of_one_email(db: Database, email: str, key: str) -> None:
    async with db.connection() as connection:
        await connection.execute(_INSERT, "ada@example.com", "ada@example.com")
        with pytest.raises((asyncpg.UniqueViolationError, asyncpg.CheckViolationError)):
            await connection.execute(_INSERT, email, key)
        assert await connection.fetchval("select count(*) from mainstay.people") == 1


@pytest.mark.contract("NP-DB-03")
async def test_the_database_refuses_the_later_of_two_connections(db: Database) -> None:
    async with db.connection() as one, db.connection() as two:
        first = one.transaction()
        await first.start()
        await one.execute(_INSERT, "ada@example.com", "ada@example.com")
        waiting = asyncio.create_task(two.execute(_INSERT, "ADA@Example.com", "ada@example.com"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await first.commit()
        with pytest.raises(asyncpg.UniqueViolationError):
            await waiting


async def test_two_registrations_at_the_same_moment_make_one_person(
    db: Database,
    passwords: identity.Passwords,
    company: identity.Company,
    other_company: identity.Company,
) -> None:
    one, two = await asyncio.gather(
        add(db, passwords, company, "ada@example.com", "owner"),
        add(db, passwords, other_company, "ADA@EXAMPLE.COM", "owner"),
    )
    assert one.id == two.id
    both = await asyncio.gather(
        add(db, passwords, company, "bob@example.com", "owner"),
        add(db, passwords, company, "BOB@EXAMPLE.COM", "owner"),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in both) == ["AlreadyMember", "Person"]


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "a@",
        "@b.example",
        "a b@c.example",
        "a@b..example",
        "a..b@c.example",
        ".a@b.example",
        "a@-b.example",
        "a@b.example\x00",
        "a@b.exam\nple",
        "a\u202eb@c.example",
        "a@b@c.example",
        "x" * 65 + "@b.example",
        "a@" + "b" * 64 + ".example",
        "a@" + ".".join(["b" * 60] * 5),
        "a@b_\ud800.example",
    ],
)
def test_addresses_are_refused(email: str) -> None:
    with pytest.raises(Invalid):
        names.check_email(email)


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Ada+tag@Example.com", "ada+tag@example.com"),
        ("x" * 64 + "@b.example", "x" * 64 + "@b.example"),
        ("root@localhost", "root@localhost"),
        ("Straße@bücher.example", "strasse@bücher.example"),
        ("ﬁ@example.com", "fi@example.com"),
        ("K@example.com", "k@example.com"),
    ],
)
def test_addresses_have_one_key(email: str, key: str) -> None:
    assert names.check_email(email)[1] == key


async def test_a_key_that_python_folds_is_a_key_that_the_database_takes(
    db: Database, passwords: identity.Passwords, company: identity.Company
) -> None:
    for email in ("ЁЛКА@example.com", "İ@example.com", "\u13a0\uab70@example.com", "Σς@example.com"):
        assert (await add(db, passwords, company, email, "staff")).email == email
    with pytest.raises(errors.AlreadyMember):
        await add(db, passwords, company, "ёлка@example.com", "staff")


@pytest.mark.parametrize("password", ["", "7 chars", "x" * 1_025, "lone \ud800 surrogate"])
async def test_new_passwords_are_refused(passwords: identity.Passwords, password: str) -> None:
    with pytest.raises(Invalid):
        await passwords.hash(password)


@pytest.mark.parametrize("password", ["8 chars.", "so long " * 128, " spaces stay ", "Пароль-пароль", "nul\x00inside"])
async def test_passwords_are_taken_exactly(passwords: identity.Passwords, password: str) -> None:
    made = await passwords.hash(password)
    assert (await passwords.verify(made, password)).right
    assert not (await passwords.verify(made, password[:-1])).right
    assert not (await passwords.verify(made, password + " ")).right
    assert not (await passwords.verify(made, password.swapcase())).right or password.swapcase() == password


async def test_passwords_are_checked_by_so_many_threads_and_no_more() -> None:
    narrow = identity.Passwords(memory_kib=19 * 1024, passes=2, threads=1, most_waiting=1)
    made = await narrow.hash(PASSWORD)
    results = await asyncio.gather(*(narrow.verify(made, PASSWORD) for _ in range(6)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, errors.TooManyLogins)]
    assert len(refused) == 4
    assert refused[0].status == 503
    assert refused[0].headers["Retry-After"] == "1"
    assert (await narrow.verify(made, PASSWORD)).right
    gone = asyncio.create_task(narrow.verify(made, PASSWORD))
    await asyncio.sleep(0)
    gone.cancel()
    results = await asyncio.gather(*(narrow.verify(made, PASSWORD) for _ in range(1)))
    assert results[0].right
    narrow.close()
    with pytest.raises(errors.TooManyLogins):
        await narrow.verify(made, PASSWORD)


def test_weak_parameters_are_refused_and_the_usual_ones_are_strong() -> None:
    assert (PASSWORD_COST["memory_kib"], PASSWORD_COST["passes"]) == (64 * 1024, 3)
    for weak in ({"memory_kib": 19 * 1024 - 1}, {"passes": 1}):
        with pytest.raises(ValueError, match="at least"):
            identity.Passwords(**weak)


@pytest.mark.contract("NP-DB-02")
async def test_members_by_company_and_role_come_from_an_index(db: Database) -> None:
    async with db.connection() as connection, connection.transaction():
        await connection.execute(
            """insert into mainstay.companies (id, name, slug)
               select mainstay.uuid7(), 'n', 'c' || n from generate_series(1, 40) n"""
        )
        await connection.execute(
            """insert into mainstay.people (id, email, email_key, name, password_hash)
               select mainstay.uuid7(), n || '@x', n || '@x', 'n', 'x' from generate_series(1, 500) n"""
        )
        await connection.execute(
            """insert into mainstay.memberships (company_id, person_id, role)
               select c.id, p.id, case when p.email like '%7@x' then 'owner' else 'staff' end
               from mainstay.companies c cross join mainstay.people p"""
        )
        await connection.execute("analyze mainstay.memberships")
        plan = await connection.fetch(
            "explain select person_id from mainstay.memberships where company_id = $1 and role = 'owner'",
            identity.OPERATOR_COMPANY,
        )
    assert "memberships_company_id_role_idx" in "\n".join(row[0] for row in plan)
