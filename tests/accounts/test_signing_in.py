"""Logging in: what opens, what refusals tell, cookies and the CSRF token that goes with them."""

import asyncio
import re
from typing import Any

import argon2
import httpx
import pytest

from mainstay.identity import tries
from mainstay.identity.errors import TooManyTries
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Unauthenticated
from tests.accounts.mailbox import announced, letters
from tests.accounts.signing import AUTH, PASSWORD, SignedIn, add, log_in, me
from tests.conftest import running_app
from tests.tenancy import Tenancy, open_tenancy

ADA = "ada@example.com"


@pytest.fixture
async def ada(db: Database, tenancy: Tenancy) -> str:
    """The id of the company's owner."""
    return await add(db, tenancy.company_id, ADA)


@pytest.mark.contract("NP-A-05")
async def test_the_right_password_gives_tokens_that_open(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    answer = await api.post(f"{AUTH}/login", json={"email": "ADA@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert (told["tokenType"], told["expiresIn"], told["mfaSetupRequired"]) == ("Bearer", 900, False)
    assert told["person"] == {"id": ada, "email": ADA, "name": "Ada Lane", "role": "owner"}
    assert told["company"]["id"] == tenancy.company_id
    api.cookies.clear()
    seen = (await api.get(f"{AUTH}/me", headers={"authorization": f"Bearer {told['accessToken']}"})).json()
    assert (seen["id"], seen["companyId"], seen["sessionId"]) == (ada, tenancy.company_id, told["sessionId"])
    (fact,) = await announced(db, "session.opened")
    assert (fact["actor"]["id"], fact["via"], fact["method"]) == (ada, "api", "password")


@pytest.mark.contract("NP-A-05")
async def test_an_unknown_email_and_a_wrong_password_get_the_same_answer_after_the_same_work(
    api: httpx.AsyncClient, db: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[str] = []
    real = argon2.PasswordHasher.verify
    monkeypatch.setattr(argon2.PasswordHasher, "verify", lambda self, h, p: (work.append(h), real(self, h, p))[1])
    told = []
    for email, password in (
        (ADA, "wrong password"), ("nobody@example.com", PASSWORD), ("not an address", PASSWORD),
        ("nul\u0000@example.com", PASSWORD), ("ada@example.com\r\nBcc: x@example.com", PASSWORD),
    ):  # fmt: skip
        answer = await api.post(f"{AUTH}/login", json={"email": email, "password": password})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        told.append({key: value for key, value in answer.json().items() if key != "requestId"})
    assert all(one == told[0] for one in told)
    assert len({made.rsplit("$", 2)[0] for made in work}) == 1
    assert len(work) == 5
    assert await announced(db, "session.opened") == []
    failed = await announced(db, "login.failed")
    assert [(fact["personId"], fact["actor"]["kind"]) for fact in failed] == [(ada, "anonymous")]
    assert PASSWORD not in str(failed) + str(told)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"email": "a@b.example"}, "#"),
    ({"email": 1, "password": "x"}, "#/email"),
    ({"email": "a@b.example", "password": "x", "remember": True}, "#"),
    ({"email": "", "password": "x"}, "#/email"),
    ({"email": "a" * 321, "password": "x"}, "#/email"),
    ({"email": "a@b.example", "password": "x" * 1025}, "#/password"),
    ({"email": "a@b.example", "password": "x", "companyId": "y" * 37}, "#/companyId"),
]


async def test_bad_logins_are_told_what_is_wrong(api: httpx.AsyncClient) -> None:
    for body, pointer in BAD:
        answer = await api.post(f"{AUTH}/login", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer), body


async def test_bodies_that_are_not_json_are_refused(api: httpx.AsyncClient) -> None:
    for body in (b"", b"{", b'{"email": "a@b", "password": "\xff"}', b"[" * 5000, b'"\\ud800"'):
        assert (await api.post(f"{AUTH}/login", content=body)).status_code == 400
    assert (await api.post(f"{AUTH}/login", content=b" " * 16_385)).status_code == 413
    form = {"content-type": "text/plain"}
    assert (await api.post(f"{AUTH}/login", content=b"{}", headers=form)).status_code in (400, 415)


@pytest.mark.contract("DR-A-09")
async def test_who_has_several_companies_must_name_one_and_differs_between_them(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, ada: str
) -> None:
    other = await open_tenancy(db)
    await add(db, other.company_id, ADA, "staff")
    right = {"email": ADA, "password": PASSWORD}
    several = await api.post(f"{AUTH}/login", json=right)
    assert several.status_code == 409
    roles = {one["id"]: one["role"] for one in several.json()["companies"]}
    assert roles == {tenancy.company_id: "owner", other.company_id: "staff"}
    wrong = await api.post(f"{AUTH}/login", json={**right, "password": "wrong password"})
    assert (wrong.status_code, "companies" in wrong.json()) == (401, False)
    for stranger in ("00000000-0000-7000-8000-000000000000", "no-uuid"):
        assert (await api.post(f"{AUTH}/login", json={**right, "companyId": stranger})).status_code == 404
    here = await log_in(api, ADA, companyId=tenancy.company_id.upper())
    there = await log_in(api, ADA, companyId=other.company_id)
    owners_act = "/api/v1/company/mfa"
    assert (await api.get(owners_act, headers=here.auth)).status_code == 200
    assert (await api.get(owners_act, headers=there.auth)).status_code == 403
    await db.run(
        Sql("t", "update mainstay.memberships set suspended_at = now() where company_id = $1"), other.company_id
    )
    assert await me(api, there) == 401
    assert await me(api, here) == 200
    await log_in(api, ADA)
    await db.run(Sql("t", "delete from mainstay.memberships"))
    assert (await api.post(f"{AUTH}/login", json=right)).status_code == 403


async def test_a_hash_of_older_parameters_is_renewed_at_login(api: httpx.AsyncClient, db: Database, ada: str) -> None:
    older = argon2.PasswordHasher(time_cost=2, memory_cost=24 * 1024, parallelism=1).hash(PASSWORD)
    await db.run(Sql("t", "update mainstay.people set password_hash = $1"), older)
    await log_in(api, ADA)
    assert (await db.value(Sql("t", "select password_hash from mainstay.people"))).startswith("$argon2id$v=19$m=19456")
    await log_in(api, ADA)


async def test_ten_thousand_tries_are_cheap_after_the_tenth(
    api: httpx.AsyncClient, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[str] = []
    real = argon2.PasswordHasher.verify
    monkeypatch.setattr(argon2.PasswordHasher, "verify", lambda self, h, p: (work.append(h), real(self, h, p))[1])
    statuses = [
        (await api.post(f"{AUTH}/login", json={"email": ADA, "password": f"guess {n}"})).status_code for n in range(40)
    ]
    assert (statuses, len(work)) == ([401] * 10 + [429] * 30, 10)


async def test_strangers_who_guess_lock_nobody_out_of_where_they_are_at_home(
    api: httpx.AsyncClient, db: Database, ada: str
) -> None:
    at_home = await log_in(api, ADA)

    async def guess(address: str) -> None:
        await tries.begin(db, email_key=ADA, address=address)

    for n in range(tries.MOST_FOR_AN_EMAIL):
        await guess(f"192.0.2.{n}")
    for address in ("192.0.2.99", "2001:db8::1", ""):
        with pytest.raises(TooManyTries):
            await guess(address)
    await log_in(api, ADA)
    proof = {"password": PASSWORD}
    assert (await api.post(f"{AUTH}/step-up", json=proof, headers=at_home.auth)).status_code == 200
    for _ in range(tries.MOST_FOR_AN_EMAIL):
        await guess("127.0.0.1")
    with pytest.raises(TooManyTries):
        await guess("127.0.0.1")


async def test_the_addresses_of_one_ipv6_host_are_one(db: Database) -> None:
    for n in range(tries.MOST_FROM_AN_ADDRESS):
        await tries.begin(db, email_key=f"p-{n}@example.com", address=f"2001:db8::{n + 1:x}")
    with pytest.raises(TooManyTries):
        await tries.begin(db, email_key="other@example.com", address="2001:db8::ffff")
    await tries.begin(db, email_key="other@example.com", address="2001:db8:0:1::1")


@pytest.mark.contract("DR-A-01")
async def test_the_cookie_alone_opens_pages_and_routes_and_a_changed_one_does_not(
    api: httpx.AsyncClient, ada: str
) -> None:
    answer = await api.post(f"{AUTH}/login", json={"email": ADA, "password": PASSWORD})
    access = answer.json()["accessToken"]
    assert api.cookies["mainstay_access"] == access
    assert access.count(".") == 2
    assert (await api.get(f"{AUTH}/me")).status_code == 200
    assert (await api.get("/console")).status_code == 200
    place = len(access) // 2
    tampered = access[:place] + ("A" if access[place] != "A" else "B") + access[place + 1 :]
    api.cookies.clear()
    cookie = {"cookie": f"mainstay_access={tampered}"}
    assert (await api.get(f"{AUTH}/me", headers=cookie)).status_code == 401
    page = await api.get("/console", headers=cookie)
    assert (page.status_code, page.headers["location"].startswith("/console/sign-in")) == (303, True)
    assert (await api.get("/console", headers={**cookie, "hx-request": "true"})).status_code == 401


async def test_cookies_always_have_their_flags(fresh_url: str, db: Database, ada: str) -> None:
    for public, secure in (("http://127.0.0.1:8080", False), ("https://ops.example.com", True)):
        async with running_app(fresh_url, PUBLIC_URL=public) as api:
            answer = await api.post(f"{AUTH}/login", json={"email": ADA, "password": PASSWORD})
            # Nothing of what a request's cookies look like comes back: what we set has the flags.
            bare = {"cookie": f"mainstay_access={answer.json()['accessToken']}"}
            api.cookies.clear()
            ended = await api.post(f"{AUTH}/logout", headers={**bare, "x-csrf-token": answer.json()["csrfToken"]})
        assert ended.status_code == 204
        for found in (answer, ended):
            cookies = {one.partition("=")[0]: one.lower() for one in found.headers.get_list("set-cookie")}
            assert set(cookies) == {"mainstay_access", "mainstay_refresh"}
            assert all("httponly" in one and "samesite=lax" in one for one in cookies.values())
            assert all(("secure" in one) is secure for one in cookies.values())
            assert re.search(r"path=/(;|$)", cookies["mainstay_access"])
            assert "path=/api/v1/auth" in cookies["mainstay_refresh"]


async def test_by_cookie_nothing_is_changed_without_the_token_of_the_session(
    api: httpx.AsyncClient, db: Database, ada: str
) -> None:
    other = await log_in(api, ADA)
    mine = SignedIn.of(await api.post(f"{AUTH}/login", json={"email": ADA, "password": PASSWORD}))
    change = {"title": "Captain"}
    for token in (None, "", "x", other.csrf, mine.csrf[:-1], mine.csrf + "x", mine.csrf.encode() + b"\xff"):
        headers: Any = {} if token is None else {"x-csrf-token": token}
        refused = await api.patch(f"{AUTH}/me", json=change, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf-refused")
        assert (await api.post(f"{AUTH}/refresh", json={}, headers=headers)).status_code == 403
    assert (await api.get(f"{AUTH}/me")).json()["title"] is None
    assert (await api.patch(f"{AUTH}/me", json=change, headers={"x-csrf-token": mine.csrf})).status_code == 200
    api.cookies.set("mainstay_access", mine.access)
    assert (await api.patch(f"{AUTH}/me", json=change, headers=other.auth)).status_code == 200, "the bearer counts"
    assert (await api.get(f"{AUTH}/me", headers={"authorization": "Bearer wrong"})).status_code == 401


async def test_a_cookie_from_before_never_becomes_signed_in(api: httpx.AsyncClient, ada: str) -> None:
    planted = await log_in(api, ADA)
    await api.post(f"{AUTH}/logout", headers=planted.auth)
    api.cookies.set("mainstay_access", planted.access)
    api.cookies.set("mainstay_refresh", planted.refresh)
    fresh = await log_in(api, ADA)
    assert fresh.session_id != planted.session_id
    assert await me(api, planted) == 401
    refused = await api.post(f"{AUTH}/refresh", json={"refreshToken": planted.refresh})
    assert refused.status_code == 401


async def test_a_new_device_is_told_of_and_a_known_one_is_not(
    fresh_url: str, api: httpx.AsyncClient, db: Database, ada: str
) -> None:
    for agent in ("Browser/1", "Browser/1", "Browser/2\r\n", "Browser/2"):
        api.headers["user-agent"] = agent.strip()
        await log_in(api, ADA)
    assert [fact["isNewDevice"] for fact in await announced(db, "session.opened")] == [True, False, True, False]
    assert [kind for kind, _, _ in await letters(db, ADA)] == ["new_device", "new_device"]
    await db.run(Sql("t", "update mainstay.sessions set address = '203.0.113.9'"))
    await log_in(api, ADA)
    assert (await announced(db, "session.opened"))[-1]["isNewDevice"]


async def test_suspended_people_are_told_behind_the_right_password_alone(
    api: httpx.AsyncClient, db: Database, ada: str
) -> None:
    signed_in = await log_in(api, ADA)
    await db.run(Sql("t", "update mainstay.people set suspended_at = now()"))
    assert await me(api, signed_in) == 401
    assert (await api.post(f"{AUTH}/login", json={"email": ADA, "password": PASSWORD})).status_code == 403
    assert (await api.post(f"{AUTH}/login", json={"email": ADA, "password": "wrong"})).status_code == 401
    assert (await api.post(f"{AUTH}/refresh", json={"refreshToken": signed_in.refresh})).status_code == 401


def test_a_refusal_names_its_scheme() -> None:
    assert Unauthenticated().headers == {"WWW-Authenticate": "Bearer"}


async def test_a_login_under_way_counts_what_changes_before_its_session_stands(
    api: httpx.AsyncClient, db: Database, ada: str
) -> None:
    async def begun(change: str) -> httpx.Response:
        """The answer of a login that waits while the person is changed so."""
        body = {"email": ADA, "password": PASSWORD}
        async with asyncio.timeout(20), db.begin() as tx:
            await tx.run(Sql("t", "select from mainstay.people where id = $1 for update"), ada)
            login = asyncio.create_task(api.post(f"{AUTH}/login", json=body))
            waiting = Sql("t", "select exists (select from pg_locks where not granted)")
            while not await db.value(waiting):
                await asyncio.sleep(0.01)
            await tx.run(Sql("t", f"update mainstay.people set {change} = mainstay.now() where id = $1"), ada)
        return await login

    changed = await begun("password_changed_at")
    assert (changed.status_code, changed.json()["code"]) == (409, "password-changed-meanwhile")
    assert "accessToken" not in (await begun("mfa_enabled_at")).json()
    assert await db.value(Sql("t", "select count(*) from mainstay.sessions")) == 0
