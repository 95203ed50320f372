"""Signing in over HTTP with a second factor: the password gives a challenge, the code gives the tokens."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity, mfa
from mainstay.mfa.codes import digest_of_recovery
from tests.mfa.conftest import AT, People, Someone

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def password_hash() -> AsyncIterator[str]:
    """The hash of everybody's password."""
    passwords = identity.Passwords()
    yield await passwords.hash(PASSWORD)
    passwords.close()


async def sign_in(api: httpx.AsyncClient, one: Someone) -> dict[str, Any]:
    """What the right password is answered with."""
    answer = await api.post("/api/v1/auth/login", json={"email": one.caller.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert bool(answer.headers.get_list("set-cookie")) == ("accessToken" in found)
    return found


async def give(api: httpx.AsyncClient, challenge: str, code: str) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a code."""
    answer = await api.post(f"{AT}/challenge", json={"challenge": challenge, "code": code})
    return answer.status_code, answer.json()


async def works(api: httpx.AsyncClient, tokens: dict[str, Any]) -> bool:
    """Whether the access token opens something."""
    answer = await api.get(AT, headers={"authorization": f"Bearer {tokens['accessToken']}"})
    return answer.status_code == 200


@pytest.mark.contract("NP-M-07", "NP-M-08", "NP-M-09", "NP-M-10")
async def test_with_the_factor_on_tokens_come_behind_a_code_alone(
    api: httpx.AsyncClient, owners: People, password_hash: str
) -> None:
    plain = await owners.add("staff", password_hash=password_hash)
    assert await works(api, await sign_in(api, plain))

    one = await owners.with_factor(password_hash=password_hash)
    challenged = await sign_in(api, one)
    assert set(challenged) == {"mfaRequired", "challenge", "expiresIn"}
    assert (challenged["mfaRequired"], challenged["expiresIn"]) == (True, 300)
    refused = await api.get(AT, headers={"authorization": f"Bearer {challenged['challenge']}"})
    assert refused.status_code == 401
    status, problem = await give(api, challenged["challenge"], one.wrong())
    assert (status, problem["type"]) == (401, "urn:mainstay:problem:wrong-code")
    status, tokens = await give(api, challenged["challenge"], one.code())
    assert status == 200
    assert await works(api, tokens)
    assert tokens["person"]["id"] == one.id

    late = await sign_in(api, one)
    await owners.clock.move(timedelta(minutes=5))
    status, problem = await give(api, late["challenge"], one.code())
    assert (status, problem["type"]) == (401, "urn:mainstay:problem:challenge-over")


@pytest.mark.contract("NP-M-13")
async def test_a_recovery_code_signs_in_once(api: httpx.AsyncClient, owners: People, password_hash: str) -> None:
    one = await owners.with_factor(password_hash=password_hash)
    status, tokens = await give(api, (await sign_in(api, one))["challenge"], one.recovery[0])
    assert (status, tokens["recoveryCodesLeft"]) == (200, 9)
    assert await works(api, tokens)
    status, problem = await give(api, (await sign_in(api, one))["challenge"], one.recovery[0])
    assert (status, problem["type"]) == (401, "urn:mainstay:problem:wrong-code")
    async with owners.db.begin() as tx:
        await tx.connection.execute(
            """delete from mainstay.recovery_codes where digest in (
                 select digest from mainstay.recovery_codes where used_at is null and digest <> $1 limit 5)""",
            digest_of_recovery(one.recovery[1]),
        )
    status, tokens = await give(api, (await sign_in(api, one))["challenge"], one.recovery[1])
    assert (status, tokens["recoveryCodesLeft"]) == (200, 3)
    assert tokens["warning"]


@pytest.mark.contract("NP-M-04", "NP-M-05")
async def test_signing_in_follows_the_factor(api: httpx.AsyncClient, owners: People, password_hash: str) -> None:
    one = await owners.begin(await owners.add(password_hash=password_hash))
    assert await works(api, await sign_in(api, one))
    await mfa.verify(owners.db, owners.keyring, one.caller, one.code())
    assert "challenge" in await sign_in(api, one)
    await mfa.disable(owners.db, owners.keyring, one.caller, one.recovery[0])
    assert await works(api, await sign_in(api, one))


async def test_where_a_company_demands_it_members_without_can_only_set_one_up(
    api: httpx.AsyncClient, owners: People, password_hash: str
) -> None:
    one, owner = await owners.add("manager", password_hash=password_hash), await owners.with_factor()
    bearer = {"authorization": f"Bearer {(await sign_in(api, one))['accessToken']}"}
    day = owners.now + timedelta(minutes=10)
    await mfa.demand(owners.db, owner.caller, since=day)
    assert (await api.get("/api/v1/members", headers=bearer)).status_code == 200
    await owners.clock.move(timedelta(minutes=10))
    refused = await api.get("/api/v1/members", headers=bearer)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:mainstay:problem:mfa-setup-required")
    assert (await sign_in(api, one))["mfaSetupRequired"] is True

    setup = await api.post(f"{AT}/setup", headers=bearer)
    assert setup.status_code == 200, setup.text
    one.secret = setup.json()["secret"]
    assert (await api.post(f"{AT}/verify", headers=bearer, json={"code": one.code()})).status_code == 200
    assert (await api.get("/api/v1/members", headers=bearer)).status_code == 200
