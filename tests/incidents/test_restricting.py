"""Restricted mode: people's routes close everywhere, everybody else goes on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from mainstay import incidents
from mainstay.incidents.restricting import FRESH_SECONDS, is_of_people
from mainstay.kernel import telemetry
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database, Sql
from tests.conftest import running_app
from tests.console.site import PASSWORD, people_of, sign_in
from tests.tenancy import OPERATOR, Tenancy, bearer

TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
AT = "/internal/restriction"
REASON = {"reason": "Sessions were stolen."}


@dataclass
class Site:
    """Two processes, a person by token at the first, and profiles of an owner and of an operator at the second."""

    api: httpx.AsyncClient
    other: httpx.AsyncClient
    person: dict[str, str]
    owner: httpx.AsyncClient
    operator: httpx.AsyncClient


@pytest.fixture
async def site(db: Database, tenancy: Tenancy) -> AsyncIterator[Site]:
    emails = await people_of(db, tenancy.company_id)
    person_id = await db.value(Sql("test.one", "select id from mainstay.people where email = $1"), emails["owner"])
    async with (
        running_app(db.dsn) as api,
        running_app(db.dsn, CONSOLE_OPERATORS=emails["staff"]) as other,
        httpx.AsyncClient(transport=other._transport, base_url="http://test") as owner,
        httpx.AsyncClient(transport=other._transport, base_url="http://test") as operator,
    ):
        await sign_in(owner, emails["owner"])
        await sign_in(operator, emails["staff"])
        yield Site(api, other, await bearer(db, str(person_id), tenancy.company_id), owner, operator)


@pytest.mark.contract("DR-A-12")
async def test_people_meet_503_everywhere_within_a_second_and_operators_and_keys_go_on(
    site: Site, tenancy: Tenancy, db: Database
) -> None:
    usage, loop = "/api/v1/company/usage", asyncio.get_running_loop()
    assert (await site.other.get(usage, headers=site.person)).status_code == 200
    assert (await site.api.put(AT, json=REASON, headers=TOKEN)).json()["isRestricted"]
    closed = await site.api.get(usage, headers=site.person)
    begun = loop.time()
    while (await site.other.get(usage, headers=site.person)).status_code != 503:
        assert loop.time() - begun < 5
        await asyncio.sleep(0.05)
    assert loop.time() - begun < 2
    for answer in (
        closed,
        await site.other.post("/api/v1/auth/login", json={"email": "a@example.com", "password": PASSWORD}),
        await site.other.get("/api/v1/nowhere"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "restricted")
        assert answer.headers["retry-after"] == "60"
        assert "possible breach" in answer.json()["detail"]
        assert REASON["reason"] not in answer.text
    for path in ("/console", "/console/sign-in", "/console/webhooks", "/console/nowhere"):
        page = await site.owner.get(path)
        assert (page.status_code, page.headers["retry-after"]) == (503, "60")
        assert "closed for now" in page.text
    assert (await site.owner.post("/console/sign-out")).status_code == 503
    for path, headers in (
        ("/v1/key/workspace/events", tenancy.auth), ("/internal/queues", TOKEN), ("/metrics", {}),
        ("/api/v1/health/ready", {}), ("/api/v1/metrics", {}), ("/api/v1/queue/stats", TOKEN), ("/docs", {}),
    ):  # fmt: skip
        assert (await site.other.get(path, headers=headers)).status_code == 200, path
    assert "restricted_mode 1.0" in (await site.other.get("/metrics")).text
    page = await site.operator.get("/console/queues")
    assert (page.status_code, "People's routes are closed" in page.text) == (200, True)
    assert REASON["reason"] in page.text
    assert (await site.operator.get("/console")).status_code == 503

    assert (await site.other.delete(AT, headers=TOKEN)).json() == {
        "isRestricted": False, "since": None, "reason": None, "by": None,
    }  # fmt: skip
    assert (await site.other.get(usage, headers=site.person)).status_code == 200
    assert (await site.owner.get("/console")).status_code == 200
    assert "People's routes are closed" not in (await site.operator.get("/console/queues")).text
    told = await db.rows(
        Sql(
            "test.told", "select name, actor->>'kind' as by from mainstay.announcements where name like 'restriction.%'"
        )
    )
    assert [tuple(row) for row in told] == [("restriction.set", "operator"), ("restriction.lifted", "operator")]


async def test_a_second_reason_takes_the_place_of_the_first_and_nothing_lifted_is_no_fault(
    api: httpx.AsyncClient, db: Database
) -> None:
    assert not (await api.get(AT, headers=TOKEN)).json()["isRestricted"]
    assert (await api.delete(AT, headers=TOKEN)).status_code == 200
    first = (await api.put(AT, json=REASON, headers=TOKEN)).json()
    again = (await api.put(AT, json={"reason": "  Still \n looking "}, headers=TOKEN)).json()
    assert (again["reason"], again["since"]) == ("Still looking", first["since"])
    assert (await api.get(AT, headers=TOKEN)).json() == again
    assert again["by"] == {"kind": "operator", "id": "operator", "name": "Operator"}
    assert await db.value(Sql("test.open", "select count(*) from mainstay.restrictions")) == 1


async def test_a_reason_that_is_none_is_refused_and_the_longest_is_taken(api: httpx.AsyncClient) -> None:
    for reason in ("", "ab", "   ", "x" * 501, "bell\x07", 1, None):
        assert (await api.put(AT, json={"reason": reason}, headers=TOKEN)).status_code == 400, reason
        assert not (await api.get(AT, headers=TOKEN)).json()["isRestricted"]
    assert (await api.put(AT, json={"reason": "x" * 500}, headers=TOKEN)).status_code == 200


async def test_what_was_known_last_holds_where_the_database_does_not_tell(db: Database) -> None:
    clock = MovableClock(await db.value(Sql("test.now", "select mainstay.now()")))
    mode = incidents.Mode(db, clock)
    async with db.begin() as tx:
        await incidents.restrict(tx, OPERATOR, reason="a breach")
    assert (await mode.current()) is not None
    await db.run(Sql("test.away", "alter table mainstay.restrictions rename to away"))
    for _ in range(2):
        clock.move(timedelta(seconds=FRESH_SECONDS))
        assert (await mode.current()) is not None
    await db.run(Sql("test.lift", "update mainstay.away set lifted_at = mainstay.now()"))
    await db.run(Sql("test.back", "alter table mainstay.away rename to restrictions"))
    clock.move(timedelta(seconds=FRESH_SECONDS))
    assert await mode.current() is None


async def test_a_process_asks_at_most_each_half_second(db: Database) -> None:
    clock = MovableClock(await db.value(Sql("test.now", "select mainstay.now()")))
    mode = incidents.Mode(db, clock)
    assert await mode.current() is None
    async with db.begin() as tx:
        await incidents.restrict(tx, OPERATOR, reason="a breach")
    assert await mode.current() is None
    clock.move(timedelta(seconds=FRESH_SECONDS))
    held = await asyncio.gather(*(mode.current() for _ in range(20)))
    assert all(one is not None and one.reason == "a breach" for one in held)
    assert telemetry.REGISTRY.get_sample_value("restricted_mode") == 1.0


@pytest.mark.parametrize(
    ("path", "closes"),
    [
        ("/api/v1/auth/login", True), ("/api/v1/anything", True), ("/api/v1/health", False), ("/api/v1/metrics", False),
        ("/api/v1/health/live", False), ("/api/v1/queue/stats", True), ("/v1/key/company", False),
        ("/internal/x", False),
        ("/console", False), ("/healthz", False), ("/openapi.json", False),
    ],
)  # fmt: skip
def test_what_closes(path: str, closes: bool) -> None:
    assert is_of_people(path) is closes
    assert is_of_people(path, is_operators=True) is (closes and path != "/api/v1/queue/stats")
