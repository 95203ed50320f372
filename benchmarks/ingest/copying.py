"""The floor: COPY of the rows that our events left behind, into tables of the same shape and indexes."""

import asyncio
import time
from typing import Any

import asyncpg

_TABLES = ("events", "messages", "deliveries", "jobs")


async def sample(connection: asyncpg.Connection, count: int) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """The newest rows of each table: columns and values, for `count` events and what came of them."""
    rows: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {}
    for table in _TABLES:
        order = "received_at" if table == "events" else "id"
        found = await connection.fetch(f"select * from mainstay.{table} order by {order} desc limit {count}")
        rows[table] = (list(found[0].keys()), [tuple(row.values()) for row in found]) if found else ([], [])
    return rows


async def copies(connection: asyncpg.Connection) -> None:
    """Empty twins of the tables, without partitions, with their indexes."""
    for table in _TABLES:
        await connection.execute(f"drop table if exists mainstay.copy_{table}")
        await connection.execute(f"create table mainstay.copy_{table} (like mainstay.{table} including all)")


async def rate(url: str, batch: int, seconds: float, connections: int = 1) -> float:
    """Events a second when `batch` events and their rows are copied a transaction."""
    setup = await asyncpg.connect(url)
    rows = await sample(setup, 20_000)
    await copies(setup)
    await setup.close()
    until = time.perf_counter() + seconds
    counts = await asyncio.gather(*(_copy(url, rows, batch, until, n, connections) for n in range(connections)))
    return sum(counts) / seconds


async def _copy(
    url: str, rows: dict[str, tuple[list[str], list[tuple[Any, ...]]]], batch: int, until: float, part: int, parts: int
) -> int:
    connection = await asyncpg.connect(url)
    count, at = 0, part * batch
    while time.perf_counter() < until and at + batch <= len(rows["events"][1]):
        async with connection.transaction():
            for table, (columns, values) in rows.items():
                if values:
                    await connection.copy_records_to_table(
                        f"copy_{table}", schema_name="mainstay", columns=columns, records=values[at : at + batch]
                    )
        count += batch
        at += batch * parts
        if at + batch > len(rows["events"][1]) and time.perf_counter() < until:
            at = part * batch
            await connection.execute(
                f"truncate {', '.join('mainstay.copy_' + table for table in rows)}"
            ) if parts == 1 else None
    await connection.close()
    return count
