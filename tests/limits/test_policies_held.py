"""Limits as callers meet them: who is held to what, what an answer tells, and what a refusal says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity, limits
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.web.limiting import Whose
from tests.conftest import SqlClock, running_app
from tests.tenancy import OPERATOR, Tenancy, bearer, open_tenancy, test_settings

LOGIN, REGISTER, ME, USAGE = "/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/auth/me", "/api/v1/company/usage"
WRONG = {"email": "nobody@example.com", "password": "a wrong password"}


@asynccontextmanager
async def limited(url: str, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API with limits, counted where the tests' clock is."""
    async with running_app(url, **{"RATE_LIMITS": "", "RATE_LIMIT_STORE": "postgresql", **settings}) as client:
        yield client


async def member(db: Database, tenancy: Tenancy, role: Any = "owner", email: str = "ada@example.com") -> dict[str, str]:
    """The headers of a new person of the company."""
    async with db.begin() as tx:
        person = await identity.add_person(
            tx, OPERATOR, tenancy.company_id, email=email, name="Ada", password_hash="$argon2id$unused", role=role
        )
    return await bearer(db, person.id, tenancy.company_id)


async def statuses(client: httpx.AsyncClient, method: str, path: str, many: int, **given: Any) -> list[int]:
    """The status of each of so many calls, one after the other."""
    return [(await client.request(method, path, **given)).status_code for _ in range(many)]


async def keys_in(db: Database) -> set[str]:
    """The keys under which PostgreSQL counts."""
    async with db.connection() as connection:
        return {row["key"] for row in await connection.fetch("select key from mainstay.rate_limits")}


def registration(number: int) -> dict[str, str]:
    """What opens a company with its owner."""
    return {
        "companyName": f"Company {number}", "name": "Ada", "email": f"ada{number}@example.com",
        "password": "correct horse battery staple",
    }  # fmt: skip


