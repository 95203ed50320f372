"""A company, the API, and a worker that turns streams only when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from mainstay import jobs, streams
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Task
from tests.events.test_reading import send
from tests.jobs.conftest import working
from tests.objects import s3_server  # noqa: F401 - a fixture
from tests.tenancy import Tenancy, test_settings

PATH = "/v1/key/company/streams"
_DUE = """select (select count(*) from mainstay.due_streams(10))
               + (select count(*) from mainstay.jobs where queue = 'mainstay:streams'
                    and (state in ('waiting', 'active') or due_at <= mainstay.now()))"""


@dataclass
class Pumping:
    """The streams of one company, and what turns them."""

    api: httpx.AsyncClient
    db: Database
    tenancy: Tenancy
    tasks: list[Task]

    async def create(self, destination: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A stream to that destination."""
        wanted = {"name": "a stream", "destination": destination, **more}
        answer = await self.api.post(PATH, json=wanted, headers=self.tenancy.company_auth)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def read(self, stream: dict[str, Any]) -> dict[str, Any]:
        """The stream as it stands."""
        answer = await self.api.get(f"{PATH}/{stream['id']}", headers=self.tenancy.company_auth)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def act(self, stream: dict[str, Any], what: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """One of the acts on a stream."""
        more: dict[str, Any] = {"json": body} if body else {}
        path = f"{PATH}/{stream['id']}/{what}"
        answer = await self.api.post(path, headers=self.tenancy.company_auth, **more)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def change(self, stream: dict[str, Any], **body: Any) -> dict[str, Any]:
        """The stream after a change."""
        answer = await self.api.patch(f"{PATH}/{stream['id']}", json=body, headers=self.tenancy.company_auth)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def send(self, *events: dict[str, Any] | str, key: str | None = None) -> list[str]:
        """Ids of events that were stored."""
        wanted = [{"action": one} if isinstance(one, str) else one for one in events]
        headers = self.tenancy.auth if key is None else {"x-api-key": key}
        return await send(self.api, headers, wanted)

    async def look(self) -> None:
        """What has something to send has a turn in line."""
        run = next(task.run_in_tx for task in self.tasks if task.kind == "streams.look")
        assert run is not None
        async with self.db.begin() as tx:
            await run(tx, None)  # type: ignore[arg-type]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[jobs.Worker]:
        """A worker turns streams inside the block."""
        async with working(self.db, self.tasks, queues=[jobs.QueueConfig(streams.QUEUE, 10)]) as worker:
            yield worker

    async def settle(self) -> None:
        """Everything that could go out now has been tried."""
        async with self.working(), asyncio.timeout(60):
            await self.until_settled()

    async def until_settled(self) -> None:
        """The same, where a worker runs."""
        while True:
            await self.look()
            async with self.db.connection() as connection:
                if not await connection.fetchval(_DUE):
                    return
            await asyncio.sleep(0.01)

    async def announced(self, name: str) -> list[dict[str, Any]]:
        """The data of announcements of that name."""
        async with self.db.connection() as connection:
            found = await connection.fetch("select data from mainstay.announcements where name = $1 order by id", name)
        return [orjson.loads(row["data"]) for row in found]


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    """A client that may reach loopback."""
    client = Outbound(allow=test_settings("postgresql://nobody").outbound_allow)
    yield client
    await client.close()


@pytest.fixture
def pumping(api: httpx.AsyncClient, db: Database, tenancy: Tenancy, outbound: Outbound) -> Pumping:
    """The streams of a company, which are turned by hand."""
    settings = test_settings(db.dsn)
    keyring = Keyring(settings.secret, settings.secret_previous)
    return Pumping(api, db, tenancy, streams.tasks(db, outbound, keyring, settings.brand))
