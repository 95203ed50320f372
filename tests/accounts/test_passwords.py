"""Changing a password, forgetting it, and choosing another by a link: what ends, who is told, and what never tells."""

import asyncio
from datetime import timedelta

import httpx

from mainstay import accounts
from mainstay.accounts import resetting
from mainstay.kernel.db import Database, Sql
from tests.accounts import mailbox
from tests.accounts.mailbox import (
    KEYRING,
    OTHER,
    PASSWORD,
    add,
    announced,
    letters,
    made_of,
    sign_in,
    token_of,
    work,
)
from tests.conftest import SqlClock
from tests.mfa.conftest import People
from tests.tenancy import Tenancy, bearer

AT = "/api/v1/auth/password"


async def reset(api: httpx.AsyncClient, token: str, password: str = OTHER) -> httpx.Response:
    return await api.post(f"{AT}/reset", json={"token": token, "newPassword": password})


async def forget(api: httpx.AsyncClient, email: str) -> httpx.Response:
    return await api.post(f"{AT}/forgot", json={"email": email})


async def is_signed_in(api: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    answer = await api.get("/api/v1/auth/mfa", headers=headers)
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


async def test_a_changed_password_ends_the_other_sessions_and_tells_the_person(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    elsewhere = await bearer(db, ada.id, tenancy.company_id)
    body = {"currentPassword": PASSWORD, "newPassword": OTHER, "keepOtherSessions": True}
    answer = await api.post(AT, json=body, headers=ada.headers)
    assert (answer.status_code, answer.json()) == (200, {"data": {"sessionsEnded": 0}})
    assert await is_signed_in(api, elsewhere)
    body = {"currentPassword": OTHER, "newPassword": PASSWORD}
    answer = await api.post(AT, json=body, headers=ada.headers)
    assert answer.json() == {"data": {"sessionsEnded": 1}}
    assert not await is_signed_in(api, elsewhere)
    assert await is_signed_in(api, ada.headers)
    assert await letters(db) == [("password_changed", ada.email, None)] * 2
    assert [fact["sessionsEnded"] for fact in await announced(db, "password.changed")] == [0, 1]
    assert (await mailbox.row_of(db, ada.id))["password_changed_at"] is not None
    assert (await sign_in(api, ada.email, OTHER)).status_code == 401
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 200


async def test_a_bad_new_password_is_refused_with_its_reason(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    for new, why in (
        ("7 chars", "8 to 1024"),
        ("Password123", "tried first"),
        ("Ada-Lane-2026", "names"),
        ("NovaPulse 1", "names"),
        ("Test company 7", "names"),
        (PASSWORD, "differ"),
    ):
        answer = await api.post(AT, json={"currentPassword": PASSWORD, "newPassword": new}, headers=ada.headers)
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "#/newPassword"
        assert why in error["detail"]
    assert await letters(db) == []


async def test_the_current_password_is_needed_and_guesses_are_bounded(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    body = {"currentPassword": "not this one", "newPassword": OTHER}
    answers = [await api.post(AT, json=body, headers=ada.headers) for _ in range(11)]
    assert [one.status_code for one in answers] == [403] * 10 + [429]
    assert answers[0].json()["code"] == "wrong-password"
    assert answers[-1].headers["retry-after"] == "600"
    right = {"currentPassword": PASSWORD, "newPassword": OTHER}
    assert (await api.post(AT, json=right, headers=ada.headers)).status_code == 429
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 200, "who holds a session locks nobody out"


async def test_of_two_changes_at_the_same_moment_one_counts(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    bodies = [{"currentPassword": PASSWORD, "newPassword": f"{OTHER} {number}"} for number in range(2)]
    answers = await asyncio.gather(*(api.post(AT, json=body, headers=ada.headers) for body in bodies))
    assert sorted(one.status_code for one in answers)[0] == 200
    assert sorted(one.status_code for one in answers)[1] in (403, 409)
    assert len(await letters(db)) == 1


async def test_a_forgotten_password_is_replaced_by_a_link_and_ends_every_session(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    assert (await forget(api, ada.email.upper())).status_code == 202
    await work(db)
    assert [(kind, to) for kind, to, _ in await letters(db)] == [("password_reset", ada.email)]
    (asked,) = await announced(db, "password.reset_requested")
    assert (asked["email"], asked["actor"]["kind"]) == (ada.email, "job")
    token = await token_of(db, ada.email)
    for weak in ("short", "password123"):
        assert (await reset(api, token, weak)).json()["errors"][0]["pointer"] == "#/newPassword"
    answer = await reset(api, token)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await is_signed_in(api, ada.headers)
    assert (await reset(api, token)).json()["code"] == "link-over"
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 401
    assert (await sign_in(api, ada.email, OTHER)).status_code == 200
    assert [kind for kind, _, _ in await letters(db)][:2] == ["password_reset", "password_changed"]
    (fact,) = await announced(db, "password.reset")
    assert (fact["personId"], fact["sessionsEnded"]) == (ada.id, 1)
    assert token not in str(fact) + str(asked)
    assert (await mailbox.row_of(db, ada.id))["email_confirmed_at"] is not None


async def test_of_several_resets_by_one_link_one_counts(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    ada = await add(db, tenancy)
    async with db.begin() as tx:
        token = await accounts.links.make_link(tx, "password_reset", ada.id, person_id=ada.id)
    answers = await asyncio.gather(*(reset(api, token, f"{OTHER} {number}") for number in range(4)))
    assert sorted(one.status_code for one in answers) == [204, 400, 400, 400]
    assert len(await letters(db)) == 1


async def test_a_reset_does_not_go_past_its_time_or_a_suspension(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    await sql_clock.stop()
    ada = await add(db, tenancy)
    async with db.begin() as tx:
        token = await accounts.links.make_link(tx, "password_reset", ada.id, person_id=ada.id)
        other = await accounts.links.make_link(tx, "email_confirmation", ada.id, person_id=ada.id)
    assert (await reset(api, other)).json()["code"] == "link-over"
    await db.run(Sql("test", "update mainstay.people set suspended_at = mainstay.now() where id = $1"), ada.id)
    assert (await reset(api, token)).json()["code"] == "link-over"
    await db.run(Sql("test", "update mainstay.people set suspended_at = null where id = $1"), ada.id)
    await sql_clock.move(timedelta(minutes=60))
    assert (await reset(api, token)).json()["code"] == "link-over"
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 200


async def test_asking_tells_nobody_whether_an_address_is_known(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    """Answer and work are the same: one job, whose content nobody can read; the worker alone looks the address up."""
    ada, bob = await add(db, tenancy), await add(db, tenancy)
    await db.run(Sql("test", "update mainstay.people set suspended_at = mainstay.now() where id = $1"), bob.id)
    answers = [await forget(api, email) for email in (ada.email, bob.email, "nobody@example.com")]
    assert {(one.status_code, one.content) for one in answers} == {(202, answers[0].content)}
    stored = await db.rows(Sql("test", "select kind, payload::text as payload from mainstay.jobs"))
    assert [row["kind"] for row in stored] == [resetting.FORGOT] * 3
    assert len({len(row["payload"]) for row in stored}) <= 2
    assert "example.com" not in str([row["payload"] for row in stored])
    assert await letters(db) == []
    await work(db)
    assert [to for _, to, _ in await letters(db)] == [ada.email]
    assert (await forget(api, "no address")).status_code == 400


async def test_five_letters_within_the_hour_are_enough(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    ada = await add(db, tenancy)
    for _ in range(5):
        async with db.begin() as tx:
            await accounts.write_letter(
                tx, KEYRING, to=ada.email, kind="password_reset", data={"name": "Ada"}, person_id=ada.id,
                link_token="ml_x",
            )  # fmt: skip
    await forget(api, ada.email)
    await forget(api, ada.email)
    assert await db.value(Sql("test", "select count(*) from mainstay.jobs")) == 1
    await work(db)
    assert len(await letters(db)) == 5
    await sql_clock.move(timedelta(hours=1))
    await forget(api, ada.email)
    await work(db)
    assert len(await letters(db)) == 6


async def test_a_newer_request_ends_the_older_link(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    ada = await add(db, tenancy)
    await forget(api, ada.email)
    await work(db)
    older = await token_of(db, ada.email)
    await forget(api, ada.email)
    await work(db)
    assert (await reset(api, older)).json()["code"] == "link-over"
    assert (await reset(api, await token_of(db, ada.email))).status_code == 204


async def test_a_reset_does_not_go_past_the_second_factor(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    people = People(db, KEYRING, tenancy, sql_clock, await sql_clock.stop())
    ada = await people.with_factor(password_hash=await made_of(PASSWORD))
    email = str(ada.caller.email)
    before = (await sign_in(api, email, PASSWORD)).json()["challenge"]
    async with db.begin() as tx:
        token = await accounts.links.make_link(tx, "password_reset", ada.id, person_id=ada.id)
    assert (await reset(api, token)).status_code == 204
    answer = (await sign_in(api, email, OTHER)).json()
    assert "challenge" in answer
    assert "accessToken" not in answer
    late = await api.post("/api/v1/auth/mfa/challenge", json={"challenge": before, "code": ada.recovery[0]})
    assert late.status_code == 401
    right = {"challenge": answer["challenge"], "code": ada.recovery[0]}
    assert "accessToken" in (await api.post("/api/v1/auth/mfa/challenge", json=right)).json()
