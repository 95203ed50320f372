"""The checker: one alert a threshold and period, of the right kind, at the exact count; nothing is sent by it."""

import asyncio
from typing import Any

import orjson
import pytest

from mainstay import plans
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Invalid
from mainstay.plans import alerts, caps, periods, thresholds
from mainstay.plans.errors import ThresholdNotFound, TooManyThresholds
from mainstay.plans.schemas import NewTarget, NewThreshold
from tests.conftest import SqlClock
from tests.plans.conftest import KEYRING, LOOPBACK, go_to_middle, go_to_next_month, this_month
from tests.tenancy import OPERATOR, Tenancy

_ALERTS = Sql(
    "test.alerts",
    """select kind, unit, limit_quantity, quantity, period_start, settled_at from mainstay.threshold_alerts
        where company_id = $1 order by id""",
)
_TOLD = Sql("test.told", "select data::text from mainstay.announcements where name = 'threshold.crossed'")
BOOK = plans.Book()


async def add(db: Database, tenancy: Tenancy, *targets: NewTarget, **given: Any) -> str:
    """A threshold of the company; soft, absolute unless given."""
    new = NewThreshold(**{"kind": "soft", "unit": "absolute", "targets": list(targets), **given})
    async with db.begin() as tx:
        found, _ = await thresholds.add_threshold(
            tx, OPERATOR, tenancy.company_id, new=new, keyring=KEYRING, allow=LOOPBACK
        )
    return found


async def use(db: Database, tenancy: Tenancy, quantity: int, *, other: bool = False) -> None:
    """That much is metered in one of the company's workspaces."""
    workspace_id = tenancy.other_workspace_id if other else tenancy.workspace_id
    async with db.begin() as tx:
        await plans.meter(tx, tenancy.company_id, workspace_id, name="events", quantity=quantity)


async def quota(db: Database, tenancy: Tenancy, amount: int | None) -> None:
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=amount)


