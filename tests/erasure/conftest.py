"""Companies whose events speak of people, and the jobs that erase them."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mainstay import erasure, events
from mainstay.erasure import erasing, gdpr
from mainstay.erasure.ground import Ground
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.regions import Regions
from mainstay.kernel.work import Job, Outcome
from tests.archive.conftest import Site, _site
from tests.conftest import SqlClock
from tests.objects import S3Server, s3_server
from tests.tenancy import Tenancy, test_settings

__all__ = ["s3_server"]
ERASURES = "/v1/key/company/erasures"
HOLDS = "/v1/key/company/holds"
ADA = {"id": "user-ada-7", "email": "Ada@Example.com", "name": "Ada Lovelace"}
BOB = {"id": "user-ada-77", "email": "bob@example.com", "name": "Bob"}
MARKS = ("user-ada-7", "ada@example.com", "lovelace")


@dataclass
class Erasing:
    """An instance with an archive, and the verbs that a test uses again and again."""

    site: Site
    ground: Ground

    @property
    def db(self) -> Database:
        """Its database."""
        return self.site.db

    async def send(self, tenancy: Tenancy, bodies: list[dict[str, Any]], *, key: str | None = None) -> None:
        """These events in the first workspace, or that of another key."""
        auth = {"authorization": f"Bearer {key or tenancy.key}"}
        answer = await self.site.api.post("/v1/key/workspace/events/batch", json={"events": bodies}, headers=auth)
        assert answer.status_code == 200, answer.text

    async def ask(self, tenancy: Tenancy, **more: Any) -> dict[str, Any]:
        """An erasure of Ada, asked for and not yet run."""
        body = {"actorId": ADA["id"], "actorEmail": ADA["email"], "alsoKnownAs": ["Ada Lovelace"], "reason": "asked"}
        answer = await self.site.api.post(ERASURES, json={**body, **more}, headers=tenancy.company_auth)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def read(self, tenancy: Tenancy, erasure_id: str) -> dict[str, Any]:
        """The erasure as it is shown."""
        answer = await self.site.api.get(f"{ERASURES}/{erasure_id}", headers=tenancy.company_auth)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def run(self, tenancy: Tenancy, erasure_id: str, *, db: Database | None = None) -> Outcome:
        """The job of an erasure runs once, to whatever end."""
        payload = {"companyId": tenancy.company_id, "erasureId": erasure_id, "leads": db is None}
        return await erasing.run(self.ground, db or self.db, await self._job(db or self.db, payload))

    async def erase(self, tenancy: Tenancy, **more: Any) -> dict[str, Any]:
        """An erasure of Ada, as it is shown after it was run."""
        asked = await self.ask(tenancy, **more)
        assert await self.run(tenancy, asked["id"]) is None
        return await self.read(tenancy, asked["id"])

    async def gather(self, tenancy: Tenancy, job_id: str) -> Outcome:
        """The job of an export runs once, to whatever end."""
        payload = {"companyId": tenancy.company_id, "jobId": job_id}
        return await gdpr.run(self.ground, self.db, await self._job(self.db, payload))

    async def _job(self, db: Database, payload: dict[str, Any]) -> Job:
        """The engine's job of that payload, claimed by nobody else."""
        wanted = {name: value for name, value in payload.items() if name != "leads"}
        statement = Sql(
            "t",
            """update mainstay.jobs set state = 'active', worker_id = 1, epoch = epoch + 1, started_at = mainstay.now()
                where payload @> $1::text::jsonb returning *""",
        )
        row = await db.row(statement, json.dumps(wanted))
        assert row is not None
        return Job(
            row["id"], row["queue"], row["kind"], payload, row["attempt"], row["max_attempts"], row["epoch"],
            row["lane"], str(row["company_id"]), row["trace_id"], row["enqueued_at"],
        )  # fmt: skip

    async def verdict(self, tenancy: Tenancy, workspace_id: str | None = None) -> events.Verdict:
        """The verdict over the stored chain."""
        keys = await events.public_keys(self.db)
        return await events.verify_workspace(
            self.db, tenancy.company_id, workspace_id or tenancy.workspace_id, public_keys=keys
        )

    async def places_of(self, marks: tuple[str, ...] = MARKS) -> list[str]:
        """Where one of the marks stands, letter case aside: tables with their rows as text, and archived objects."""
        found = []
        listed = await self.db.rows(
            Sql(
                "t", "select c.oid::regclass::text as name from pg_class c where c.relkind = 'r' and relnamespace = $1"
            ),
            await self.db.value(Sql("t", "select oid from pg_namespace where nspname = 'mainstay'")),
        )
        pattern = "(" + "|".join(mark.replace(".", "[.]") for mark in marks) + ")([^0-9a-z]|$)"
        for row in listed:
            query = Sql("t", f"select count(*) from {row['name']} t where lower(t::text) ~ $1")
            if await self.db.value(query, pattern):
                found.append(row["name"])
        async for stored in self.site.objects.list():
            text = await self.text_of(stored.name)
            if re.search(pattern, text.lower()):
                found.append(stored.name)
        return sorted(found)

    async def text_of(self, name: str) -> str:
        """An object, decompressed."""
        return gzip.decompress(b"".join([piece async for piece in self.site.objects.get(name)])).decode()


@pytest.fixture
async def site(fresh_url: str, db: Database, sql_clock: SqlClock, tmp_path: Path) -> AsyncIterator[Site]:
    """An instance whose archive is a local directory."""
    async for one in _site(fresh_url, db, sql_clock, {"OBJECT_STORE": (tmp_path / "objects").as_uri()}):
        yield one


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A bucket of the test's own."""
    return s3_server.bucket()


@pytest.fixture
async def s3_erasing_site(
    fresh_url: str, db: Database, sql_clock: SqlClock, s3_server: S3Server, bucket: str
) -> AsyncIterator[Erasing]:
    """An instance whose archive is a bucket, with the jobs of erasure."""
    given = s3_server.settings(bucket)
    settings = test_settings(fresh_url, **given)
    async for one in _site(fresh_url, db, sql_clock, given):
        yield Erasing(one, erasure.ground_of(settings, Regions(one.db, {}), Keyring(settings.secret, ())))


@pytest.fixture
def erasing_site(site: Site, fresh_url: str, tmp_path: Path) -> Erasing:
    """The same with the jobs of erasure."""
    settings = test_settings(fresh_url, OBJECT_STORE=(tmp_path / "objects").as_uri())
    ground = erasure.ground_of(settings, Regions(site.db, {}), Keyring(settings.secret, ()))
    return Erasing(site, ground)
