"""System figures: taken by a job each minute, and read from where that job keeps them (C-21)."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from mainstay.kernel.db import Database
from mainstay.observability import queries


async def aggregate(db: Database) -> None:
    """The figures of the database are kept as they are now: deliveries, events, keys, and how fast it answers."""
    await queries.ping_everywhere(db)
    started = time.perf_counter()
    await queries.ping_everywhere(db)
    await queries.take_figures_everywhere(db, (time.perf_counter() - started) * 1000)


async def read(db: Database) -> tuple[datetime | None, Mapping[str, Any]]:
    """When figures were taken last, and what they were; None and nothing before the first run."""
    row = await queries.read_figures_everywhere(db)
    return (None, {}) if row is None else (row["taken_at"], orjson.loads(row["figures"]))
