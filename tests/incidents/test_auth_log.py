"""The authentication log: one readable entry for each refusal, wherever it happened, and nothing secret in it."""

import secrets
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from mainstay import incidents
from mainstay.incidents import auth_log
from mainstay.incidents.kinds import kind_of
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Forbidden, MainstayError, TooManyRequests, Unauthenticated, Unavailable
from mainstay.web.refusals import Refusal, Subject
from tests.conftest import SqlClock, running_app
from tests.console.site import PASSWORD, people_of, sign_in
from tests.tenancy import Tenancy, bearer

TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
LOG = "/internal/auth-log"
ALL = Sql("test.log", "select *, l::text as whole from mainstay.auth_log l order by id")
KEYRING = Keyring("a-test-secret-of-forty-characters-or-so-1")


def refusal(
    error: MainstayError, path: str = "/api/v1/x", *, address: str = "203.0.113.9", person: str = "", **headers: str
) -> Refusal:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Refusal(error, Subject(person_id=person), "GET", path, path, sent, (address, 1))


@pytest.mark.contract("DR-A-11")
async def test_each_refusal_leaves_one_readable_entry_without_secrets(db: Database, tenancy: Tenancy) -> None:
    emails = await people_of(db, tenancy.company_id)
    ids = Sql("test.id", "select id::text from mainstay.people where email = $1")
    owner, staff = await db.value(ids, emails["owner"]), await db.value(ids, emails["staff"])
    person = await bearer(db, staff, tenancy.company_id)
    ended = await bearer(db, owner, tenancy.company_id)
    await db.value(
        Sql("test.end", "update mainstay.sessions set ended_at = mainstay.now() where person_id = $1 returning 1"),
        owner,
    )
    wrong, bad = f"wrong-{secrets.token_hex(8)}", f"bad-{secrets.token_hex(8)}"
    async with running_app(db.dsn) as api:
        agent = {"user-agent": "probe/1"}
        login = {"email": emails["owner"], "password": wrong}
        assert (await api.post("/api/v1/auth/login", json=login, headers=agent)).status_code == 401
        for headers in ({"authorization": f"Bearer {bad}"}, ended, {}):
            assert (await api.get("/api/v1/company/usage", headers=headers)).status_code == 401
        assert (await api.get("/api/v1/company/erasures", headers=person)).status_code == 403
        assert (await api.get("/v1/key/company", headers={"x-api-key": f"mk_co_{bad}"})).status_code == 401
        assert (await api.post("/v1/key/workspace/events", headers={"x-api-key": bad}, json={})).status_code == 401
        assert (await api.get(LOG, headers={"x-internal-token": bad})).status_code == 401
        async with httpx.AsyncClient(transport=api._transport, base_url="http://test") as browser:
            assert (await sign_in(browser, emails["staff"], wrong)).status_code == 401
            await sign_in(browser, emails["staff"])
            assert (await browser.get("/console/erasures")).status_code == 403
            assert (await browser.post("/console/theme", data={"csrf": "x"})).status_code == 403
            browser.cookies.set("mainstay_session", "ms_" + bad)
            assert (await browser.get("/console")).status_code == 303
        assert (await api.get("/console")).status_code == 303
    found = await db.rows(ALL)
    assert sorted((row["kind"], row["route"], str(row["person_id"] or "")) for row in found) == sorted(
        [
            ("login_failed", "/api/v1/auth/login", owner),
            ("bad_token", "/api/v1/company/usage", ""),
            ("session_over", "/api/v1/company/usage", owner),
            ("no_token", "/api/v1/company/usage", ""),
            ("role_refused", "/api/v1/company/erasures", staff),
            ("key_refused", "/v1/key/company", ""),
            ("key_refused", "/v1/key/workspace/events", ""),
            ("operator_refused", LOG, ""),
            ("login_failed", "/console/sign-in", staff),
            ("role_refused", "/console/erasures", staff),
            ("form_refused", "/console/theme", staff),
            ("session_over", "/console", ""),
        ]
    )
    for row in found:
        assert (row["times"], row["address"], len(row["trace_id"])) == (1, "127.0.0.1", 32)
        for secret in (wrong, bad, PASSWORD, emails["owner"], emails["staff"], ended["authorization"][7:]):
            assert secret not in row["whole"]
    (first,) = [row for row in found if row["route"] == "/api/v1/auth/login"]
    assert (first["user_agent"], first["reason"], first["method"]) == ("probe/1", "login-refused", "POST")


async def test_operators_read_it_by_page_and_by_what_they_look_for(api: httpx.AsyncClient, db: Database) -> None:
    log, person = incidents.AuthLog(KEYRING), "01991c8e-0000-7000-8000-000000000001"
    log.note(refusal(Unauthenticated(), authorization="Bearer x"))
    log.note(refusal(Forbidden("Your role may not do this."), person=person, address="203.0.113.10"))
    await log.flush_once(db)
    await api.post("/api/v1/auth/login", json={"email": "Ada@Example.com", "password": "x"})

    async def read(query: str) -> list[dict[str, Any]]:
        answer = await api.get(f"{LOG}?{query}", headers=TOKEN)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    assert [one["kind"] for one in await read("limit=2")] == ["role_refused", "bad_token"]
    assert [one["personId"] for one in await read(f"personId={person}")] == [person]
    assert [one["address"] for one in await read("address=203.0.113.9")] == ["203.0.113.9"]
    assert await read("kind=login_failed&until=2020-01-01T00:00:00Z") == []
    page = (await api.get(f"{LOG}?limit=1", headers=TOKEN)).json()
    cursor = page["meta"]["nextCursor"]
    assert [one["kind"] for one in await read(f"limit=1&cursor={cursor}")] == ["bad_token"]
    for query in ("kind=x", "personId=x", "companyId=%00", "since=yesterday", "limit=0", "limit=1001", "limit=x",
                  "cursor=x", "address=%07", "unknown=1", "since=2026-01-01T00:00:00"):  # fmt: skip
        assert (await api.get(f"{LOG}?{query}", headers=TOKEN)).status_code == 400, query


