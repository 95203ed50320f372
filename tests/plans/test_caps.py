"""A company that chose to be stopped never gets above its allowance, and nobody else pays for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from mainstay import events, identity, plans
from mainstay.events import intake
from mainstay.events.ingest import append
from mainstay.kernel.db import Database, Sql
from mainstay.plans import caps, periods, reconciling, thresholds
from tests.conftest import SqlClock
from tests.plans.conftest import go_to_middle, go_to_next_month
from tests.plans.test_thresholds import BOOK, add
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

_CAPPED = Sql("test.capped", "select capped, quantity from mainstay.meter_counts where company_id = $1")


@pytest_asyncio.fixture
async def ingestion(db: Database) -> AsyncIterator[events.Ingestion]:
    """What stores the events of requests."""
    found = events.Ingestion(db)
    yield found
    await found.drain()


def some(tenancy: Tenancy, count: int = 1, *, other: bool = False, key: str | None = None) -> list[intake.Prepared]:
    """The events of one request."""
    workspace_id = tenancy.other_workspace_id if other else tenancy.workspace_id
    place = events.Place(workspace_id, tenancy.company_id, "US", None)
    keys = [None if key is None else f"{key}{n}" for n in range(count)]
    return [intake.prepare(b'{"action":"a.b"}', place, "0" * 31 + "1", one) for one in keys]


async def stop_at(db: Database, tenancy: Tenancy, quota: int | None, *, blocks: bool = True) -> None:
    """The company is stopped at that many events a month (or not)."""
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=quota)
        await plans.choose_blocking(tx, OPERATOR, tenancy.company_id, blocks=blocks)
    await caps.settle(db, db, BOOK, tenancy.company_id)


async def used(db: Database, tenancy: Tenancy) -> int:
    """What the company used this month."""
    return sum(one.quantity for one in await plans.usage(db, tenancy.company_id, "events"))


async def stored(db: Database, tenancy: Tenancy) -> int:
    """How many events the company has in its workspaces."""
    count: int = await db.value(
        Sql("t", "select count(*) from mainstay.events where company_id = $1"), tenancy.company_id
    )
    return count


async def test_it_is_stopped_exactly_there_and_nothing_of_a_request_is_stored(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await stop_at(db, tenancy, 10)
    await ingestion.submit(some(tenancy, 7))
    with pytest.raises(plans.QuotaReached) as refusal:
        await ingestion.submit(some(tenancy, 4, other=True))
    assert {name: refusal.value.extra[name] for name in ("meter", "allowance", "used")} == {
        "meter": "events",
        "allowance": 10,
        "used": 7,
    }
    assert str(refusal.value.extra["resetsAt"]).endswith("-01T00:00:00.000000Z")
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 31 * 86_400
    await ingestion.submit(some(tenancy, 3, other=True))
    for count in (1, 5):
        with pytest.raises(plans.QuotaReached):
            await ingestion.submit(some(tenancy, count))
    assert await used(db, tenancy) == await stored(db, tenancy) == 10


async def test_without_the_choice_a_limit_stops_nobody(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await stop_at(db, tenancy, 3, blocks=False)
    await ingestion.submit(some(tenancy, 9))
    assert await used(db, tenancy) == 9
    assert [row["capped"] for row in await db.rows(_CAPPED, tenancy.company_id)] == [False]


async def test_many_writers_of_many_workspaces_and_processes_never_pass_it(db: Database) -> None:
    """Two companies that are stopped and one that is not share every transaction, in opposite orders."""
    first, second, free = [await open_tenancy(db) for _ in range(3)]
    await stop_at(db, first, 25)
    await stop_at(db, second, 40)
    processes = [events.Ingestion(db) for _ in range(3)]

    async def send(n: int) -> int:
        company = (first, second, free)[n % 3]
        try:
            await processes[n % len(processes) if n % 2 else 0].submit(some(company, n % 4 + 1, other=n % 5 == 0))
        except plans.QuotaReached:
            return 0
        return n % 4 + 1

    async with asyncio.timeout(90):
        sent = await asyncio.gather(*(send(n) for n in range(150)))
    taken = [sum(count for n, count in enumerate(sent) if n % 3 == company) for company in range(3)]
    assert [await used(db, one) for one in (first, second, free)] == taken
    assert [await stored(db, one) for one in (first, second, free)] == taken
    assert taken[0] <= 25
    assert taken[1] <= 40
    assert taken[0] > 21
    assert taken[2] == sum(n % 4 + 1 for n in range(150) if n % 3 == 2)


async def test_companies_that_are_stopped_do_not_lock_one_another_out(db: Database) -> None:
    """Their workspaces lie in opposite orders, and transactions take from both at once."""
    companies = [await open_tenancy(db) for _ in range(2)]
    places = [[(one.company_id, one.workspace_id), (one.company_id, one.other_workspace_id)] for one in companies]
    for one, of_company in zip(reversed(companies), reversed(places), strict=True):
        async with db.begin() as tx:
            opened = await identity.open_workspace(tx, OPERATOR, one.company_id, name="Late")
        of_company.append((one.company_id, opened.id))
        await stop_at(db, one, 100_000)

    async def write(n: int) -> None:
        for step in range(25):
            late = (n + step) % 2 == 0
            chosen = [of_company[2 if late else n % 2] for of_company in places]
            prepared = [
                intake.prepare(b'{"action":"a.b"}', events.Place(workspace_id, company_id, "US", None), "0" * 31 + "1")
                for company_id, workspace_id in chosen
            ]
            await append(db, prepared)

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(n) for n in range(6)))
    assert [await used(db, one) for one in companies] == [150, 150]


async def test_others_in_the_same_transaction_are_stored(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    other = await open_tenancy(db)
    await stop_at(db, tenancy, 1)
    async with asyncio.timeout(30):
        found = await asyncio.gather(
            *(ingestion.submit(some(one, 2)) for one in (other, tenancy, other)), return_exceptions=True
        )
    assert [isinstance(one, plans.QuotaReached) for one in found] == [False, True, False]
    assert await stored(db, other) == 4


async def test_what_is_known_to_be_full_is_refused_without_asking_and_spoils_no_transaction(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await open_tenancy(db)
    await stop_at(db, tenancy, 2)
    first = some(tenancy, 2, key="k")
    await ingestion.submit(first)
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    asked: list[int] = []
    really = append

    async def counted(connection: Database, prepared: list[intake.Prepared], **known: Any) -> object:
        asked.append(len({one.row[1] for one in prepared}))
        return await really(connection, prepared, **known)

    monkeypatch.setattr("mainstay.events.ingest.append", counted)
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    assert asked == []
    # With a key it may be there already, and is asked for apart from what others send.
    async with asyncio.timeout(30):
        again, _, _ = await asyncio.gather(
            ingestion.submit(some(tenancy, 2, key="k")), ingestion.submit(some(other)), ingestion.submit(some(other))
        )
    assert [one.replayed for one in again] == [True, True]  # type: ignore[union-attr]
    assert set(asked) == {1}


async def test_room_that_is_made_is_used_at_once_or_within_seconds(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.events.ingest.KNOWN_FULL_SECONDS", 0.0)
    await stop_at(db, tenancy, 1)
    await ingestion.submit(some(tenancy))
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    await stop_at(db, tenancy, 3)
    await ingestion.submit(some(tenancy, 2))
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    await stop_at(db, tenancy, 3, blocks=False)
    await ingestion.submit(some(tenancy, 5))
    assert await used(db, tenancy) == 8
    assert [tuple(row) for row in await db.rows(_CAPPED, tenancy.company_id)] == [(False, 8)]
    # Above its allowance already when it chooses to be stopped: what is there stays, nothing more comes.
    await stop_at(db, tenancy, 3)
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    assert await used(db, tenancy) == 8


async def test_a_new_month_brings_a_new_allowance(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, ingestion: events.Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.events.ingest.KNOWN_FULL_SECONDS", 0.0)
    await go_to_middle(db, sql_clock)
    await stop_at(db, tenancy, 2)
    await ingestion.submit(some(tenancy, 2))
    await go_to_next_month(db, sql_clock)
    await ingestion.submit(some(tenancy, 1))
    await periods.roll_over(db)
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy, 2, other=True))
    await ingestion.submit(some(tenancy, 1, other=True))


async def test_the_lowest_hard_threshold_is_the_limit(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await stop_at(db, tenancy, 100)
    await add(db, tenancy, kind="soft", amount=1)
    threshold_id = await add(db, tenancy, kind="hard", unit="percentage", amount=5)
    assert await caps.settle_all(db, db, BOOK) == 1
    await ingestion.submit(some(tenancy, 5))
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    async with db.begin() as tx:
        await thresholds.delete_threshold(tx, OPERATOR, tenancy.company_id, threshold_id)
    await caps.settle_all(db, db, BOOK)
    await events.Ingestion(db).submit(some(tenancy, 95))
    assert await used(db, tenancy) == 100


async def test_a_company_without_a_limit_is_not_stopped_whatever_it_chose(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await stop_at(db, tenancy, None)
    await ingestion.submit(some(tenancy, 50))
    assert await caps.settle_all(db, db, BOOK) == 1
    assert await db.rows(Sql("t", "select from mainstay.meter_caps")) == []


async def test_a_recount_says_what_happened_also_above_the_allowance(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await go_to_middle(db, sql_clock)
    await ingestion.submit(some(tenancy, 9))
    await stop_at(db, tenancy, 5)
    await db.run(Sql("t", "update mainstay.meter_counts set quantity = 1"))
    assert await reconciling.reconcile(db) == 1
    assert [tuple(row) for row in await db.rows(_CAPPED, tenancy.company_id)] == [(True, 9)]
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))


async def test_any_way_of_counting_is_stopped_also_that_of_an_older_process(db: Database, tenancy: Tenancy) -> None:
    await stop_at(db, tenancy, 3)
    async with db.begin() as tx:
        await plans.meter(tx, tenancy.company_id, tenancy.workspace_id, name="events", quantity=3)
        with pytest.raises(asyncpg.PostgresError) as error:
            await plans.meter(tx, tenancy.company_id, tenancy.other_workspace_id, name="events", quantity=1)
    found = plans.exhausted_of(error.value)
    assert found is not None
    assert (found.allowance, found.used, found.remaining) == (3, 3, 0)
    assert plans.exhausted_of(ValueError()) is None


async def test_choosing_while_events_arrive_is_exact_from_the_commit_on(db: Database, tenancy: Tenancy) -> None:
    """A meter that is born while the choice is made is capped, too."""
    ingestion = events.Ingestion(db)
    async with asyncio.timeout(60):
        await asyncio.gather(
            stop_at(db, tenancy, 5),
            *(ingestion.submit(some(tenancy, other=n % 2 == 0)) for n in range(5)),
        )
    refused = 0
    for n in range(10):
        try:
            await ingestion.submit(some(tenancy, other=n % 2 == 0))
        except plans.QuotaReached:
            refused += 1
    assert (await used(db, tenancy), refused) == (5, 10)


async def test_an_allowance_that_comes_after_none_was_found_is_kept(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion
) -> None:
    await ingestion.submit(some(tenancy))
    await stop_at(db, tenancy, 3)
    await ingestion.submit(some(tenancy, 2))
    with pytest.raises(plans.QuotaReached):
        await ingestion.submit(some(tenancy))
    assert await stored(db, tenancy) == 3


@pytest.mark.parametrize("is_known_free", [True, False])
async def test_of_two_that_wait_for_each_other_the_one_that_is_ended_runs_again(
    db: Database, tenancy: Tenancy, ingestion: events.Ingestion, is_known_free: bool
) -> None:
    """Who did not ask for allowances holds the chain and wants the allowance; who did, the reverse."""
    if is_known_free:
        await ingestion.submit(some(tenancy))
    await stop_at(db, tenancy, 10)
    wanted = [
        Sql("t", f"select from mainstay.{table} where company_id = $1 for update")
        for table in ("meter_caps", "chain_heads")
    ]
    held, asked = wanted if is_known_free else reversed(wanted)
    # On a machine that stands still for a second it is ours that is ended: then the other simply goes on.
    with suppress(asyncpg.DeadlockDetectedError):
        async with db.begin() as tx:
            await tx.connection.execute("set local deadlock_timeout = '10s'")
            await tx.run(held, tenancy.company_id)
            sending = asyncio.create_task(ingestion.submit(some(tenancy)))
            waits = Sql("t", "select exists (select from pg_stat_activity where $1 = any(pg_blocking_pids(pid)))")
            ours = await tx.value(Sql("t", "select pg_backend_pid()"))
            async with asyncio.timeout(30):
                while not await db.value(waits, ours):
                    await asyncio.sleep(0.01)
            await tx.run(asked, tenancy.company_id)
    async with asyncio.timeout(30):
        (result,) = await sending
    assert isinstance(result, events.ingest.Stored)
    assert await stored(db, tenancy) == 1 + is_known_free
