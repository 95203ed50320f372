"""A whole deployment that a test may kill piece by piece: PostgreSQL, API and worker, each started again on demand."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from mainstay import embedded
from mainstay.embedded.postmaster import free_port
from mainstay.kernel.db import Database, Sql
from tests.cli.running import SECRETS, environment
from tests.receivers import Line, Receiver, ok
from tests.tenancy import Tenancy
from tests.warm import Warm

SHUTDOWN_SECONDS = 5.0
SETTLED = """select (select count(*) from mainstay.deliveries where status in ('PENDING', 'RETRYING'))
                  + (select count(*) from mainstay.jobs where queue = 'nova:webhook')"""


def is_refused(message_id: str) -> bool:
    """Whether the failing endpoint refuses this message: a fourth of them, too scattered to open a breaker."""
    return message_id[-1] in "048c"


async def refuse_some(line: Line) -> None:
    """Answers 500 to the messages that are refused, and 200 to the others."""
    message_id = (await line.read_request()).headers["webhook-id"]
    await ok(500 if is_refused(message_id) else 200)(line)


class Ground:
    """A durable PostgreSQL of our own that can be killed, stopped and started again under the same address."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server = self._started()
        self.dsn = self._server.dsn

    def _started(self) -> embedded.Server:
        return embedded.start(self._data, database="postgres", durable=True)

    def kill(self) -> None:
        """The postmaster is gone as by a crash."""
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def stop(self) -> None:
        """The server has shut down in order; every connection was cut."""
        self._server.stop()

    def start(self) -> None:
        """The server answers again, where it did before."""
        self._server = self._started()
        assert self._server.dsn == self.dsn, self._server.notices

    def is_running(self) -> bool:
        """Whether the postmaster is alive."""
        return self._server.is_running()


class Program:
    """One process of ours, started again on demand as a process manager would."""

    def __init__(self, *arguments: str, env: Mapping[str, str], log: Path) -> None:
        self._command = arguments
        self._env = environment(**env)
        self._process: Warm | None = None
        self.log = log

    @property
    def process(self) -> Warm:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def give(self, **env: str) -> None:
        """The next start has these settings, too."""
        self._env = {**self._env, **env}

    def start(self) -> None:
        """The process has been started; it may not be ready."""
        with self.log.open("ab") as log:
            self._process = Warm(*self._command, env=self._env, stdout=log, stderr=log)

    def kill(self) -> None:
        """The process is gone, without a chance to tidy up."""
        self.process.kill()
        self.process.wait()

    async def ended(self, seconds: float) -> int:
        """The exit code; the test fails if the process does not end in time."""
        return await asyncio.to_thread(self.process.wait, seconds)

    async def said(self, text: str, seconds: float = 60.0) -> None:
        """The text stands in the log."""
        deadline = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Nothing runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@dataclass
class World:
    """A company with two endpoints, an API, a worker and a receiver; `url` is the API's address."""

    ground: Ground
    db: Database
    tenancy: Tenancy
    api: Program
    worker: Program
    receiver: Receiver
    port: int
    session: aiohttp.ClientSession
    good: dict[str, Any] = field(default_factory=dict)
    failing: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Status, body and headers of one request under the workspace's key."""
        async with self.session.post(self.url + path, json=body, headers={**self.tenancy.auth, **headers}) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def status(self, path: str, **headers: str) -> int:
        """The status of a GET; 0 where nobody answers."""
        try:
            async with self.session.get(self.url + path, headers=headers) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def until_status(self, path: str, wanted: int, seconds: float = 60.0) -> float:
        """The GET gives the wanted status; after how many seconds it did."""
        began = time.monotonic()
        while (found := await self.status(path)) != wanted:
            assert time.monotonic() < began + seconds, f"{path} still gives {found}: {self.api.log.read_text()[-3000:]}"
            assert self.api.process.poll() is None, self.api.log.read_text()[-3000:]
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def subscribe(self) -> None:
        """The workspace has a good endpoint, and one that refuses a fourth of all messages, with one try for each."""
        self.receiver.at("/failing", refuse_some)
        self.good = await self.endpoint("/good")
        self.failing = await self.endpoint("/failing", retries=0)

    async def endpoint(self, path: str, **settings: Any) -> dict[str, Any]:
        """The workspace has an endpoint at that path of the receiver, which hears everything."""
        body = {"url": self.receiver.url(path), "events": ["*"], "workspaceId": self.tenancy.workspace_id, **settings}
        return await self.manage("POST", "", body, 201)

    async def manage(self, method: str, path: str, body: Any, wanted: int) -> dict[str, Any]:
        """The answer of one request on the company's webhooks, which has the wanted status."""
        url, headers = f"{self.url}/v1/key/company/webhooks{path}", self.tenancy.company_auth
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == wanted, await answer.text()
            made: dict[str, Any] = await answer.json()
            return made

    async def value(self, text: str, *args: Any) -> Any:
        """The first value of a statement."""
        return await self.db.value(Sql("test", text), *args)

    async def rows(self, text: str, *args: Any) -> list[Any]:
        """The rows of a statement."""
        return await self.db.rows(Sql("test", text), *args)

    async def settled(self, seconds: float = 90.0) -> None:
        """Every delivery has ended and none has a job left."""
        deadline = time.monotonic() + seconds
        while left := await self.value(SETTLED):
            assert time.monotonic() < deadline, f"{left} deliveries and jobs still open: {self.tails()}"
            await asyncio.sleep(0.2)

    def tails(self) -> str:
        """The ends of both logs."""
        return "\n".join(program.log.read_text()[-3000:] for program in (self.api, self.worker) if program.log.exists())

    async def close(self) -> None:
        """Nothing of it runs, and PostgreSQL is up for whoever comes next."""
        self.api.close()
        self.worker.close()
        await self.session.close()
        if not self.ground.is_running():
            self.ground.stop()
            self.ground.start()
        with suppress(Exception):
            await self.db.close()


def program_env(url: str, port: int) -> dict[str, str]:
    """The settings of both processes."""
    return {
        **SECRETS,
        "DATABASE_URL": url,
        "PORT": str(port),
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
    }


def lay_out(url: str, place: Path) -> tuple[int, Program, Program]:
    """The API's port, the API and a worker on one database, not started; their logs lie in `place`."""
    port = free_port()
    env = program_env(url, port)
    return port, Program("api", env=env, log=place / "api.log"), Program("worker", env=env, log=place / "worker.log")
