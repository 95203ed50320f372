"""Refreshing: tokens of two kinds that never pass for each other, each good once, and what a second use ends."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from mainstay.kernel.db import Database, Sql
from tests.accounts.mailbox import announced, letters
from tests.accounts.signing import AUTH, SignedIn, add, forged, log_in, me
from tests.conftest import SqlClock, running_app
from tests.tenancy import Tenancy, test_settings

ADA = "ada@example.com"
SETTINGS = test_settings("postgresql://nobody@127.0.0.1/none")


@pytest.fixture
async def signed_in(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> SignedIn:
    """The company's owner."""
    await add(db, tenancy.company_id, ADA)
    return await log_in(api, ADA)


async def refresh(api: httpx.AsyncClient, token: str) -> httpx.Response:
    answer = await api.post(f"{AUTH}/refresh", json={"refreshToken": token})
    api.cookies.clear()
    return answer


@pytest.mark.contract("NP-A-08")
async def test_a_refresh_token_gives_fresh_tokens_and_a_dead_one_401(
    api: httpx.AsyncClient, db: Database, signed_in: SignedIn, sql_clock: SqlClock
) -> None:
    again = SignedIn.of(await refresh(api, signed_in.refresh))
    assert again.session_id == signed_in.session_id
    assert again.access != signed_in.access
    assert await me(api, again) == 200
    third = SignedIn.of(await refresh(api, again.refresh))
    expired = forged(third.refresh, lambda c: {**c, "exp": c["iat"]}, SETTINGS.jwt_refresh_secret)
    assert (await refresh(api, expired)).status_code == 401
    assert (await api.post(f"{AUTH}/logout", headers=third.auth)).status_code == 204
    assert (await refresh(api, third.refresh)).status_code == 401
    other = await log_in(api, ADA)
    await sql_clock.move(timedelta(hours=12))
    assert (await refresh(api, other.refresh)).status_code == 401, "nobody used it for 12 hours"


@pytest.mark.contract("NP-A-04")
async def test_no_token_passes_for_the_other_kind(api: httpx.AsyncClient, signed_in: SignedIn) -> None:
    access, other = SETTINGS.jwt_access_secret, SETTINGS.jwt_refresh_secret
    assert (await refresh(api, signed_in.access)).status_code == 401
    bearer = {"authorization": f"Bearer {signed_in.refresh}"}
    assert (await api.get(f"{AUTH}/me", headers=bearer)).status_code == 401
    for token in (
        forged(signed_in.refresh, lambda c: c, access),
        forged(signed_in.access, lambda c: {**c, "typ": "refresh", "aud": "mainstay-refresh", "gen": 0}, access),
        forged(signed_in.refresh, lambda c: {**c, "aud": "mainstay-api"}, other),
        forged(signed_in.refresh, lambda c: {**c, "typ": "access"}, other),
        forged(signed_in.refresh, lambda c: {**c, "gen": "0"}, other),
        forged(signed_in.refresh, lambda c: {**c, "gen": -1}, other),
        forged(signed_in.refresh, lambda c: {**c, "gen": True}, other),
        forged(signed_in.refresh, lambda c: {**c, "gen": 7}, other),
        forged(signed_in.refresh, lambda c: {**c, "sub": c["sid"]}, other),
        "", "x", "a.b.c", "x" * 4_096,
    ):  # fmt: skip
        assert (await refresh(api, token)).status_code == 401
    for token in (
        forged(signed_in.access, lambda c: c, other),
        forged(signed_in.refresh, lambda c: {**c, "typ": "access", "aud": "mainstay-api", "company": c["sub"]}, other),
    ):
        assert (await api.get(f"{AUTH}/me", headers={"authorization": f"Bearer {token}"})).status_code == 401
    assert (await refresh(api, signed_in.refresh)).status_code == 200, "none of these ended the session"


async def test_a_token_that_is_used_twice_ends_the_session_and_the_person_is_told(
    api: httpx.AsyncClient, db: Database, signed_in: SignedIn
) -> None:
    bystander = await log_in(api, ADA)
    thief = SignedIn.of(await refresh(api, signed_in.refresh))
    refused = await refresh(api, signed_in.refresh)
    assert (refused.status_code, refused.json()["code"]) == (401, "refresh-refused")
    assert await me(api, thief) == 401
    assert (await refresh(api, thief.refresh)).status_code == 401
    assert await me(api, bystander) == 200
    (fact,) = await announced(db, "session.reuse_detected")
    assert fact["sessionId"] == signed_in.session_id
    assert [kind for kind, _, _ in await letters(db, ADA)].count("session_reuse") == 1
    reason = Sql("t", "select ended_reason from mainstay.sessions where id = $1")
    assert await db.value(reason, signed_in.session_id) == "refresh_reused"


async def test_of_parallel_uses_one_succeeds_and_the_session_ends(
    api: httpx.AsyncClient, db: Database, signed_in: SignedIn
) -> None:
    answers = await asyncio.gather(*(refresh(api, signed_in.refresh) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [200, 401, 401, 401, 401]
    assert len(await announced(db, "session.reuse_detected")) == 1


async def test_the_cookie_refreshes_too_and_asks_for_the_csrf_token(
    api: httpx.AsyncClient, signed_in: SignedIn
) -> None:
    api.cookies.set("mainstay_refresh", signed_in.refresh, path=AUTH)
    assert (await api.post(f"{AUTH}/refresh", json={})).status_code == 403
    assert (await api.post(f"{AUTH}/refresh", json={"refreshToken": ""})).status_code == 401, "no way around the token"
    answer = await api.post(f"{AUTH}/refresh", json={}, headers={"x-csrf-token": signed_in.csrf})
    assert SignedIn.of(answer).csrf == signed_in.csrf
    api.cookies.clear()
    assert (await api.post(f"{AUTH}/refresh", json={})).status_code == 401


async def test_older_secrets_are_good_while_they_are_kept(fresh_url: str, signed_in: SignedIn) -> None:
    new = {"JWT_ACCESS_SECRET": "n" * 40, "JWT_REFRESH_SECRET": "m" * 40}
    kept = {
        "JWT_ACCESS_SECRET_PREVIOUS": SETTINGS.jwt_access_secret,
        "JWT_REFRESH_SECRET_PREVIOUS": SETTINGS.jwt_refresh_secret,
    }
    async with running_app(fresh_url, **new) as api:
        assert await me(api, signed_in) == 401
        assert (await refresh(api, signed_in.refresh)).status_code == 401
    async with running_app(fresh_url, **new, **kept) as api:
        assert await me(api, signed_in) == 200
        again = SignedIn.of(await refresh(api, signed_in.refresh))
    async with running_app(fresh_url, **new) as api:
        assert await me(api, again) == 200
