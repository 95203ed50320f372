"""Sessions of people: opened by the right password, over in time or at once, and guesses are bounded."""

import asyncio
from datetime import timedelta

import orjson
import pytest

from mainstay import accounts, identity
from mainstay.identity import errors, sessions, tries
from mainstay.kernel import crypto
from mainstay.kernel.cache import Cache
from mainstay.kernel.cache_stores import Memory
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import NotFound
from tests.conftest import SqlClock
from tests.identity.conftest import PASSWORD, add, announced
from tests.tenancy import test_settings

SETTINGS = test_settings("postgresql://nobody@127.0.0.1/none")
CACHE = Cache(Memory(), identity.cached.FAMILIES)


@pytest.fixture
def opened(db: Database, callers: identity.Identity) -> identity.Sessions:
    return identity.Sessions(db, callers.tokens)


@pytest.fixture
def ground(db: Database, callers: identity.Identity, passwords: identity.Passwords) -> accounts.Ground:
    """What people sign in on at the console."""
    return accounts.Ground(db, Keyring("a master secret of 32 characters or more"), passwords, callers, SETTINGS, CACHE)


@pytest.fixture
async def ada(db: Database, passwords: identity.Passwords, company: identity.Company) -> identity.Person:
    return await add(db, passwords, company, "ada@example.com", "owner")


async def sign_in(
    ground: accounts.Ground, email: str = "ada@example.com", *, password: str = PASSWORD, address: str = "192.0.2.1"
) -> str:
    """A session's token."""
    arrival = accounts.Arrival("console", address, "Browser/1\n" + "x" * 300)
    outcome = await accounts.sign_in(ground, arrival, email=email, password=password)
    assert isinstance(outcome, accounts.SignedIn)
    return outcome.opened.token


async def sign_out(ground: accounts.Ground, session: identity.Session, *, everywhere: bool = False) -> None:
    async with ground.db.begin() as tx:
        if everywhere:
            await accounts.end_sessions(tx, session.caller)
        else:
            await accounts.end_session(tx, session.caller, session.id)


async def test_a_session_knows_its_person_and_place_and_the_database_not_its_token(
    db: Database, opened: identity.Sessions, ground: accounts.Ground, company: identity.Company, ada: identity.Person
) -> None:
    token = await sign_in(ground)
    session = await opened.read(token)
    assert (session.caller.id, session.caller.role, session.caller.email) == (ada.id, "owner", "ada@example.com")
    assert (session.caller.company_id, session.company_name, session.workspace_id) == (company.id, "Acme Ltd", "")
    async with db.connection() as connection:
        row = await connection.fetchrow("select * from mainstay.sessions")
    assert row["token_hash"] == crypto.digest_of(token)
    assert token not in str(dict(row))
    assert row["user_agent"] == "Browser/1" + "x" * 191
    (fact,) = await announced(db, "session.opened")
    assert orjson.loads(fact["data"])["via"] == "console"


@pytest.mark.parametrize("token", ["", "ms_", "ms_" + "x" * 43, "no token", "ms_\u00e9", "x" * 10_000])
async def test_what_is_no_token_opens_nothing(token: str, opened: identity.Sessions) -> None:
    with pytest.raises(errors.SessionOver):
        await opened.read(token)


async def test_an_idle_session_ends_after_12_hours_and_a_used_one_after_7_days(
    opened: identity.Sessions, ground: accounts.Ground, ada: identity.Person, sql_clock: SqlClock
) -> None:
    idle, used = await sign_in(ground), await sign_in(ground)
    await sql_clock.move(timedelta(hours=11, minutes=59))
    await opened.read(used)
    await sql_clock.move(timedelta(minutes=1))
    with pytest.raises(errors.SessionOver):
        await opened.read(idle)
    for _ in range(13):
        await opened.read(used)
        await sql_clock.move(timedelta(hours=11, minutes=59))
    await opened.read(used)
    await sql_clock.move(timedelta(minutes=13))
    with pytest.raises(errors.SessionOver):
        await opened.read(used)


async def test_signing_out_ends_one_session_or_all(
    db: Database, opened: identity.Sessions, ground: accounts.Ground, ada: identity.Person
) -> None:
    tokens = [await sign_in(ground) for _ in range(3)]
    first = await opened.read(tokens[0])
    await sign_out(ground, first)
    with pytest.raises(NotFound):
        await sign_out(ground, first)
    with pytest.raises(errors.SessionOver):
        await opened.read(tokens[0])
    await sign_out(ground, await opened.read(tokens[1]), everywhere=True)
    for token in tokens:
        with pytest.raises(errors.SessionOver):
            await opened.read(token)
    facts = [orjson.loads(fact["data"])["sessions"] for fact in await announced(db, "session.ended")]
    assert facts == [1, 2]