@pytest.mark.contract("NP-RL-01")
async def test_five_logins_and_five_registrations_a_minute(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    async with limited(db.dsn) as client:
        made = [(await client.post(REGISTER, json=registration(n))).status_code for n in range(6)]
        assert made == [201] * 5 + [429]
        right = {"email": "ada0@example.com", "password": "correct horse battery staple"}
        assert await statuses(client, "POST", LOGIN, 6, json=right) == [200] * 5 + [429]
        await sql_clock.move(timedelta(minutes=1))
        assert await statuses(client, "POST", LOGIN, 1, json=right) == [200]
        assert (await client.post(REGISTER, json=registration(9))).status_code == 201
    assert {f"throttle:anon:127.0.0.1:{path}:POST" for path in (LOGIN, REGISTER)} <= await keys_in(db)


@pytest.mark.contract("DR-RL-06")
async def test_five_failed_logins_in_fifteen_minutes(db: Database, tenancy: Tenancy, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    async with limited(db.dsn) as client:
        for _ in range(5):
            assert await statuses(client, "POST", LOGIN, 1, json=WRONG) == [401]
            await sql_clock.move(timedelta(minutes=2))
        refused = await client.post(LOGIN, json=WRONG)
        assert (refused.status_code, refused.json()["violated-policies"]) == (429, ["login_failures"])
        await sql_clock.move(timedelta(minutes=5))
        assert await statuses(client, "POST", LOGIN, 1, json=WRONG) == [401]
    assert "throttle:ip:127.0.0.1:login_failures" in await keys_in(db)


async def test_what_is_no_failed_login_counts_as_none(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    async with limited(db.dsn, RATE_LIMITS="login=100/60") as client:
        assert (await client.post(REGISTER, json=registration(1))).status_code == 201
        right = {"email": "ada1@example.com", "password": "correct horse battery staple"}
        assert await statuses(client, "POST", LOGIN, 6, json=right) == [200] * 6
        assert await statuses(client, "POST", LOGIN, 6, json={"email": "x"}) == [400] * 6
        assert await statuses(client, "POST", LOGIN, 6, json=WRONG) == [401] * 5 + [429]
        assert await statuses(client, "POST", LOGIN, 1, json=right) == [429]


@pytest.mark.contract("NP-RL-03", "NP-RL-05", "DR-RL-08", "DR-RL-09")
async def test_the_general_limit_is_per_company_address_and_route(
    db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    await sql_clock.stop()
    ours = {"headers": await member(db, tenancy)}
    other = await open_tenancy(db)
    theirs = {"headers": await member(db, other, email="eve@example.com")}
    async with limited(db.dsn) as client:
        # Who is nobody uses nobody's quota: authentication comes first.
        assert await statuses(client, "GET", USAGE, 3, headers={"authorization": "Bearer x"}) == [401] * 3
        assert await keys_in(db) == set()
        answers = [await client.get(USAGE, **ours) for _ in range(101)]
        assert [one.status_code for one in answers] == [200] * 100 + [429]
        left = [one.headers["ratelimit"].split(";")[1] for one in answers]
        assert left == [f"r={n}" for n in range(99, -1, -1)] + ["r=0"]
        # Two routes have two counters, and so have two companies at one address.
        assert await statuses(client, "GET", ME, 1, **ours) == [200]
        assert await statuses(client, "GET", USAGE, 1, **theirs) == [200]
        refused = answers[-1]
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["title"] == "Rate limit exceeded"
        assert refused.json()["detail"].startswith("Rate limit exceeded: 'general' lets 100 calls pass in 60 s")
        await sql_clock.move(timedelta(minutes=1))
        assert await statuses(client, "GET", USAGE, 1, **ours) == [200]
    assert f"throttle:{tenancy.company_id}:127.0.0.1:{USAGE}" in await keys_in(db)


@pytest.mark.contract("NP-A-12")
async def test_a_request_is_authenticated_limited_carried_out_queued_and_answered(
    db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"headers": await member(db, tenancy)}
    async with limited(db.dsn) as client:
        # Nobody uses a company's quota without being of it.
        assert await statuses(client, "PATCH", USAGE, 1, json={"blocksAtLimit": True}) == [401]
        assert await keys_in(db) == set()
        asked: list[str] = []
        observe = telemetry.observe_query

        def note(operation: str, seconds: float) -> None:
            asked.append(operation)
            observe(operation, seconds)

        monkeypatch.setattr(telemetry, "observe_query", note)
        assert await statuses(client, "PATCH", USAGE, 1, json={"blocksAtLimit": True}, **ours) == [200]
    stages = ("identity.find_api_session", "limits.take", "plans.choose", "outbox.announce")
    first = [next(place for place, name in enumerate(asked) if name.startswith(stage)) for stage in stages]
    assert first == sorted(first)


@pytest.mark.contract("NP-RL-03")
async def test_the_general_limit_is_settable_and_comes_before_anything_is_done(db: Database, tenancy: Tenancy) -> None:
    staff = {"headers": await member(db, tenancy, "staff", "s@example.com")}
    async with limited(db.dsn, RATE_LIMIT_GENERAL="20") as client:
        # The role would refuse each of them: it is asked once the limit has let the call pass.
        assert await statuses(client, "PATCH", USAGE, 21, json={"blocksAtLimit": True}, **staff) == [403] * 20 + [429]
        assert (await client.patch(USAGE, json={}, **staff)).json()["policy"]["setBy"] == "setting"


async def test_a_refusal_says_what_was_violated_who_set_it_and_when_it_frees(db: Database, tenancy: Tenancy) -> None:
    ours = {"headers": await member(db, tenancy)}
    async with limited(db.dsn, RATE_LIMIT_GENERAL="1") as client:
        passed, refused = [await client.get(USAGE, **ours) for _ in range(2)]
    assert passed.headers["ratelimit-policy"] == '"general";q=1;w=60'
    assert refused.headers["ratelimit-policy"] == '"general";q=1;w=60'
    seconds = int(refused.headers["retry-after"])
    assert 50 <= seconds <= 60
    assert refused.headers["ratelimit"] == f'"general";r=0;t={seconds}'
    problem = refused.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["code"], problem["violated-policies"]) == ("rate-limited", ["general"])
    assert problem["retryAfterSeconds"] == seconds
    assert problem["policy"] == {
        "name": "general", "allowance": 1, "windowSeconds": 60, "setBy": "setting", "of": "everybody", "until": None,
    }  # fmt: skip
    assert "x-request-id" in refused.headers


@pytest.mark.parametrize(
    ("style", "fields"),
    [
        ("draft", {"ratelimit", "ratelimit-policy"}),
        ("legacy", {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}),
        ("both", {"ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}),
        ("none", set()),
    ],
)
async def test_a_setting_chooses_the_fields(db: Database, tenancy: Tenancy, style: str, fields: set[str]) -> None:
    async with limited(db.dsn, RATE_LIMIT_HEADERS=style) as client:
        answer = await client.get("/v1/key/workspace", headers=tenancy.auth)
    told = {name: value for name, value in answer.headers.items() if name.startswith("ratelimit")}
    assert set(told) == fields
    if style == "legacy":
        assert (told["ratelimit-limit"], told["ratelimit-remaining"]) == ("600000", "599999")


async def test_a_key_is_held_to_its_rate_on_every_path_alike(db: Database, tenancy: Tenancy) -> None:
    event = {"json": {"action": "user.signed_in", "actor": {"id": "u"}}, "headers": tenancy.auth}
    path = "/v1/key/workspace/events"
    async with limited(db.dsn, RATE_LIMITS="key_growth=4/60") as client:
        stored = await client.post(path, **event)
        assert (stored.status_code, stored.headers["ratelimit"].split(";")[1]) == (201, "r=3")
        assert (await client.get(path, headers=tenancy.auth)).status_code == 200
        told = (await client.get("/v1/key/workspace/rate-limit", headers=tenancy.auth)).json()
        assert told.pop("resetAt") is not None
        assert told == {"policy": "key_growth", "limit": 4, "remaining": 1, "windowSeconds": 60, "limited": False}
        assert await statuses(client, "POST", path, 2, **event) == [201, 429]
        refused = await client.post(f"{path}/batch", json={"events": [event["json"]]}, headers=tenancy.auth)
        assert (refused.status_code, refused.json()["violated-policies"]) == (429, ["key_growth"])
        # Another key has calls of its own, and a false one uses nobody's.
        assert (await client.get("/v1/key/workspace", headers={"x-api-key": tenancy.other_key})).status_code == 200
        assert (await client.get("/v1/key/workspace", headers={"x-api-key": "mk_ws_false"})).status_code == 401
    async with db.connection() as connection:
        assert await connection.fetchval("select count(*) from mainstay.events where action = 'user.signed_in'") == 2


@pytest.mark.contract("DR-RL-12")
async def test_a_user_limit_follows_the_user_and_an_address_limit_the_address(
    db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    await sql_clock.stop()
    async with limited(db.dsn, TRUSTED_PROXIES="127.0.0.1", RATE_LIMITS="login=100/60") as client:
        for number in range(5):
            forged = {"x-forwarded-for": f"198.51.100.{number}, 203.0.113.5"}
            assert await statuses(client, "POST", LOGIN, 1, json=WRONG, headers=forged) == [401]
        another = WRONG | {"email": "another@example.com"}
        for body, address, status in ((WRONG, 5, 429), (another, 5, 429), (another, 6, 401)):
            headers = {"x-forwarded-for": f"203.0.113.{address}"}
            assert await statuses(client, "POST", LOGIN, 1, json=body, headers=headers) == [status]
    keeping = limits.Keeping.of(test_settings(db.dsn, RATE_LIMITS="", RATE_LIMIT_STORE="memory"), db)
    here, there = (Whose(one, "/refunds", tenancy.company_id, "ada") for one in ("192.0.2.1", "192.0.2.2"))
    refunds = [await keeping.limiter.take("refund", whose) for whose in (here, there) * 3]
    assert [one.allowed for one in refunds if one is not None] == [True] * 5 + [False]
    someone = await keeping.limiter.take("refund", Whose("192.0.2.1", "/refunds", tenancy.company_id, "eve"))
    assert someone is not None
    assert someone.allowed
