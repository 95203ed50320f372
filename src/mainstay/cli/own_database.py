"""The database of `mainstay up`: the embedded PostgreSQL in the data directory, or the one that DATABASE_URL names."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

import asyncpg

from mainstay import embedded
from mainstay.cli.places import DEMO, SECRETS, Place, UpRefused
from mainstay.kernel.db import GONE

Say = Callable[[str], None]
DATABASE = "mainstay"
LOOK_SECONDS = 0.5
RESTART_SECONDS = 2.0
_STEADY_SECONDS = 30.0


class OwnDatabase:
    """A PostgreSQL with its address; ours to start and stop where it is embedded."""

    def __init__(self, place: Place, say: Say) -> None:
        """It runs; EmbeddedError or UpRefused says what to do if not."""
        self._place = place
        self._say = say
        self._server: embedded.Server | None = None
        self.url = os.environ.get("DATABASE_URL", "").strip()
        if not self.url:
            self._start()

    @property
    def is_embedded(self) -> bool:
        """Whether it is ours."""
        return self._server is not None

    @property
    def told(self) -> str:
        """What it is, without its password."""
        if self._server is None:
            return "the database of DATABASE_URL"
        return f"embedded PostgreSQL {self._server.version} on port {self._server.port}"

    def _start(self) -> None:
        self._server = embedded.start(self._place.directory, database=DATABASE)
        self.url = self._server.dsn
        for notice in self._server.notices:
            self._say(notice)

    def stop(self) -> None:
        """What is ours has ended."""
        if self._server is not None:
            self._server.stop()

    def kill(self) -> None:
        """What is ours ends at once, and recovers at its next start."""
        if self._server is not None and self._server.is_running():
            os.kill(self._server.pid, signal.SIGQUIT)

    async def keep(self, moved: Callable[[], None]) -> None:
        """Our server is started again whenever it ends, `moved` called if its address changed; cancel this to stop."""
        pause = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._server is None or self._server.is_running():
                continue
            self._say(f"PostgreSQL ended by itself; it starts again (its log: {self._server.log_path})")
            before = self.url
            await asyncio.sleep(pause)
            self._server.stop()
            started = time.monotonic()
            try:
                self._start()
            except embedded.EmbeddedError as error:
                self._say(f"PostgreSQL does not start: {error}")
            if self.url != before:
                moved()
            pause = 0.0 if time.monotonic() - started > _STEADY_SECONDS else RESTART_SECONDS

    async def empty(self) -> None:
        """All data is gone, with what belonged to it; UpRefused for a database that is not ours."""
        if self._server is None:
            raise UpRefused("--fresh does not empty the database of DATABASE_URL: drop and create it yourself")
        try:
            admin = await asyncpg.connect(self.url.rpartition("/")[0] + "/postgres", timeout=10)
            try:
                await admin.execute(f"drop database if exists {DATABASE} with (force)")
                await admin.execute(f"create database {DATABASE}")
            finally:
                await admin.close()
        except (asyncpg.PostgresError, *GONE) as error:
            raise UpRefused(f"the data cannot be removed: {error}") from error
        for name in (DEMO, SECRETS):
            self._place.remove(name)
