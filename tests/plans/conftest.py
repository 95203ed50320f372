"""What tests of plans share: events without a request, months to move through, and settings of plans."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

import pytest

from mainstay import events
from mainstay.events import intake
from mainstay.events.ingest import append
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Sql
from mainstay.plans import calendar
from tests.conftest import SqlClock
from tests.tenancy import Tenancy

Send = Callable[..., Awaitable[None]]
KEYRING = Keyring("a-test-secret-of-forty-characters-or-so-1")
LOOPBACK = parse_allow_list("127.0.0.0/8,localhost")
_NOW = Sql("test.now", "select mainstay.now()")


@pytest.fixture
def send(db: Database, tenancy: Tenancy) -> Send:
    """Stores that many events in the company's first workspace (or another), in a transaction or one of their own."""

    async def store(count: int, *, workspace_id: str | None = None, within: Connection | None = None) -> None:
        place = events.Place(workspace_id or tenancy.workspace_id, tenancy.company_id, "US", tenancy.key_id)
        if workspace_id is not None:
            place = events.Place(workspace_id, tenancy.company_id, "US", None)
        prepared = [intake.prepare(b'{"action":"a.b"}', place, "0" * 31 + "1") for _ in range(count)]
        results = await append(within or db, prepared)
        assert len(results) == count

    return store


async def now_of(db: Database) -> datetime:
    """The time that SQL reads."""
    moment: datetime = await db.value(_NOW)
    return moment


async def this_month(db: Database) -> date:
    """The first day of SQL's month."""
    return (await now_of(db)).date().replace(day=1)


async def go_to_next_month(db: Database, clock: SqlClock, *, into: timedelta = timedelta(hours=2)) -> date:
    """SQL's clock stands that long after the next month began; that month's first day."""
    now = await now_of(db)
    following = calendar.following(now.date())
    await clock.move(calendar.start_of(following) + into - now)
    return following


async def go_to_middle(db: Database, clock: SqlClock) -> None:
    """SQL's clock stands in the middle of the next month, so that no test meets the end of one by chance."""
    await go_to_next_month(db, clock, into=timedelta(days=10))
