"""What the figures were measured on, and a database to measure against."""

import asyncio
import os
import platform
import socket
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import psutil

from mainstay import embedded


def describe() -> str:
    """One line about the machine."""
    memory = psutil.virtual_memory().total / 2**30
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


async def _lived_in(url: str) -> None:
    """The server has log segments to use again, as one that has run for a while; making each anew costs 40 ms."""
    connection = await asyncpg.connect(url)
    await connection.execute("create table filler as select repeat('x', 700) as x from generate_series(1, 1)")
    for _ in range(10):
        await connection.execute("insert into filler select repeat(md5(n::text), 22) from generate_series(1, 100000) n")
    await connection.execute("drop table filler")
    await connection.execute("checkpoint")
    await connection.close()


@contextmanager
def database(url: str | None, **settings: str) -> Iterator[str]:
    """The given database server, or an embedded one that commits durably to disk; `settings` are PostgreSQL's own."""
    if url:
        yield url
        return
    with TemporaryDirectory(prefix="mainstay-bench-", dir="/var/tmp", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        settings = {"shared_buffers": "512MB", "max_wal_size": "1GB", "min_wal_size": "1GB", **settings}
        server = embedded.start(Path(place), database="postgres", settings=settings)
        try:
            asyncio.run(_lived_in(server.dsn))
            yield server.dsn
        finally:
            server.stop()


async def create_database(server_url: str, name: str) -> str:
    """The address of a new, empty database of that name; one that was there is gone."""
    await drop_database(server_url, name)
    admin = await asyncpg.connect(server_url)
    await admin.execute(f"create database {name}")
    await admin.close()
    return server_url.rpartition("/")[0] + "/" + name


async def drop_database(server_url: str, name: str) -> None:
    """No database of that name is there, whoever was connected."""
    admin = await asyncpg.connect(server_url)
    await admin.execute(f"drop database if exists {name} with (force)")
    await admin.close()


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU time that processes and their living children have used."""
    total = 0.0
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


async def postmaster(url: str) -> psutil.Process:
    """The first process of the local PostgreSQL server behind this URL."""
    connection = await asyncpg.connect(url)
    parent = psutil.Process(await connection.fetchval("select pg_backend_pid()")).parent()
    await connection.close()
    assert parent is not None
    return parent


def tree_seconds(first: psutil.Process) -> float:
    """CPU time of a server: the process, its living children, and those children that have ended."""
    times = first.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in first.children():
        with suppress(psutil.NoSuchProcess):
            one = child.cpu_times()
            total += one.user + one.system
    return total


async def settle(url: str) -> None:
    """What earlier turns wrote is on disk and vacuumed, or ten seconds have passed: a turn pays for itself alone."""
    connection = await asyncpg.connect(url)
    await connection.execute("checkpoint")
    for _ in range(100):
        if not await connection.fetchval(
            "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'"
        ):
            break
        await asyncio.sleep(0.1)
    await connection.close()


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """A median with its least and greatest."""
    return f"{statistics.median(values):{form}} [{min(values):{form}} - {max(values):{form}}]"