@pytest.mark.parametrize(
    "change",
    ["update mainstay.people set suspended_at = mainstay.now()", "delete from mainstay.memberships"],
)
async def test_a_person_who_may_not_any_more_is_out_at_once(
    change: str,
    db: Database,
    opened: identity.Sessions,
    ground: accounts.Ground,
    company: identity.Company,
    ada: identity.Person,
) -> None:
    token = await sign_in(ground)
    session = await opened.read(token)
    assert await opened.working(company.id, [session.id]) == {session.id}
    async with db.connection() as connection:
        await connection.execute(change)
    with pytest.raises(errors.SessionOver):
        await opened.read(token)
    assert await opened.working(company.id, [session.id]) == set()


async def test_a_session_moves_only_where_its_person_is_a_member(
    db: Database,
    opened: identity.Sessions,
    ground: accounts.Ground,
    passwords: identity.Passwords,
    company: identity.Company,
    other_company: identity.Company,
    workspace: identity.Workspace,
    ada: identity.Person,
) -> None:
    token = await sign_in(ground)
    session = await opened.read(token)
    for company_id, workspace_id in (
        (other_company.id, ""), ("no-uuid", ""), (company.id, "no-uuid"), (company.id, other_company.id),
    ):  # fmt: skip
        with pytest.raises(errors.CompanyNotFound):
            await opened.move(session, company_id=company_id, workspace_id=workspace_id)
    await opened.move(session, company_id=company.id, workspace_id=workspace.id)
    moved = await opened.read(token)
    assert (moved.workspace_id, moved.workspace_name) == (workspace.id, "Production")
    await add(db, passwords, other_company, "ada@example.com", "staff")
    with pytest.raises(errors.CompanyNotFound):
        await opened.move(session, company_id=other_company.id, workspace_id=workspace.id)
    await opened.move(session, company_id=other_company.id)
    moved = await opened.read(token)
    assert (moved.caller.company_id, moved.caller.role, moved.workspace_id) == (other_company.id, "staff", "")
    assert (await opened.read(await sign_in(ground))).caller.company_id == other_company.id
    assert [one.id for one in await opened.companies(ada.id)] == sorted([company.id, other_company.id])


async def test_the_eleventh_wrong_password_is_not_looked_at(
    ground: accounts.Ground, ada: identity.Person, sql_clock: SqlClock
) -> None:
    for email in ("ada@example.com", "nobody@example.com"):
        for n in range(tries.MOST_FOR_AN_EMAIL):
            with pytest.raises(errors.LoginRefused):
                await sign_in(ground, email, password="wrong", address=f"192.0.2.{n}")
        with pytest.raises(errors.TooManyTries) as refusal:
            await sign_in(ground, email.upper(), address="192.0.2.200")
        assert refusal.value.headers == {"Retry-After": "600"}
    with pytest.raises(errors.TooManyTries):
        await sign_in(ground, address="198.51.100.7")
    await sql_clock.move(tries.WINDOW)
    await sign_in(ground, address="198.51.100.7")


async def test_an_address_may_fail_fifty_times_and_right_passwords_do_not_count(
    opened: identity.Sessions, ground: accounts.Ground, db: Database, ada: identity.Person
) -> None:
    for _ in range(3):
        await sign_in(ground)
    for n in range(tries.MOST_FROM_AN_ADDRESS):
        await tries.begin(db, email_key=f"p-{n}@example.com", address="192.0.2.1")
    with pytest.raises(errors.TooManyTries):
        await sign_in(ground)
    await sign_in(ground, address="192.0.2.2")


async def test_simultaneous_guesses_are_counted_each(db: Database) -> None:
    async def guess(n: int) -> bool:
        try:
            await tries.begin(db, email_key="ada@example.com", address=f"192.0.2.{n}")
        except errors.TooManyTries:
            return False
        return True

    allowed = await asyncio.gather(*(guess(n) for n in range(30)))
    assert sum(allowed) == tries.MOST_FOR_AN_EMAIL


async def test_old_sessions_and_counts_go(
    db: Database, opened: identity.Sessions, ground: accounts.Ground, ada: identity.Person, sql_clock: SqlClock
) -> None:
    await sign_in(ground)
    await sql_clock.move(identity.SESSION_LIFETIME + sessions.KEPT)
    token = await sign_in(ground)
    assert await sessions.prune(db) == 2, "a session, and tries from where nobody had signed in before"
    await sql_clock.move(tries.WINDOW + timedelta(seconds=1))
    assert await sessions.prune(db) == 2
    await opened.read(token)
