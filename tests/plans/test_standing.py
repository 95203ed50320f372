"""Five plans in their order, and what a company may do: its plan's limits, the settings', its own."""

import pytest

from mainstay import plans
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Invalid
from mainstay.kernel.settings import SettingsError
from mainstay.plans import limits
from tests.tenancy import OPERATOR, Tenancy, open_tenancy, test_settings

_ANNOUNCED = Sql(
    "test.announced", "select name from mainstay.announcements where name !~ '^(company|workspace|key)' order by id"
)
ORDER = ["free", "starter", "growth", "scale", "enterprise"]


@pytest.mark.contract("HL-P-01")
def test_five_plans_in_order() -> None:
    assert list(plans.PLANS) == ORDER
    assert [one for one in ORDER if plans.is_at_least(one, "growth")] == ["growth", "scale", "enterprise"]
    assert all(
        plans.is_at_least(one, other) == (n >= m) for n, one in enumerate(ORDER) for m, other in enumerate(ORDER)
    )
    with pytest.raises(KeyError):
        plans.is_at_least("gold", "free")


def test_what_plans_include() -> None:
    included = plans.PLANS.values()
    assert [one.export_rows for one in included] == [10_000, 50_000, 250_000, 1_000_000, None]
    assert [one.retention_days for one in included] == [7, 30, 90, 365, None]
    assert [one.event_quota for one in included] == [10_000, 100_000, 1_000_000, 10_000_000, None]


async def test_a_company_has_what_its_plan_says(db: Database) -> None:
    book = plans.Book()
    for plan in ORDER:
        tenancy = await open_tenancy(db, plan=plan, region="EU")
        standing = await book.standing(db, tenancy.company_id)
        assert (standing.plan, standing.region, standing.add_ons) == (plan, "EU", frozenset())
        assert standing.export_rows == plans.PLANS[plan].export_rows
        assert standing.retention_days == plans.PLANS[plan].retention_days
        assert standing.event_quota == standing.quota_of("events") == plans.PLANS[plan].event_quota
        assert standing.blocks_at_limit is False
        assert standing.is_at_least("growth") == (plan in ORDER[2:])


@pytest.mark.parametrize("company_id", ["00000000-0000-7000-8000-00000000dead", "no-uuid", "", "'"])
async def test_no_company_has_no_standing(company_id: str, db: Database) -> None:
    with pytest.raises(plans.CompanyUnknown):
        await plans.Book().standing(db, company_id)


async def test_settings_change_what_plans_include(db: Database, tenancy: Tenancy) -> None:
    settings = test_settings(
        db.dsn, PLAN_EVENT_QUOTAS="growth=77, free=1", PLAN_EXPORT_ROWS="growth=none", PLAN_RETENTION_DAYS="growth=9"
    )
    standing = await plans.Book.of(settings).standing(db, tenancy.company_id)
    assert (standing.event_quota, standing.export_rows, standing.retention_days) == (77, None, 9)
    assert plans.Book.of(settings).plans["free"].event_quota == 1
    assert plans.Book.of(settings).plans["starter"] == plans.PLANS["starter"]


@pytest.mark.parametrize("wrong", ["free", "free=", "free=-1", "free=0", "=7", "free=7;starter=8", "free=7,,"])
def test_settings_that_are_wrong_end_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="PLAN_EXPORT_ROWS"):
        test_settings("postgresql://db/x", PLAN_EXPORT_ROWS=wrong)


def test_a_plan_that_is_none_ends_the_start() -> None:
    with pytest.raises(SettingsError, match="gold"):
        plans.Book.of(test_settings("postgresql://db/x", PLAN_EXPORT_ROWS="gold=7"))


async def test_own_limits_come_before_the_plans(db: Database, tenancy: Tenancy) -> None:
    book, company = plans.Book(), tenancy.company_id
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, company, name="event_quota", amount=5)
        await plans.set_limit(tx, OPERATOR, company, name="export_rows", amount=None)
        await plans.set_limit(tx, OPERATOR, company, name="event_quota", amount=6)
    standing = await book.standing(db, company)
    assert (standing.event_quota, standing.export_rows, standing.retention_days) == (6, None, 90)
    assert standing.own_limits == {"event_quota", "export_rows"}
    async with db.begin() as tx:
        await plans.drop_limit(tx, OPERATOR, company, name="event_quota")
        await plans.set_plan(tx, OPERATOR, company, plan="free")
        assert await plans.set_plan(tx, OPERATOR, company, plan="free") is False
        await plans.choose_blocking(tx, OPERATOR, company, blocks=True)
    standing = await book.standing(db, company)
    assert (standing.plan, standing.event_quota, standing.export_rows) == ("free", 10_000, None)
    assert standing.blocks_at_limit is True
    told = [row["name"] for row in await db.rows(_ANNOUNCED)]
    assert told == ["limit.set", "limit.set", "limit.set", "limit.dropped", "plan.changed", "blocking.chosen"]


@pytest.mark.parametrize("amount", [0, -1, limits.MOST + 1])
async def test_limits_have_limits(amount: int, db: Database, tenancy: Tenancy) -> None:
    async with db.begin() as tx:
        with pytest.raises(Invalid):
            await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=amount)
        with pytest.raises(Invalid):
            await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="other", amount=1)
        with pytest.raises(Invalid):
            await plans.set_plan(tx, OPERATOR, tenancy.company_id, plan="gold")
        with pytest.raises(Invalid):
            await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="retention_days", amount=36_501)
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="retention_days", amount=36_500)
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=limits.MOST)
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=1)
    assert (await plans.Book().standing(db, tenancy.company_id)).event_quota == 1
