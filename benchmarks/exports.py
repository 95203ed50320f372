"""Exports beside a bare COPY of the same rows: `python -m benchmarks.exports`.

One workspace with many events, exported over HTTP in each form by one client that only counts, and copied out of the
database with nothing between: as JSON (`row_to_json`), as CSV, and as the bare columns in PostgreSQL's text form,
which is the least that the rows can cost. In turns; rows a second, ratios, and how far the memory of the API grew.
"""

import argparse
import asyncio
import http.client
import secrets
import statistics
import time
from pathlib import Path

import asyncpg
import psutil

from benchmarks import machine, written
from benchmarks.search_filling import Filled, fill
from benchmarks.served import Served
from mainstay.events.queries.exporting import COLUMNS

_SAME = f"select {', '.join(dict.fromkeys(COLUMNS.values()))} from mainstay.events where company_id = $1 order by received_at, workspace_id, seq"  # noqa: E501
_BARE = {
    "COPY of row_to_json": (
        f"select row_to_json(e) from ({_SAME}) e",
        {"format": "csv", "quote": "\x01", "delimiter": "\x02"},
    ),
    "COPY as CSV": (_SAME, {"format": "csv"}),
    "COPY of bare columns": (_SAME, {"format": "text"}),
}
_FORMS = {"json": "COPY of row_to_json", "ndjson": "COPY of row_to_json", "csv": "COPY as CSV"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    return parser.parse_args()


async def _copy(url: str, name: str, company_id: str) -> float:
    """Seconds of the bare COPY, its bytes counted and dropped."""
    query, options = _BARE[name]
    connection = await asyncpg.connect(url, command_timeout=600)

    async def drop(_: bytes) -> None:
        return None

    started = time.perf_counter()
    await connection.copy_from_query(query.replace("$1", f"'{company_id}'"), output=drop, **options)
    taken = time.perf_counter() - started
    await connection.close()
    return taken


def _export(port: int, form: str, key: str, rows: int, process: psutil.Process) -> tuple[float, float]:
    """Seconds until the last byte of an export, and by how many MiB the API process grew meanwhile."""
    before = peak = process.memory_info().rss
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    started = time.perf_counter()
    client.request("GET", f"/v1/key/company/export.{form}?end=true", headers={"x-api-key": key})
    answer = client.getresponse()
    last, count = b"", 0
    while piece := answer.read(256 * 1024):
        last, count = (last + piece)[-300:], count + 1
        if count % 50 == 0:
            peak = max(peak, process.memory_info().rss)
    taken = time.perf_counter() - started
    client.close()
    if answer.status != 200 or str(rows).encode() not in last:
        raise SystemExit(f"{form}: {answer.status}, not {rows} rows: {last[-200:]!r}")
    return taken, (max(peak, process.memory_info().rss) - before) / 2**20


def measure(server_url: str, options: argparse.Namespace) -> None:
    """Every form and every COPY has run in turns; the table has been printed."""
    name = f"exports_{secrets.token_hex(4)}"
    url = asyncio.run(machine.create_database(server_url, name))
    filled: Filled = asyncio.run(fill(url, options.rows))
    environment = {
        "DATABASE_URL": url,
        "PROFILE": "development",
        "MAINSTAY_SECRET": secrets.token_hex(20),
        "JWT_ACCESS_SECRET": secrets.token_hex(20),
        "RATE_LIMITS": "all=1000000000/60",
        "PLAN_EXPORT_ROWS": "free=none,starter=none,growth=none,scale=none",
        "LOG_LEVEL": "WARNING",
    }
    port = machine.free_port()
    served = Served("benchmarks.ingest.ours:build", environment, [port])
    seconds: dict[str, list[float]] = {one: [] for one in (*_BARE, *_FORMS)}
    grown: dict[str, list[float]] = {form: [] for form in _FORMS}
    try:
        process = psutil.Process(served.processes[0].pid)
        for turn in range(-1, options.turns):
            for one, values in seconds.items():
                if one in _BARE:
                    taken = asyncio.run(_copy(url, one, filled.company_id))
                else:
                    taken, more = _export(port, one, filled.company_key, options.rows, process)
                    grown[one] += [more]
                if turn >= 0:
                    values.append(taken)
    finally:
        served.stop()
        asyncio.run(machine.drop_database(server_url, name))
    _tell(options, seconds, grown)


def _tell(options: argparse.Namespace, seconds: dict[str, list[float]], grown: dict[str, list[float]]) -> None:
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    rows = []
    for name, values in seconds.items():
        rates = machine.spread([options.rows / value for value in values])
        peer = _FORMS.get(name)
        ratios = (
            [f"{middle[peer] / middle[name]:.2f}", f"{middle['COPY of bare columns'] / middle[name]:.2f}"]
            if peer
            else ["", ""]
        )
        rows.append([f"export.{name}" if peer else name, rates, *ratios, f"{max(grown[name]):.0f} MiB" if peer else ""])
        print("  ".join(f"{cell:>30}" for cell in rows[-1]))
    if options.write:
        head = ["", "rows/s", "to the COPY of its kind", "to the bare columns", "memory, at most"]
        told = f"{written.when_and_where()} {options.rows:,} events of one company, {options.turns} turns."
        written.write(options.write, "exports", f"{told}\n\n{written.table(head, rows)}")


if __name__ == "__main__":
    given = _options()
    print(machine.describe(), flush=True)
    with machine.database(given.database_url) as server:
        measure(server, given)
