"""Runs the measurement; see the package's docstring."""

import argparse
import asyncio
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from benchmarks import machine, written
from benchmarks.reading.filling import Filled, fill
from benchmarks.reading.pages import PAGE, Case, Client, List
from benchmarks.served import Served
from mainstay import main
from mainstay.kernel import migrations

_OFFSETS = {
    "events": "select * from mainstay.events where workspace_id = $1 order by seq desc offset $2 limit $3",
    "deliveries": "select * from mainstay.deliveries where endpoint_id = $1 order by id desc offset $2 limit $3",
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="events, and as many deliveries")
    parser.add_argument("--depth", type=float, default=0.5, help="how deep the deep pages lie, as a share of the list")
    parser.add_argument("--requests", type=int, default=200, help="measured requests of each kind")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    return parser.parse_args()


def _cases(client: Client, filled: Filled, rows: int) -> list[Case]:
    """Every kind of page; the first two of a list are those that are compared."""
    events = List("events", "/v1/key/workspace/events", filled.workspace_key, 1_000)
    logs = f"/v1/key/company/webhooks/{filled.endpoint_id}/logs"
    deliveries = List("deliveries", logs, filled.company_key, 100)
    filters = {
        events.name: [
            ("filter with an index, 1 row in 50", {"action": "invoice.refunded"}),
            ("filter with an index, 1 row in 10,000", {"action": "data.exported"}),
            ("filter without an index, 1 row in 1,000", {"actorEmail": "user7@example.com"}),
            ("search for a text that no row has", {"text": "nowhere"}),
        ],
        deliveries.name: [
            ("by status, 1 row in 50", {"status": "FAILED"}),
            ("by status, 1 row in 10,000", {"status": "DISCARDED"}),
            ("by a status that no row has", {"status": "RETRYING"}),
        ],
    }
    found = []
    for one in (events, deliveries):
        page = {"limit": str(PAGE)}
        found.append(Case(f"{one.name}: first page", one, [page]))
        found.append(Case(f"{one.name}: deep page", one, client.walk(one, rows)))
        found += [Case(f"{one.name}: {name}", one, [page | query]) for name, query in filters[one.name]]
    return found


async def _by_offset(url: str, filled: Filled, rows: int) -> dict[str, float]:
    """Milliseconds of a page at that depth by OFFSET, the median of five, in SQL alone."""
    owners = {"events": filled.workspace_id, "deliveries": filled.endpoint_id}
    found = {}
    connection = await asyncpg.connect(url)
    for name, statement in _OFFSETS.items():
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            await connection.fetch(statement, owners[name], rows, PAGE)
            taken.append((time.perf_counter() - started) * 1_000)
        found[name] = statistics.median(taken)
    await connection.close()
    return found


def _p(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _tell(options: argparse.Namespace, cases: Sequence[Case], offsets: Mapping[str, float]) -> None:
    rows, ratios = [], []
    for case in cases:
        p50, p99 = _p(case.taken_ms, 0.5), _p(case.taken_ms, 0.99)
        rows.append([case.name, str(case.rows), f"{p50:.1f} ms", f"{p99:.1f} ms"])
        print(f"{case.name:52} {case.rows:>3} rows  p50 {p50:7.1f} ms  p99 {p99:7.1f} ms")
    for name, offset in offsets.items():
        first, deep = (
            next(case for case in cases if case.name == f"{name}: {kind} page") for kind in ("first", "deep")
        )
        p50, p99 = (_p(deep.taken_ms, share) / _p(first.taken_ms, share) for share in (0.5, 0.99))
        ratios.append(f"A deep page of {name} to the first: p50 {p50:.2f}, p99 {p99:.2f}; by OFFSET, in SQL alone, "
                      f"that page takes {offset:,.0f} ms.")  # fmt: skip
        print(ratios[-1])
    if options.write:
        what = (
            f"{options.rows:,} events of one workspace and {options.rows:,} deliveries of one endpoint; deep is "
            f"{int(options.rows * options.depth):,} rows from the first; {options.requests} requests each"
        )
        table = written.table(["", "rows", "p50", "p99"], rows)
        written.write(options.write, "reading", f"{written.when_and_where()} {what}.\n\n{table}\n\n" + " ".join(ratios))


def measure(server_url: str, options: argparse.Namespace) -> None:
    """The lists have been filled and read; what pages cost has been printed."""
    name = f"reading_{secrets.token_hex(4)}"
    url = asyncio.run(machine.create_database(server_url, name))
    environment = {
        "DATABASE_URL": url,
        "PROFILE": "development",
        "MAINSTAY_SECRET": secrets.token_hex(20),
        "JWT_ACCESS_SECRET": secrets.token_hex(20),
        "RATE_LIMITS": "all=1000000000/60",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "LOG_LEVEL": "WARNING",
    }
    asyncio.run(migrations.migrate(url, main.partitioned()))
    started = time.monotonic()
    filled = asyncio.run(fill(url, environment, options.rows))
    print(f"{options.rows:,} events and deliveries written in {time.monotonic() - started:.0f} s", flush=True)
    port = machine.free_port()
    served = Served("benchmarks.ingest.ours:build", environment, [port])
    deep = int(options.rows * options.depth)
    try:
        client = Client(port)
        cases = _cases(client, filled, deep)
        client.measure(cases, requests=options.requests)
    finally:
        served.stop()
    offsets = asyncio.run(_by_offset(url, filled, deep))
    asyncio.run(machine.drop_database(server_url, name))
    _tell(options, cases, offsets)


if __name__ == "__main__":
    given = _options()
    print(machine.describe(), flush=True)
    with machine.database(given.database_url) as server:
        measure(server, given)