@pytest.mark.contract("HL-P-07", "HL-P-08")
async def test_soft_and_hard_absolute_and_percentage_fire_at_the_same_count(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    await go_to_middle(db, sql_clock)
    await quota(db, tenancy, 1_000)
    await add(db, tenancy, amount=800)
    await add(db, tenancy, kind="hard", unit="percentage", amount=80)
    await use(db, tenancy, 700)
    await use(db, tenancy, 99, other=True)
    assert await alerts.check(db, db, BOOK) == 0
    await use(db, tenancy, 1, other=True)
    assert await alerts.check(db, db, BOOK) == 2
    found = await db.rows(_ALERTS, tenancy.company_id)
    assert [tuple(row)[:4] for row in found] == [("soft", "absolute", 800, 800), ("hard", "percentage", 800, 800)]


@pytest.mark.contract("HL-P-09")
async def test_one_alert_a_crossing_and_period_however_often_and_by_whom_it_is_checked(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    await go_to_middle(db, sql_clock)
    month = await this_month(db)
    threshold_id = await add(db, tenancy, amount=10)
    await use(db, tenancy, 12)
    async with asyncio.timeout(60):
        raised = await asyncio.gather(*(alerts.check(db, db, BOOK) for _ in range(4)))
    assert sum(raised) == 1
    assert await alerts.check(db, db, BOOK) == 0
    await use(db, tenancy, 100)
    assert await alerts.check(db, db, BOOK) == 0
    (told,) = await db.rows(_TOLD)
    assert orjson.loads(told["data"])["thresholdId"] == threshold_id
    following = await go_to_next_month(db, sql_clock)
    await use(db, tenancy, 11)
    assert await alerts.check(db, db, BOOK) == 1
    assert [row["period_start"] for row in await db.rows(_ALERTS, tenancy.company_id)] == [month, following]


async def test_a_crossing_in_the_last_minutes_of_a_month_is_found_until_the_month_closes(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    await go_to_middle(db, sql_clock)
    month = await this_month(db)
    await add(db, tenancy, amount=10)
    await use(db, tenancy, 10)
    await go_to_next_month(db, sql_clock)
    assert await alerts.check(db, db, BOOK) == 1
    assert [row["period_start"] for row in await db.rows(_ALERTS, tenancy.company_id)] == [month]
    await add(db, tenancy, amount=5)
    await periods.roll_over(db)
    assert await alerts.check(db, db, BOOK) == 0


async def test_a_share_of_no_quota_is_never_reached(db: Database, tenancy: Tenancy) -> None:
    await quota(db, tenancy, None)
    await add(db, tenancy, unit="percentage", amount=1)
    await use(db, tenancy, 1_000_000)
    assert await alerts.check(db, db, BOOK) == 0


async def test_many_thresholds_are_checked_page_by_page(
    db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "THRESHOLDS_A_STEP", 2)
    for amount in (1, 2, 3, 4, 50):
        await add(db, tenancy, amount=amount)
    await use(db, tenancy, 10)
    assert await alerts.check(db, db, BOOK) == 4


@pytest.mark.parametrize(
    ("unit", "amount", "quota_of_plan", "limit"),
    [
        ("absolute", 5, None, 5),
        ("percentage", 80, 1_000, 800),
        ("percentage", 33, 10, 4),
        ("percentage", 1, 1, 1),
        ("percentage", 150, 10, 15),
        ("percentage", 50, None, None),
    ],
)
def test_the_limit_of_a_threshold(unit: str, amount: int, quota_of_plan: int | None, limit: int | None) -> None:
    assert caps.limit_of(unit, amount, quota_of_plan) == limit


@pytest.mark.parametrize(
    ("quota_of_plan", "hard", "allowance"),
    [
        (100, [], 100),
        (None, [], None),
        (None, [("percentage", 50)], None),
        (100, [("percentage", 50), ("absolute", 70)], 50),
        (100, [("absolute", 150)], 150),
        (None, [("absolute", 7)], 7),
    ],
)
def test_what_a_company_that_is_stopped_may_use(
    quota_of_plan: int | None, hard: list[tuple[str, int]], allowance: int | None
) -> None:
    assert caps.allowance_of(quota_of_plan, hard) == allowance


async def test_a_company_may_have_twenty(db: Database, tenancy: Tenancy) -> None:
    made = [await add(db, tenancy, amount=n + 1) for n in range(thresholds.THRESHOLDS_AT_MOST)]
    with pytest.raises(TooManyThresholds):
        await add(db, tenancy, amount=99)
    async with db.begin() as tx:
        await thresholds.delete_threshold(tx, OPERATOR, tenancy.company_id, made[0])
        with pytest.raises(ThresholdNotFound):
            await thresholds.delete_threshold(tx, OPERATOR, tenancy.company_id, made[0])
    await add(db, tenancy, amount=99)
    found = await thresholds.list_thresholds(db, tenancy.company_id, period=await this_month(db))
    assert [one.amount for one in found] == [*range(2, 21), 99]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"meter": "other"}, "#/meter"),
        ({"unit": "percentage", "amount": 1_001}, "#/amount"),
        ({"targets": [NewTarget(kind="email", to="no address")]}, "#/targets/0/to"),
        ({"targets": [NewTarget(kind="email", to="a@b@c.de")]}, "#/targets/0/to"),
        ({"targets": [NewTarget(kind="email", to="a@b.de\r\nBcc: x@y.de")]}, "#/targets/0/to"),
        ({"targets": [NewTarget(kind="slack", to="https://10.0.0.1/x")]}, "#/targets/0/to"),
        (
            {"targets": [NewTarget(kind="email", to="a@b.de"), NewTarget(kind="webhook", to="ftp://x.example/")]},
            "#/targets/1/to",
        ),
    ],
)
async def test_what_is_no_threshold_is_refused_with_its_place(
    given: dict[str, Any], pointer: str, db: Database, tenancy: Tenancy
) -> None:
    new = NewThreshold(**{"kind": "soft", "unit": "absolute", "amount": 1, **given})
    async with db.begin() as tx:
        with pytest.raises(Invalid) as refusal:
            await thresholds.add_threshold(
                tx, OPERATOR, tenancy.company_id, new=new, keyring=KEYRING, allow=parse_allow_list("")
            )
    assert [fault.pointer for fault in refusal.value.faults] == [pointer]
    assert await thresholds.list_thresholds(db, tenancy.company_id, period=await this_month(db)) == []


async def test_targets_are_sealed_and_shown_without_their_secrets(db: Database, tenancy: Tenancy) -> None:
    new = NewThreshold(
        kind="soft", unit="absolute", amount=1,
        targets=[
            NewTarget(kind="email", to="ops@acme.example"),
            NewTarget(kind="slack", to="https://hooks.slack.example/services/T0/B0/sEcReT"),
            NewTarget(kind="webhook", to="https://user-alerts.acme.example/in?token=sEcReT"),
        ],
    )  # fmt: skip
    async with db.begin() as tx:
        _, told = await thresholds.add_threshold(
            tx, OPERATOR, tenancy.company_id, new=new, keyring=Keyring("k" * 40), allow=parse_allow_list("")
        )
    assert told[2].pop("secret").startswith("whsec_")
    (found,) = await thresholds.list_thresholds(db, tenancy.company_id, period=await this_month(db))
    assert list(found.targets) == told
    assert told[1:] == [
        {"kind": "slack", "to": "https://hooks.slack.example/…"},
        {"kind": "webhook", "to": "https://user-alerts.acme.example/…"},
    ]
    everything = await db.value(
        Sql(
            "t",
            """select string_agg(x, ' ') from (
                 select to_jsonb(t)::text || encode(t.sealed, 'escape') as x from mainstay.threshold_targets t
                 union all select a.data::text from mainstay.announcements a) all_of_it""",
        )
    )
    assert "sEcReT" not in everything
