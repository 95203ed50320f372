"""Somebody lost app and recovery codes: who may reset the factor, of whom, and what becomes of the sessions."""

import asyncio
import json

import httpx
import pytest

from mainstay import identity, mfa
from mainstay.kernel import ids
from mainstay.kernel.db import Database
from tests.cli.running import called
from tests.mfa.conftest import People, Someone, announced
from tests.tenancy import OPERATOR, open_tenancy

INTERNAL = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}


async def reset(api: httpx.AsyncClient, headers: dict[str, str], person_id: str) -> tuple[int, str]:
    """Status and kind of the answer."""
    answer = await api.post(f"/api/v1/members/{person_id}/mfa/reset", headers=headers)
    return answer.status_code, answer.json().get("type", "").rpartition(":")[2]


async def open_sessions(db: Database, one: Someone) -> int:
    """How many of the person's sessions are open."""
    async with db.connection() as connection:
        return int(
            await connection.fetchval(
                "select count(*) from mainstay.sessions where person_id = $1 and ended_at is null", one.id
            )
        )


async def join(db: Database, one: Someone, company_id: str) -> None:
    """The person belongs to that company too."""
    async with db.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, company_id, email=one.caller.email or "", name="x", password_hash="$argon2id$x", role="staff"
        )


async def test_a_manager_resets_a_member_who_is_signed_out_everywhere(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one, manager = await owners.with_factor("staff"), await owners.add("manager")
    theirs = [await owners.headers(one) for _ in range(2)]
    token = await owners.challenge(one)
    answer = await api.post(f"/api/v1/members/{one.id}/mfa/reset", headers=await owners.headers(manager))
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == {"personId": one.id, "sessionsEnded": 2}
    assert not await mfa.is_on(db, one.id)
    assert [(await api.get("/api/v1/auth/mfa", headers=headers)).status_code for headers in theirs] == [401, 401]
    with pytest.raises(mfa.ChallengeOver):
        await mfa.answer(db, owners.keyring, token, one.recovery[0], address="")
    [(company_id, told)] = await announced(db, "mfa.reset")
    assert (company_id, told["personId"], told["sessionsEnded"], told["tellPerson"]) == (
        one.caller.company_id, one.id, 2, True,
    )  # fmt: skip
    again = await owners.begin(one)
    assert again.secret


async def test_whom_nobody_of_the_company_may_reset(api: httpx.AsyncClient, owners: People, db: Database) -> None:
    owner, manager = await owners.with_factor(), await owners.with_factor("manager")
    staff, elsewhere = await owners.with_factor("staff"), await owners.with_factor("staff")
    other = await open_tenancy(db)
    await join(db, elsewhere, other.company_id)
    stranger = await owners.with_factor("owner", company_id=other.company_id)
    by_owner, by_manager = await owners.headers(owner), await owners.headers(manager)
    assert await reset(api, by_owner, owner.id) == (403, "own-factor")
    assert await reset(api, by_owner, owner.id.upper()) == (403, "own-factor")
    assert await reset(api, by_manager, owner.id) == (403, "forbidden")
    assert await reset(api, by_owner, elsewhere.id) == (403, "in-other-companies")
    for nobody in (stranger.id, ids.new_id(), "no-uuid", "%00"):
        assert await reset(api, by_owner, nobody) == (404, "not-found")
    assert await reset(api, await owners.headers(staff), manager.id) == (403, "forbidden")
    stale = await owners.headers(owner, is_fresh=False)
    assert await reset(api, stale, staff.id) == (403, "step-up-required")
    for one in (owner, manager, staff, elsewhere, stranger):
        assert await mfa.is_on(db, one.id)
    assert await reset(api, by_owner, manager.id) == (200, "")
    assert await reset(api, by_owner, manager.id) == (409, "mfa-not-on")


async def test_operators_reset_anybody_and_every_company_learns_of_it(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one, other = await owners.with_factor(), await open_tenancy(db)
    await join(db, one, other.company_id)
    await owners.headers(one)
    answer = await api.post(f"/internal/people/{one.id}/mfa/reset", headers=INTERNAL)
    assert answer.json()["data"] == {"personId": one.id, "sessionsEnded": 1}
    assert await open_sessions(db, one) == 0
    told = await announced(db, "mfa.reset")
    assert {company for company, _ in told} == {one.caller.company_id, other.company_id}
    assert sorted(data["tellPerson"] for _, data in told) == [False, True]
    for nobody, status in ((one.id, 409), (ids.new_id(), 404), ("no-uuid", 404)):
        refused = await api.post(f"/internal/people/{nobody}/mfa/reset", headers=INTERNAL)
        assert refused.status_code == status


async def test_a_factor_that_waits_is_left_alone(people: People, db: Database) -> None:
    one = await people.begin(await people.add("staff"))
    with pytest.raises(mfa.NotOn):
        await mfa.reset_by_operator(db, OPERATOR, one.id)
    assert (await mfa.state(db, one.id)).is_waiting


async def test_the_command_line_resets_by_email_or_id(people: People, db: Database) -> None:
    operator = {"DATABASE_URL": db.dsn}
    one, other = await people.with_factor(), await people.with_factor("staff")
    by_email = await asyncio.to_thread(
        called, "people", "reset-mfa", (one.caller.email or "").upper(), "--json", env=operator
    )
    assert (by_email.code, json.loads(by_email.out)) == (0, {"personId": one.id, "sessionsEnded": 0})
    by_id = await asyncio.to_thread(called, "people", "reset-mfa", other.id, env=operator)
    assert by_id.code == 0
    assert not await mfa.is_on(db, one.id)
    assert not await mfa.is_on(db, other.id)
    for wanted, told in ((one.id, "No second factor is on"), ("nobody@example.com", "there is no person")):
        refused = await asyncio.to_thread(called, "people", "reset-mfa", wanted, env=operator)
        assert refused.code == 1
        assert told in refused.err
