"""Sessions: seen and ended by their person, bounded in time and number, over on every node at the next request."""

from datetime import timedelta

import httpx
import pytest

from mainstay import accounts, identity
from mainstay.accounts.ground import is_same_device, network_of
from mainstay.identity.queries.sessions import move_session
from mainstay.kernel.db import Database, Sql
from tests.accounts.mailbox import announced
from tests.accounts.signing import AUTH, PASSWORD, SignedIn, add, log_in, me
from tests.conftest import SqlClock, running_app
from tests.console.site import csrf_of
from tests.tenancy import Tenancy, open_tenancy

ADA = "ada@example.com"


@pytest.fixture
async def ada(db: Database, tenancy: Tenancy) -> str:
    """The id of the company's owner."""
    return await add(db, tenancy.company_id, ADA)


async def test_a_person_sees_their_sessions_and_ends_one(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    bob = await add(db, tenancy.company_id, "bob@example.com", "manager")
    theirs = await log_in(api, "bob@example.com")
    api.headers["user-agent"] = "Browser/1 <b>"
    first, second = await log_in(api, ADA), await log_in(api, ADA)
    shown = (await api.get(f"{AUTH}/sessions", headers=second.auth)).json()["data"]
    assert [(one["id"], one["isCurrent"]) for one in shown] == [(second.session_id, True), (first.session_id, False)]
    assert {(one["kind"], one["device"], one["address"]) for one in shown} == {("api", "Browser/1 <b>", "127.0.0.1")}
    assert shown[0].keys() >= {"createdAt", "lastUsedAt", "expiresAt", "companyName"}
    for strange in (theirs.session_id, "no-uuid", bob):
        assert (await api.delete(f"{AUTH}/sessions/{strange}", headers=second.auth)).status_code == 404
    path = f"{AUTH}/sessions/{first.session_id}"
    assert (await api.delete(path, headers=second.auth)).status_code == 204
    assert (await api.delete(path, headers=second.auth)).status_code == 404
    assert [await me(api, one) for one in (first, second, theirs)] == [401, 200, 200]
    everywhere = await api.post(f"{AUTH}/logout-everywhere", headers=second.auth)
    assert everywhere.json() == {"ended": 1}
    assert [await me(api, one) for one in (second, theirs)] == [401, 200]
    assert [fact["reason"] for fact in await announced(db, "session.ended")] == [
        "ended_by_person", "signed_out_everywhere",
    ]  # fmt: skip


@pytest.mark.contract("NP-A-03")
async def test_nodes_remember_nothing_and_agree_at_once(
    fresh_url: str, api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    one, other = await log_in(api, ADA), await log_in(api, ADA)
    async with running_app(fresh_url) as second:
        assert [await me(node, one) for node in (api, second)] == [200, 200]
        again = SignedIn.of(await second.post(f"{AUTH}/refresh", json={"refreshToken": one.refresh}))
        second.cookies.clear()
        assert await me(api, again) == 200
        assert (await api.post(f"{AUTH}/logout", headers=again.auth)).status_code == 204
        assert [await me(node, again) for node in (second, api)] == [401, 401]
        suspend = "update mainstay.memberships set suspended_at = {} where company_id = $1"
        await db.run(Sql("t", suspend.format("now()")), tenancy.company_id)
        assert [await me(node, other) for node in (api, second)] == [401, 401]
        await db.run(Sql("t", suspend.format("null")), tenancy.company_id)
    async with running_app(fresh_url) as restarted:
        assert await me(restarted, other) == 200


@pytest.mark.parametrize(
    ("minutes", "hours", "idle", "lifetime"),
    [(None, None, timedelta(hours=12), timedelta(days=7)), (5, 1, timedelta(minutes=5), timedelta(hours=1))],
)
async def test_a_session_ends_idle_or_old_as_its_company_has_it(
    api: httpx.AsyncClient, db: Database, ada: str, sql_clock: SqlClock,
    minutes: int | None, hours: int | None, idle: timedelta, lifetime: timedelta,
) -> None:  # fmt: skip
    await sql_clock.stop()
    await db.run(
        Sql("t", "update mainstay.companies set session_idle_minutes = $1, session_lifetime_hours = $2"), minutes, hours
    )
    left, used = await log_in(api, ADA), await log_in(api, ADA)
    step = idle - timedelta(seconds=1)
    await sql_clock.move(step)
    assert await me(api, used) == 200
    await sql_clock.move(timedelta(seconds=1))
    assert [await me(api, one) for one in (left, used)] == [401, 200]
    # That it was used is written down once a minute.
    step = idle - timedelta(minutes=2)
    while sql_clock.offset + step < lifetime:
        await sql_clock.move(step)
        assert await me(api, used) == 200
    await sql_clock.move(lifetime - sql_clock.offset - timedelta(seconds=1))
    assert await me(api, used) == 200
    await sql_clock.move(timedelta(seconds=1))
    assert await me(api, used) == 401


async def test_a_shorter_lifetime_acts_on_sessions_that_are_open(
    api: httpx.AsyncClient, db: Database, ada: str, sql_clock: SqlClock
) -> None:
    signed_in = await log_in(api, ADA)
    await sql_clock.move(timedelta(hours=2))
    assert await me(api, signed_in) == 200
    await db.run(Sql("t", "update mainstay.companies set session_lifetime_hours = 1"))
    assert await me(api, signed_in) == 401
    assert (await api.post(f"{AUTH}/refresh", json={"refreshToken": signed_in.refresh})).status_code == 401


async def test_the_oldest_of_too_many_sessions_ends(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    first = await log_in(api, ADA)
    many = Sql(
        "t",
        """insert into mainstay.sessions (id, person_id, company_id, user_agent, kind, expires_at)
           select ('ffffffff-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, $2, '', 'api',
                  now() + interval '1 h'
           from generate_series(1, $3::int) n""",
    )
    await db.run(many, ada, tenancy.company_id, accounts.MOST_OPEN - 1)
    assert await me(api, first) == 200
    await log_in(api, ADA)
    assert await me(api, first) == 401
    opened = Sql("t", "select count(*) from mainstay.sessions where ended_at is null")
    assert await db.value(opened) == accounts.MOST_OPEN


async def test_stepping_up_makes_a_fresh_session_in_the_place_of_the_old_one(
    api: httpx.AsyncClient, db: Database, ada: str, sql_clock: SqlClock
) -> None:
    stale = await log_in(api, ADA)
    await sql_clock.move(timedelta(minutes=16))
    setup = f"{AUTH}/mfa/setup"
    refused = await api.post(setup, headers=stale.auth)
    assert (refused.status_code, refused.json()["code"]) == (403, "step-up-required")
    for body, status in (({}, 400), ({"code": "123456"}, 400), ({"password": "wrong password"}, 403)):
        assert (await api.post(f"{AUTH}/step-up", json=body, headers=stale.auth)).status_code == status
    fresh = SignedIn.of(await api.post(f"{AUTH}/step-up", json={"password": PASSWORD}, headers=stale.auth))
    api.cookies.clear()
    assert fresh.session_id != stale.session_id
    assert await me(api, stale) == 401
    assert (await api.post(f"{AUTH}/refresh", json={"refreshToken": stale.refresh})).status_code == 401
    assert (await api.post(setup, headers=fresh.auth)).status_code == 200
    ends = "select count(distinct expires_at) from mainstay.sessions"
    assert await db.value(Sql("t", ends)) == 1, "it lives no longer for that"


async def test_a_session_is_switched_to_another_company_of_the_person(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    other, strange = await open_tenancy(db), await open_tenancy(db)
    await add(db, other.company_id, ADA, "staff")
    here = await log_in(api, ADA, companyId=tenancy.company_id)
    elsewhere = await log_in(api, ADA, companyId=tenancy.company_id)
    api.cookies.clear()
    for company_id in (strange.company_id, "no-uuid"):
        body = {"companyId": company_id, "refreshToken": here.refresh}
        assert (await api.post(f"{AUTH}/switch", json=body, headers=here.auth)).status_code == 404
    for token in (None, "", elsewhere.refresh):
        body = {"companyId": other.company_id, "refreshToken": token}
        refused = await api.post(f"{AUTH}/switch", json=body, headers=here.auth)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/refreshToken")
    body = {"companyId": other.company_id, "refreshToken": here.refresh}
    there = SignedIn.of(await api.post(f"{AUTH}/switch", json=body, headers=here.auth))
    api.cookies.clear()
    assert (await api.post(f"{AUTH}/refresh", json={"refreshToken": here.refresh})).status_code == 401
    seen = (await api.get(f"{AUTH}/me", headers=there.auth)).json()
    assert (seen["companyId"], seen["role"]) == (other.company_id, "staff")
    assert await me(api, here) == 401


async def test_a_session_that_goes_to_another_company_lasts_no_longer_than_there(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    other = await open_tenancy(db)
    await add(db, other.company_id, ADA, "staff")
    longest = Sql("t", "select max(expires_at - created_at) from mainstay.sessions where ended_at is null")
    lasting = Sql("t", "update mainstay.companies set session_lifetime_hours = $1 where id = $2")
    await db.run(lasting, 720, tenancy.company_id)
    here = await log_in(api, ADA, companyId=tenancy.company_id)
    assert await db.value(longest) == timedelta(days=30)
    body = {"companyId": other.company_id, "refreshToken": here.refresh}
    there = SignedIn.of(await api.post(f"{AUTH}/switch", json=body, headers=here.auth))
    assert await db.value(longest) == identity.SESSION_LIFETIME
    await db.run(lasting, 24, tenancy.company_id)
    assert await move_session(db, there.session_id, tenancy.company_id, None, identity.SESSION_LIFETIME)
    assert await db.value(longest) == timedelta(days=1)


async def test_signing_out_of_the_console_takes_the_cookies_of_the_api_along(api: httpx.AsyncClient, ada: str) -> None:
    await api.post(f"{AUTH}/login", json={"email": ADA, "password": PASSWORD})
    page = await api.get("/console/place")
    answer = await api.post("/console/sign-out", data={"csrf": csrf_of(page.text)})
    assert answer.status_code == 303
    assert "mainstay_access" not in api.cookies
    assert (await api.get("/console")).status_code == 303


def test_a_device_is_known_by_its_network() -> None:
    assert network_of("203.0.113.9") == network_of("203.0.113.200") == network_of("::ffff:203.0.113.1")
    assert network_of("203.0.114.9") != network_of("203.0.113.9")
    assert network_of("2001:db8:1:2::3") == network_of("2001:db8:1:ffff::1") != network_of("2001:db8:2::1")
    assert is_same_device("203.0.113.9", ["", "10.0.0.1"])
    assert is_same_device("testclient", ["testclient"])
    assert not is_same_device("203.0.113.9", ["10.0.0.1", "testclient"])
    assert not is_same_device("203.0.113.9", [])