async def test_an_email_is_found_by_its_digest_letter_case_aside_under_older_secrets_too(db: Database) -> None:
    log = incidents.AuthLog(KEYRING)
    one = refusal(Unauthenticated(), authorization="Bearer x")
    log.note(Refusal(one.error, Subject(email="Ada@Example.com"), "POST", one.path, one.route, one.headers, one.client))
    await log.flush_once(db)
    newer = Keyring("another-test-secret-of-forty-characters-1", [KEYRING._secrets[0].decode()])
    for keyring, email, count in (
        (KEYRING, "ada@example.com", 1),
        (newer, "ADA@example.com", 1),
        (KEYRING, "b@b.b", 0),
    ):
        found = await incidents.read_log(db, keyring, incidents.Filters(email=email), limit=10)
        assert len(found) == count


async def test_a_flood_is_folded_and_what_finds_no_room_is_counted(db: Database) -> None:
    log = incidents.AuthLog(KEYRING)
    for number in range(100):
        log.note(refusal(Unauthenticated(), f"/api/v1/{number}", authorization="Bearer x"))
        log.note(refusal(Unauthenticated(), "/api/v1/same", address="203.0.113.1", authorization="Bearer x"))
    assert await log.flush_once(db) == auth_log.MOST_OF_AN_ADDRESS + 2
    rows = await db.rows(ALL)
    assert sum(row["times"] for row in rows) == 200
    assert {row["reason"]: row["times"] for row in rows if row["times"] > 1} == {
        "several": 80, Unauthenticated().detail: 100,
    }  # fmt: skip
    before = auth_log.LOST._value.get()
    for number in range(auth_log.MOST_WAITING + 7):
        log.note(refusal(Unauthenticated(), address=f"10.0.{number // 250}.{number % 250}", authorization="Bearer x"))
    assert auth_log.LOST._value.get() - before == 7
    assert await log.flush_once(db) == auth_log.MOST_WAITING


async def test_entries_wait_for_a_database_that_does_not_take_them(db: Database) -> None:
    log = incidents.AuthLog(KEYRING)
    log.note(refusal(Unauthenticated(), authorization="Bearer x"))
    await db.run(Sql("test.away", "alter table mainstay.auth_log rename to away"))
    with pytest.raises(asyncpg.UndefinedTableError):
        await log.flush_once(db)
    await db.run(Sql("test.back", "alter table mainstay.away rename to auth_log"))
    log.note(refusal(Unauthenticated(), authorization="Bearer x"))
    assert await log.flush_once(db) == 1
    (row,) = await db.rows(ALL)
    assert row["times"] == 2


async def test_entries_are_kept_for_90_days(db: Database, sql_clock: SqlClock) -> None:
    log = incidents.AuthLog(KEYRING)
    log.note(refusal(Unauthenticated(), authorization="Bearer x"))
    await log.flush_once(db)
    await sql_clock.move(timedelta(days=89, hours=23))
    assert await auth_log.prune(db) == 0
    await sql_clock.move(timedelta(hours=2))
    assert await auth_log.prune(db) == 1


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (refusal(Unauthenticated(), authorization="Bearer x"), "bad_token"),
        (refusal(Unauthenticated(), authorization="Bearer x", person="p"), "session_over"),
        (refusal(Unauthenticated(), cookie="a=b; mainstay_access=x"), "bad_token"),
        (refusal(Unauthenticated(), cookie="a=b"), "no_token"),
        (refusal(Unauthenticated(), "/console"), None),
        (refusal(Unauthenticated(), "/metrics"), "operator_refused"),
        (refusal(Unauthenticated(), "/v1/pull/x"), "key_refused"),
        (refusal(Unauthenticated(), "/e/x"), "key_refused"),
        (refusal(Forbidden()), "role_refused"),
        (refusal(TooManyRequests(), "/api/v1/auth/login"), "login_failed"),
        (refusal(TooManyRequests()), None),
        (refusal(Unavailable()), None),
        (refusal(incidents.Restricted()), "restricted"),
    ],
    ids=str,
)
def test_kinds(given: Refusal, kind: str | None) -> None:
    assert kind_of(given) == kind


def test_headers_cannot_write_into_the_log() -> None:
    log = incidents.AuthLog(KEYRING, SystemClock())
    log.note(refusal(Unauthenticated(), user_agent="a\x00b\r\nc" + "x" * 500, person="no id", authorization="x"))
    (entry,) = log._waiting
    assert entry.user_agent == "abc" + "x" * 197
    assert entry.person_id is None
