"""Companies with events that have left their window, and an archive to put them into."""

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainstay import archive, plans
from mainstay.archive import days
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Record, Sql
from mainstay.kernel.objects import Objects
from mainstay.kernel.regions import Regions
from tests.conftest import SqlClock, running_app
from tests.figures import figure
from tests.objects import S3Server, s3_server
from tests.tenancy import OPERATOR, Tenancy, open_tenancy, test_settings

__all__ = ["s3_server"]
EVENTS = "/v1/key/workspace/events"
EXPORT = "/v1/key/company/export-archive.json"


@dataclass
class Site:
    """An instance with a store of its own, and the verbs that a test uses again and again."""

    db: Database
    api: httpx.AsyncClient
    clock: SqlClock
    ground: archive.Ground
    objects: Objects

    async def company(self, *, plan: str = "free", archived: bool = True) -> Tenancy:
        """A company, with the add-on or without."""
        tenancy = await open_tenancy(self.db, plan=plan)
        if archived:
            async with self.db.begin() as tx:
                await plans.grant_add_on(tx, OPERATOR, tenancy.company_id, code=plans.RETENTION_S3_ARCHIVE)
        return tenancy

    async def send(self, tenancy: Tenancy, count: int, *, name: str = "a", key: str | None = None) -> None:
        """So many events in the first workspace, or that of another key."""
        batch = [{"action": f"{name}.n{n}", "actor": {"id": f"u{n}"}, "payload": {"n": n}} for n in range(count)]
        auth = {"authorization": f"Bearer {key or tenancy.key}"}
        answer = await self.api.post(f"{EVENTS}/batch", json={"events": batch}, headers=auth)
        assert answer.status_code == 200, answer.text

    async def run(self) -> int:
        """Marking, then every day that is due; how many events are archived just now."""
        await archive.mark(self.ground)
        return sum([await archive.archive_day(self.ground, day) for day in await self.due()])

    async def due(self) -> list[archive.Day]:
        """The days to archive now."""
        return [day async for day in archive.due_days(self.ground)]

    async def aged(self, tenancy: Tenancy, count: int = 3, **more: Any) -> archive.Day:
        """The day of fresh events of a company, which left the window of the free plan since."""
        await self.send(tenancy, count, **more)
        day = await self.db.value(Sql("t", "select (mainstay.now() at time zone 'UTC')::date"))
        await self.clock.move(timedelta(days=8))
        return archive.Day(tenancy.company_id, tenancy.workspace_id, day)

    async def names(self) -> list[str]:
        """The names of all objects."""
        return [one.name async for one in self.objects.list()]

    async def content(self, day: archive.Day) -> list[dict[str, Any]]:
        """What anybody reads in the day's object."""
        packed = b"".join([piece async for piece in self.objects.get(day.name)])
        found: list[dict[str, Any]] = json.loads(gzip.decompress(packed))
        return found

    async def raw(self, day: archive.Day) -> bytes:
        """The bytes of the day's object."""
        return b"".join([piece async for piece in self.objects.get(day.name)])

    async def rows(self, tenancy: Tenancy, workspace_id: str | None = None) -> list[Record]:
        """The events of the first workspace in the table."""
        statement = Sql("t", "select * from mainstay.events where workspace_id = $1 order by seq")
        return await self.db.rows(statement, workspace_id or tenancy.workspace_id)

    async def marks(self, tenancy: Tenancy) -> list[tuple[bool, bool]]:
        """(archivalCandidate, archived) of each event of the first workspace."""
        return [(row["archival_candidate"], row["archived"]) for row in await self.rows(tenancy)]

    async def told(self, name: str) -> list[dict[str, Any]]:
        """What was announced under that name and not yet taken on."""
        statement = Sql("t", "select data from mainstay.announcements where name = $1 order by id")
        return [json.loads(row["data"]) for row in await self.db.rows(statement, name)]

    async def is_counted(self) -> None:
        """Passes where the counts that are kept are what is there, whatever a test did."""
        await days.measure(self.db, "test")
        found = await archive.figures(self.db)
        told = {
            name: figure(f"archive_{name}", {"database": "test"})
            for name in ("days_waiting", "days_failing", "days_unsound", "oldest_candidate_seconds", "events")
        }
        assert told == {
            "days_waiting": found["daysWaiting"],
            "days_failing": found["daysFailing"],
            "days_unsound": found["daysDamaged"] + found["daysMissing"],
            "oldest_candidate_seconds": pytest.approx(found["oldestCandidateSeconds"], abs=60),
            "events": found["eventsArchived"],
        }

    def allowing(self, *, deletes: bool = False, cuts: bool = False) -> "Site":
        """The same with other settings."""
        return replace(self, ground=replace(self.ground, deletes=deletes, cuts=cuts))


async def _site(url: str, db: Database, clock: SqlClock, given: dict[str, str]) -> AsyncIterator[Site]:
    settings = test_settings(url, **given)
    ground = archive.ground_of(settings, Regions(db, {}), db, Keyring(settings.secret, ()))
    objects = Objects.of(settings)
    assert objects is not None
    async with running_app(url, **given) as api:
        site = Site(db, api, clock, ground, objects)
        yield site
        await site.is_counted()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The root of the local store."""
    return tmp_path / "objects"


@pytest.fixture
async def site(fresh_url: str, db: Database, sql_clock: SqlClock, directory: Path) -> AsyncIterator[Site]:
    """An instance whose archive is a local directory."""
    async for one in _site(fresh_url, db, sql_clock, {"OBJECT_STORE": directory.as_uri()}):
        yield one


@pytest.fixture
async def s3_site(fresh_url: str, db: Database, sql_clock: SqlClock, s3_server: S3Server) -> AsyncIterator[Site]:
    """An instance whose archive is a bucket."""
    async for one in _site(fresh_url, db, sql_clock, s3_server.settings(s3_server.bucket())):
        yield one


@pytest.fixture(params=["local", "s3"])
def any_site(request: pytest.FixtureRequest) -> Site:
    """An instance on each kind of store."""
    site: Site = request.getfixturevalue("site" if request.param == "local" else "s3_site")
    return site
