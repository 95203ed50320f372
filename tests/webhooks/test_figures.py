"""Figures: every recorded try counts once, whoever dies, and reading them touches roll-ups alone."""

import asyncio
import itertools
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from mainstay import jobs, webhooks
from mainstay.kernel import ids
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.settings import Settings
from mainstay.webhooks import figures
from tests.receivers import Receiver
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, PEOPLE_PATH, Tenant, publish
from tests.webhooks.line import Line

BOUNDS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000,
          10_000, 30_000)  # fmt: skip


async def record(db: Database, *tries: tuple[str, int | None, int], at: datetime | None = None) -> None:
    """One batch of tries (endpoint, code, milliseconds) as the way of a delivery leaves it."""
    endpoint_ids, codes, durations = zip(*tries, strict=True)
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.attempt_batches (at, endpoint_ids, codes, durations_ms)
               values (coalesce($1, mainstay.now()), $2, $3, $4)""",
            at, endpoint_ids, codes, durations,
        )  # fmt: skip


async def stats(tenant: Tenant, webhook: dict[str, Any] | None = None, window: str = "hour") -> dict[str, Any]:
    """The figures of a webhook, or of its company."""
    path = f"{COMPANY_PATH}/{webhook['id']}/stats" if webhook else f"{COMPANY_PATH}/stats"
    answer = await tenant.key.get(path, params={"window": window})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("window", ["hour", "day", "month"])
async def test_tries_are_counted_by_endpoint_company_and_answer(
    tenant: Tenant, stranger: Tenant, db: Database, window: str
) -> None:
    one, two, foreign = await tenant.webhook(), await tenant.webhook(), await stranger.webhook()
    await record(db, (one["id"], 200, 12), (one["id"], 204, 12), (one["id"], 500, 12), (one["id"], None, 30_001))
    await record(db, (two["id"], 299, 1), (one["id"], 300, 0), (foreign["id"], 200, 5))
    assert await figures.fold(db) == 2
    assert await figures.fold(db) == 0
    mine = await stats(tenant, one, window)
    totals = mine["totals"]
    assert (totals["attempts"], totals["delivered"], totals["failed"], totals["successShare"]) == (5, 2, 3, 0.4)
    assert mine["status"] == {"0": 1, "200": 1, "204": 1, "300": 1, "500": 1}
    assert sum(point["attempts"] for point in mine["series"]) == 5
    assert len(mine["series"]) == {"hour": 60, "day": 96, "month": 120}[window]
    assert (await stats(tenant, window=window))["totals"]["attempts"] == 6
    assert (await stats(stranger, window=window))["totals"]["attempts"] == 1
    assert (await stats(tenant, two, window))["status"] == {"299": 1}


async def test_the_series_has_no_gap_and_ends_now(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    now = datetime.now(UTC)
    for minutes in (0, 5, 58, 61):
        await record(db, (webhook["id"], 200, 1), at=now - timedelta(minutes=minutes))
    await figures.fold(db)
    shown = await stats(tenant, webhook)
    moments = [datetime.fromisoformat(point["bucket"]) for point in shown["series"]]
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {timedelta(minutes=1)}
    assert abs(datetime.now(UTC) - moments[-1]) < timedelta(minutes=2)
    assert shown["totals"]["attempts"] == 3
    assert (await stats(tenant, webhook, "day"))["totals"]["attempts"] == 4


async def test_without_tries_the_figures_say_so(tenant: Tenant) -> None:
    shown = await stats(tenant, await tenant.webhook(), "month")
    assert shown["totals"] == {
        "attempts": 0, "delivered": 0, "failed": 0, "successShare": None, "p50Ms": None, "p99Ms": None
    }  # fmt: skip
    assert shown["status"] == {}


async def test_a_wrong_window_is_refused_and_the_default_is_a_day(tenant: Tenant) -> None:
    for query in ({"window": "year"}, {"unknown": "1"}):
        assert (await tenant.owner.get(f"{PEOPLE_PATH}/stats", params=query)).status_code == 400
    assert (await tenant.owner.get(f"{PEOPLE_PATH}/stats")).json()["window"] == "day"


@pytest.mark.parametrize(
    ("share", "durations", "expected"),
    [
        (0.5, [], None),
        (0.5, [0], 0.5),
        (0.5, [12] * 10, 12.5),
        (1.0, [12] * 10, 15.0),
        (0.99, [4] * 98 + [400] * 2, 400.0),
        (0.5, [4] * 98 + [400] * 2, pytest.approx(4.0, abs=0.05)),
        (0.99, [60_000], 30_000.0),
        (0.99, [30_000], 30_000.0),
    ],
)
def test_quantiles_lie_straight_between_bounds(share: float, durations: list[int], expected: float | None) -> None:
    counts = [0] * (len(BOUNDS) + 1)
    for duration in durations:
        counts[sum(duration >= bound for bound in BOUNDS)] += 1
    found = figures.quantile(share, counts if durations else [], BOUNDS)
    assert found == expected


async def test_quantiles_of_recorded_tries_are_near_the_true_ones(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    chance = random.Random(7)
    durations = sorted(int(min(30_000, chance.lognormvariate(4, 1))) for _ in range(3_000))
    await record(db, *((webhook["id"], 200, duration) for duration in durations[:1_000]))
    await record(db, *((webhook["id"], 200, duration) for duration in durations[1_000:]))
    await figures.fold(db)
    totals = (await stats(tenant, webhook))["totals"]
    assert totals["p50Ms"] == pytest.approx(durations[1_500], rel=0.15)
    assert totals["p99Ms"] == pytest.approx(durations[2_970], rel=0.25)
    async with db.connection() as connection:
        assert tuple(await connection.fetchval("select mainstay.latency_bounds()")) == BOUNDS


async def test_nothing_counts_twice_or_never_when_folds_race_and_die(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    for _ in range(60):
        await record(db, (webhook["id"], 200, 5), (webhook["id"], 500, 5))

    async def fold_some(die: bool) -> None:
        try:
            async with db.begin() as tx:
                await tx.connection.fetchval("select mainstay.fold_attempts(3)")
                if die:
                    raise asyncpg.InterfaceError("cut off")
        except Exception:
            assert die

    for _ in range(12):
        await asyncio.gather(fold_some(True), fold_some(False), fold_some(True), fold_some(False))
    await figures.fold(db)
    totals = (await stats(tenant, webhook))["totals"]
    assert (totals["attempts"], totals["delivered"]) == (120, 60)


async def test_what_a_worker_tried_is_folded_by_its_schedule(
    tenant: Tenant, db: Database, line: Line, settings: Settings
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        for _ in range(3):
            await publish(db, tenant, "task.created")
        await line.drain()
    outbound = Outbound(allow=settings.outbound_allow)
    (task,) = (one for one in webhooks.tasks(db, outbound, KEYRING, settings) if one.kind == "webhooks.fold_figures")
    (schedule,) = (one for one in webhooks.schedules() if one.kind == task.kind)
    assert (schedule.slots.period, task.queue) == (timedelta(seconds=10), jobs.UPKEEP)
    await task.run(None)  # type: ignore[misc, arg-type]
    await outbound.close()
    assert (await stats(tenant, webhook))["totals"]["delivered"] == 3
    assert (await stats(tenant))["status"] == {"200": 3}


async def test_tries_at_a_deleted_endpoint_still_count_for_the_company(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await record(db, (webhook["id"], 200, 5), (ids.new_id(), 200, 5))
    await tenant.key.delete(f"{COMPANY_PATH}/{webhook['id']}")
    assert await figures.fold(db) == 1
    assert (await stats(tenant))["totals"]["attempts"] == 1


async def test_figures_of_a_hundred_million_tries_are_read_from_roll_ups_and_fast(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    async with db.connection() as connection:
        for table, step, start in (
            ("endpoint_minutes", "minute", "24 hours"),
            ("endpoint_hours", "hour", "8 days"),
        ):
            await connection.execute(
                f"""insert into mainstay.{table} (company_id, endpoint_id, bucket, code, attempts, latencies)
                    select $1, e, date_trunc('{step}', now()) - interval '{start}' + n * interval '1 {step}', code,
                           25000,
                           array_fill(1000::bigint, array[25])
                      from unnest($2::uuid[]) e, unnest(array[0, 200, 500]) code,
                           generate_series(1, extract(epoch from interval '{start}')::int
                                              / extract(epoch from interval '1 {step}')::int) n""",
                tenant.company_id, [webhook["id"], figures.WHOLE_COMPANY, *(ids.new_id() for _ in range(3))],
            )  # fmt: skip
        await connection.execute("analyze mainstay.endpoint_minutes, mainstay.endpoint_hours")
        await connection.execute("alter table mainstay.attempts rename to attempts_away")
        await connection.execute("alter table mainstay.deliveries rename to deliveries_away")
    took: dict[str, float] = {}
    for window, least in (("hour", 3_000_000), ("day", 100_000_000), ("month", 14_000_000)):
        for _ in range(3):
            started = time.perf_counter()
            shown = await figures.read(db, company_id=tenant.company_id, endpoint_id=webhook["id"], window=window)
            took[window] = min(took.get(window, 60.0), time.perf_counter() - started)
        assert shown["totals"]["attempts"] >= least
    assert max(took.values()) < 2.0, took
    async with db.connection() as connection:
        busy = await connection.fetch(
            """select distinct tableoid::regclass::text from mainstay.endpoint_minutes
               union select distinct tableoid::regclass::text from mainstay.endpoint_hours"""
        )
        plans = [
            row[0]
            for three in figures.rows._STATEMENTS.values()
            for statement in three
            for row in await connection.fetch(
                "explain " + statement.text, tenant.company_id, webhook["id"], timedelta(minutes=1), 60
            )
        ]
    assert any("Index" in line for line in plans)
    assert [line for line in plans for table in busy if f"Seq Scan on {table[0].split('.')[1]}" in line] == []
