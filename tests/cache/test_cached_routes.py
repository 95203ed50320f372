"""What is cached of companies, people and departments, as they see it at two nodes, with and without Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity, jobs
from mainstay.kernel import cache as caches
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.kernel.telemetry import REGISTRY
from tests.cache.conftest import until
from tests.conftest import running_app
from tests.limits.stores import PATIENT_SECONDS, redis_server
from tests.members.conftest import COMPANY, DEPARTMENTS, MEMBERS, TOKEN, Crew
from tests.tenancy import OPERATOR, open_tenancy

CACHE, ME = "/internal/cache", "/api/v1/auth/me"
READS = {"stats": "members.company_stats", "profile": "accounts.read_account", "members": "members.list_members"}


@dataclass
class Two:
    """Two nodes on one database, and the owner, a manager and somebody of the staff who call them."""

    crew: Crew
    other: httpx.AsyncClient
    clock: MovableClock
    department: str = ""

    def path(self, what: str) -> str:
        """Where that is read."""
        return {"stats": f"{COMPANY}/stats", "profile": ME, "members": f"{DEPARTMENTS}/{self.department}/members"}[what]

    async def read(self, what: str, at: httpx.AsyncClient | None = None, by: str = "owner") -> tuple[Any, int]:
        """What is answered there, and how many queries for it that took."""
        before = queries(READS[what])
        answer = await (at or self.crew.api).get(self.path(what), headers=self.crew.headers[by])
        assert answer.status_code == 200, answer.text
        return answer.json(), round(queries(READS[what]) - before)

    async def change(self, method: str, path: str, what: str, sees: Callable[[Any], object], **more: Any) -> None:
        """After the act both nodes show what it did: the one where it was done at once."""
        for node in (self.crew.api, self.other):
            assert not sees((await self.read(what, node))[0])
        await self.crew.done(method, path, **more)
        assert sees((await self.read(what))[0]), (method, path, what)

        async def other_sees() -> bool:
            return bool(sees((await self.read(what, self.other))[0]))

        await until(other_sees)


def queries(operation: str) -> float:
    """How many queries of that name this process has made."""
    return REGISTRY.get_sample_value("db_query_duration_seconds_count", {"operation": operation}) or 0.0


@pytest.fixture(params=["memory", "redis"])
async def two(
    request: pytest.FixtureRequest, fresh_url: str, db: Database, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Two]:
    """Two nodes that hear each other."""
    settings = {}
    if request.param == "redis":
        settings = {"REDIS_URL": request.getfixturevalue("redis").url}
        client = Redis(settings["REDIS_URL"], use="tests", timeout_seconds=PATIENT_SECONDS)
        await client.ask("FLUSHALL")
        await client.close()
    monkeypatch.setattr(caches, "SystemClock", lambda: clock)
    monkeypatch.setattr(caches, "Redis", lambda url, use: Redis(url, use=use, timeout_seconds=PATIENT_SECONDS))
    async with AsyncExitStack() as apps:
        api, other = [await apps.enter_async_context(running_app(fresh_url, **settings)) for _ in range(2)]
        crew = Crew(api, db, await open_tenancy(db))
        for name in ("owner", "manager", "staff"):
            await crew.add(name, name)
        two = Two(crew, other, clock)
        for node in (api, other):

            async def hears(node: httpx.AsyncClient = node) -> bool:
                await two.read("profile", node)
                return bool((await node.get(CACHE, headers=TOKEN)).json()["data"]["hearsOthers"])

            await until(hears)
        clock.move(timedelta(seconds=301))
        made = await crew.done("POST", DEPARTMENTS, json={"name": "Ferries"})
        two.department = made["id"]
        yield two


@pytest.mark.contract("NP-CA-01", "NP-CA-02", "NP-CA-03", "NP-CA-05", "NP-CA-07")
async def test_each_is_read_again_without_a_query_until_its_time_is_over(two: Two) -> None:
    for what, seconds in (("stats", 60), ("profile", 300), ("members", 300)):
        first, _ = await two.read(what)
        assert await two.read(what) == (first, 0)
        two.clock.move(timedelta(seconds=seconds - 1))
        assert await two.read(what) == (first, 0)
        two.clock.move(timedelta(seconds=2))
        assert await two.read(what) == (first, 1)


@pytest.mark.contract("NP-CA-04", "NP-CA-07")
async def test_every_act_is_seen_at_every_node_at_the_next_read(two: Two) -> None:
    crew, staff, department = two.crew, two.crew.ids["staff"], two.department
    own, inside = f"{DEPARTMENTS}/{department}/members/{staff}", "members"

    def names(answer: Any) -> list[str]:
        return [one["name"] for one in answer["data"]]

    await two.change("PATCH", ME, "profile", lambda one: one["name"] == "Ada", json={"name": "Ada"})
    await two.change("PATCH", ME, "profile", lambda one: one["title"] == "Pilot", json={"title": "Pilot"})
    await two.change("PUT", own, inside, lambda one: names(one) == ["Staff"])
    await two.change("PATCH", ME, inside, lambda one: names(one) == ["Bo"], json={"name": "Bo"}, by="staff")
    features = {"features": ["events"]}
    await two.change(
        "PUT",
        f"{MEMBERS}/{staff}/features",
        inside,
        lambda one: one["data"][0]["features"] == ["events"],
        json=features,
    )
    await two.change("POST", f"{MEMBERS}/{staff}/suspend", inside, lambda one: one["data"][0]["suspendedAt"])
    await two.change("POST", f"{MEMBERS}/{staff}/restore", inside, lambda one: not one["data"][0]["suspendedAt"])
    invited = {"email": "new@example.com", "role": "staff"}
    await two.change("POST", "/api/v1/invites", "stats", lambda one: one["openInvitations"], json=invited)
    await two.change("POST", DEPARTMENTS, "stats", lambda one: one["departments"] == 2, json={"name": "Trams"})
    await two.change("DELETE", own, inside, lambda one: not one["data"])
    await crew.done("PUT", own)
    await two.change("DELETE", f"{MEMBERS}/{staff}", inside, lambda one: not one["data"])
    await crew.add("dora", "staff")
    await two.change(
        "DELETE", f"{MEMBERS}/{crew.ids['dora']}", "stats", lambda one: one["members"]["byRole"]["staff"] == 0
    )


async def test_what_the_command_line_changes_is_seen_too_and_nobody_reads_another_company_s(two: Two) -> None:
    company_id = two.crew.tenancy.company_id
    acts: list[Callable[[Any], Awaitable[Any]]] = [
        lambda tx: identity.open_workspace(tx, OPERATOR, company_id, name="Third"),
        lambda tx: identity.issue_key(tx, OPERATOR, company_id, kind="company", name="more"),
        lambda tx: identity.revoke_key(tx, OPERATOR, company_id, two.crew.tenancy.key_id),
        lambda tx: identity.rotate_key(tx, OPERATOR, company_id, two.crew.tenancy.company_key_id, overlap=timedelta(1)),
    ]
    for act in acts:
        before, _ = await two.read("stats")
        async with two.crew.db.begin() as tx:
            await act(tx)

        async def differs(before: Any = before) -> bool:
            return (await two.read("stats"))[0] != before

        await until(differs)
    await _nobody_reads_more_than_they_may(two)


async def _nobody_reads_more_than_they_may(two: Two) -> None:
    await two.read("members")
    other = Crew(two.crew.api, two.crew.db, await open_tenancy(two.crew.db))
    await other.add("stranger", "owner")
    path = two.path("members")
    answers = await asyncio.gather(
        other.call("GET", path, "stranger"), two.crew.call("GET", path), other.call("GET", path, "stranger")
    )
    assert [one.status_code for one in answers] == [404, 200, 404]
    assert (await two.crew.call("GET", path, "staff")).status_code == 403
    await two.crew.done("POST", f"{MEMBERS}/{two.crew.ids['manager']}/suspend")
    assert (await two.crew.call("GET", path, "manager")).status_code in (401, 403)
    again = await two.crew.call("GET", path + "?limit=1")
    assert again.json()["meta"]["limit"] == 1, "another page than the first is read as it is asked for"


@pytest.mark.contract("NP-CA-06", "DR-CA-02")
async def test_operators_clear_by_hand_and_see_how_often_it_serves(two: Two) -> None:
    for what in READS:
        await two.read(what)
        assert (await two.read(what))[1] == 0
    shown = {one["name"]: one for one in (await two.crew.api.get(CACHE, headers=TOKEN)).json()["data"]["families"]}
    assert {name: one["key"] for name, one in shown.items()} == {
        "company_stats": "cache:company:{id}:stats",
        "user_profile": "cache:user:{id}:profile",
        "department_members": "cache:department:{id}:members",
    }
    assert (shown["company_stats"]["hits"], shown["company_stats"]["misses"]) == (1, 1)
    assert shown["company_stats"]["hitRatio"] == 0.5
    assert shown["company_stats"]["entries"] == 1
    assert shown["company_stats"]["bytes"] > 0
    cleared = await two.other.delete(CACHE, params={"prefix": "cache:company:"}, headers=TOKEN)
    assert cleared.json() == {"data": {"prefix": "cache:company:"}}

    async def entries() -> bool:
        found = (await two.crew.api.get(CACHE, headers=TOKEN)).json()["data"]["families"]
        return [one["entries"] for one in found] == [0, 1, 1]

    await until(entries)
    assert [(await two.read(what))[1] for what in READS] == [1, 0, 0]
    assert [data["prefix"] for _, data in await two.crew.announced("cache.cleared")] == ["cache:company:"]
    for bad in ("", "throttle:", "cache", "cache:*", "cache:" + "x" * 201):
        answer = await two.crew.api.delete(CACHE, params={"prefix": bad}, headers=TOKEN)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "prefix")
    assert (await two.crew.call("DELETE", CACHE + "?prefix=cache:")).status_code == 401


@pytest.mark.contract("NP-CA-07")
async def test_answers_are_the_same_while_redis_is_away(fresh_url: str, db: Database) -> None:
    with redis_server() as server:
        async with running_app(fresh_url, REDIS_URL=server.url) as api:
            two = Two(Crew(api, db, await open_tenancy(db)), api, MovableClock(datetime.now(UTC)))
            await two.crew.add("owner", "owner")
            two.department = (await two.crew.done("POST", DEPARTMENTS, json={"name": "Ferries"}))["id"]
            before = [(await two.read(what))[0] for what in READS]
            server.kill()
            assert [await two.read(what) for what in READS] == [(one, 1) for one in before]
            await two.crew.done("PATCH", ME, json={"name": "Ada"})
            assert (await two.read("profile"))[0]["name"] == "Ada"
            assert (await api.get(CACHE, headers=TOKEN)).status_code == 503


@pytest.mark.contract("NP-CA-08", "NP-C-01")
async def test_one_redis_serves_limits_and_cache_and_no_job(redis: Any, fresh_url: str, db: Database) -> None:
    client = Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    lifted = {"RATE_LIMITS": "", "RATE_LIMIT_STORE": "auto", "REDIS_URL": redis.url}
    async with running_app(fresh_url, **lifted) as api:
        crew = Crew(api, db, await open_tenancy(db))
        await crew.add("owner", "owner")

        async def both() -> bool:
            await crew.done("GET", f"{COMPANY}/stats")
            return {key.split(b":")[0] for key in await client.ask("KEYS", "*")} == {b"cache", b"throttle"}

        await until(both)
        async with db.begin() as tx:
            await jobs.enqueue(tx, "doctor.probe", None, queue=jobs.UPKEEP)
        assert {key.split(b":")[0] for key in await client.ask("KEYS", "*")} == {b"cache", b"throttle"}
        await client.ask("FLUSHALL")
        async with db.connection() as connection:
            assert await connection.fetchval("select count(*) from mainstay.jobs where kind = 'doctor.probe'") == 1
        await crew.done("GET", f"{COMPANY}/stats")
    await client.close()
