"""Worker processes of a run, and waiting for what they do."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import psutil

WARM_SECONDS = 2.0
SETTLE_SECONDS = 1.0


def module(name: str) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"benchmarks.delivery.{name}"]


@asynccontextmanager
async def running(command: Sequence[str], environment: dict[str, str]) -> AsyncIterator[psutil.Process]:
    """A warm process of its own, stopped by a signal at the end."""
    started = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        await asyncio.sleep(WARM_SECONDS)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        await asyncio.to_thread(started.wait, 30)


async def until_zero(connection: asyncpg.Connection, count: str, *values: object, limit_seconds: float = 120) -> None:
    """The count has come down to zero; TimeoutError after that many seconds."""
    async with asyncio.timeout(limit_seconds):
        while await connection.fetchval(count, *values):
            await asyncio.sleep(0.2)
