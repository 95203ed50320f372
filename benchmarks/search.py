"""Searches among many events beside the same questions in plain SQL: `python -m benchmarks.search --write docs`.

A company with twenty workspaces, of which one has 60 of every 100 events. Over HTTP, by one client: its first page by
any one indexed field with a value that many events have and one that few have, by pairs of them, and pages deep in the
list, by cursor. Beside each stands the least that SQL can say, as a developer would write it: the filters, `order by
seq desc`, a limit, for deep pages OFFSET, each statement ended after ten seconds.
"""

import argparse
import asyncio
import itertools
import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from benchmarks import machine, written
from benchmarks.reading.pages import PAGE, Case, Client, List
from benchmarks.search_filling import Filled, fill, kept
from benchmarks.served import Served
from mainstay.events.filters import LEADS
from mainstay.kernel.clock import iso

GOAL_MS = 150
_COLUMNS = {
    "action": "action",
    "category": "category",
    "actorId": "actor_id",
    "actorEmail": "actor_email",
    "targetId": "target_id",
    "projectId": "project_id",
}
COMMON = {
    "action": "invoice.paid",
    "category": "billing",
    "actorId": "user_0",
    "actorEmail": "user1@example.com",
    "targetId": "item_4",
    "projectId": "project_0",
}
"""Of each field a value that as many events have as of any."""
RARE = {
    "action": "data.exported",
    "category": "security",
    "actorId": "user_20000",
    "actorEmail": "user20000@example.com",
    "projectId": "project_49",
}
SELDOM_TOGETHER = {"action": "job.ran", "category": "system"}
_SAID = {"from": "received_at >= $#", "to": "received_at <= $#"}
_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of page: its name, its filters, and how many events before it are passed over."""

    name: str
    filters: dict[str, str]
    deep: int = 0

    @property
    def is_indexed(self) -> bool:
        """Whether each of its filters has an index."""
        return all(name in {*LEADS, "from", "to"} for name in self.filters)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--deep", type=int, default=100_000, help="how far down the list the deep pages lie")
    parser.add_argument(
        "--no-plain", action="store_true", help="leave out the same pages in plain SQL, most of the time"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the pages whose name holds this")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the events there, and take those that are")
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    return parser.parse_args()


async def _day(url: str, filled: Filled) -> dict[str, str]:
    """A day in the middle of the events."""
    connection = await asyncpg.connect(url)
    statement = "select received_at from mainstay.chain_heads where workspace_id = $1"
    newest = await connection.fetchval(statement, filled.workspace_id)
    await connection.close()
    return {"from": iso(newest - timedelta(days=30)), "to": iso(newest - timedelta(days=29))}


def _asked(deep: int, day: dict[str, str]) -> list[Asked]:
    """Every kind of page."""
    found = [Asked("no filter", {}), Asked(f"no filter, {deep:,} deep", {}, deep)]
    for name in _COLUMNS:
        found.append(Asked(f"{name}, many", {name: COMMON[name]}))
        if name in RARE:
            found.append(Asked(f"{name}, few", {name: RARE[name]}))
    action = {"action": COMMON["action"]}
    found.append(Asked(f"action, many, {deep:,} deep", action, deep))
    for one, other in itertools.combinations(_COLUMNS, 2):
        found.append(Asked(f"{one} and {other}, many", {one: COMMON[one], other: COMMON[other]}))
    found.append(Asked("action, many, and category, few", {**action, "category": RARE["category"]}))
    found.append(Asked("action, few, and category, many", {"action": RARE["action"], "category": COMMON["category"]}))
    found.append(Asked("a day, months ago", day))
    for name in LEADS:
        found.append(Asked(f"a day and {name}, many", {**day, name: COMMON[name]}))
        found.append(Asked(f"a day and {name}, few", {**day, name: RARE[name]}))
    found.append(Asked("action and category, a tenth each, together 1 in 100,000", SELDOM_TOGETHER))
    return found


def _typed(given: tuple[str, str]) -> str | datetime:
    name, value = given
    return datetime.fromisoformat(value) if name in _SAID else value


async def _plain(url: str, filled: Filled, asked: Sequence[Asked]) -> list[str]:
    """What the same pages take in SQL alone, the median of three; of what was ended, that it was."""
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": str(_TIMEOUT_SECONDS * 1_000)})
    found = []
    for one in asked:
        conditions = [
            _SAID.get(name, f"{_COLUMNS.get(name)} = $#").replace("#", str(n)) for n, name in enumerate(one.filters, 2)
        ]
        where = " and ".join(["workspace_id = $1", *conditions])
        statement = f"select * from mainstay.events where {where} order by seq desc limit {PAGE} offset {one.deep}"
        taken = []
        try:
            for _ in range(3):
                started = time.perf_counter()
                await connection.fetch(statement, filled.workspace_id, *map(_typed, one.filters.items()))
                taken.append((time.perf_counter() - started) * 1_000)
            found.append(f"{statistics.median(taken):,.1f} ms")
        except asyncpg.QueryCanceledError:
            found.append(f"over {_TIMEOUT_SECONDS} s")
    await connection.close()
    return found


def _cases(client: Client, filled: Filled, asked: Sequence[Asked]) -> list[Case]:
    events = List("events", "/v1/key/workspace/events", filled.large_key, 1_000)
    found = []
    for one in asked:
        page = {"limit": str(PAGE), **one.filters}
        queries = [page]
        if one.deep:
            queries = [{**page, **query} for query in client.walk(events, one.deep, one.filters)]
        found.append(Case(one.name, events, queries))
    return found


@contextmanager
def _filled(options: argparse.Namespace) -> Iterator[tuple[str, Filled]]:
    """The address of a database with the events, and whose they are."""
    if options.data:
        with kept(options.data, options.rows) as found:
            yield found
        return
    with machine.database(options.database_url) as server_url:
        name = f"search_{secrets.token_hex(4)}"
        url = asyncio.run(machine.create_database(server_url, name))
        try:
            yield url, asyncio.run(fill(url, options.rows))
        finally:
            asyncio.run(machine.drop_database(server_url, name))


def measure(url: str, filled: Filled, options: argparse.Namespace) -> None:
    """Every kind of page has been asked for; what they cost has been printed."""
    environment = {
        "DATABASE_URL": url,
        "PROFILE": "development",
        "MAINSTAY_SECRET": secrets.token_hex(20),
        "JWT_ACCESS_SECRET": secrets.token_hex(20),
        "RATE_LIMITS": "all=1000000000/60",
        "LOG_LEVEL": "ERROR",
    }
    asked = [one for one in _asked(options.deep, asyncio.run(_day(url, filled))) if options.only in one.name]
    port = machine.free_port()
    served = Served("benchmarks.ingest.ours:build", environment, [port])
    try:
        client = Client(port)
        cases = _cases(client, filled, asked)
        client.measure(cases, requests=options.requests)
    finally:
        served.stop()
    plain = ["not asked"] * len(asked) if options.no_plain else asyncio.run(_plain(url, filled, asked))
    _tell(options, asked, cases, plain)


def _p(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _tell(options: argparse.Namespace, asked: Sequence[Asked], cases: Sequence[Case], plain: Sequence[str]) -> None:
    rows, over = [], []
    for one, case, alone in zip(asked, cases, plain, strict=True):
        p50, p99 = _p(case.taken_ms, 0.5), _p(case.taken_ms, 0.99)
        rows.append([case.name, str(case.rows), f"{p50:.1f} ms", f"{p99:.1f} ms", alone])
        over += [case.name] if p99 >= GOAL_MS and one.is_indexed else []
        print(f"{case.name:48} {case.rows:>3} rows  p50 {p50:7.1f} ms  p99 {p99:7.1f} ms  plain SQL {alone:>12}")
    named = {case.name: case for case in cases}
    told = [
        f"Goal, p99 under {GOAL_MS} ms for each whose filters have an index: "
        + (f"NOT met by {', '.join(over)}." if over else "met.")
    ]
    for first in ("no filter", "action, many"):
        deep = named.get(f"{first}, {options.deep:,} deep")
        if deep is None or first not in named:
            continue
        p50, p99 = (_p(deep.taken_ms, share) / _p(named[first].taken_ms, share) for share in (0.5, 0.99))
        told.append(f"A page {options.deep:,} deep to the first, {first}: p50 {p50:.2f}, p99 {p99:.2f}.")
    print("\n".join(told))
    if options.write:
        what = f"{options.rows:,} events, {options.requests} requests each."
        table = written.table(["the first page by", "rows", "p50", "p99", "plain SQL, without HTTP"], rows)
        written.write(options.write, "search", f"{written.when_and_where()} {what}\n\n{table}\n\n{' '.join(told)}")


if __name__ == "__main__":
    given = _options()
    print(machine.describe(), flush=True)
    begun = time.monotonic()
    with _filled(given) as (database, owner):
        print(f"{given.rows:,} events are there after {time.monotonic() - begun:.0f} s", flush=True)
        measure(database, owner, given)
