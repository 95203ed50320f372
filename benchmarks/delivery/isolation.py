"""What healthy endpoints feel of sick ones: their waits when all are healthy, and when some hang or fail, in turns.

Every endpoint is a company of its own and has a loopback address of its own, as receivers in the world have.
"""

import argparse
import ipaddress
import statistics
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import machine, written
from benchmarks.delivery import company, latency, processes
from benchmarks.delivery.sides import Scene

GOAL = 1.10
_NAMES = {False: "all healthy", True: "with sick"}
_FIRST_ADDRESS = ipaddress.IPv4Address("127.0.1.1")
_UNDONE = """
select count(*) from mainstay.deliveries where company_id = any($1::uuid[]) and status in ('PENDING', 'RETRYING')
"""
_WAITS = """
select extract(epoch from a.started_at - m.created_at)::float8 * 1000
  from mainstay.attempts a join mainstay.deliveries d on d.id = a.delivery_id
  join mainstay.messages m on m.id = d.message_id
 where a.number = 1 and m.company_id = any($1::uuid[]) and m.created_at > $2::timestamptz + make_interval(secs => $3)
"""


def _address(number: int) -> str:
    return str(_FIRST_ADDRESS + number)


def paths_of(endpoints: int, *, with_sick: bool) -> list[str]:
    """One in a hundred hangs, one in a hundred fails, spread over all; at least one of each."""
    sick = max(1, endpoints // 100)
    every = endpoints // sick
    paths = ["/ok"] * endpoints
    if with_sick:
        for number in range(sick):
            paths[number * every], paths[number * every + every // 2] = "/hang", "/fail"
    return paths


@contextmanager
def _receivers(endpoints: int) -> Iterator[int]:
    """The port on which every address of the run answers."""
    port = machine.free_port()
    command = [*processes.module("sick_sink"), str(port), *map(_address, range(endpoints))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the receivers did not start")
        urllib.request.urlopen(f"http://{_address(endpoints - 1)}:{port}/ok", data=b"{}", timeout=5).close()
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def _turn(scene: Scene, options: argparse.Namespace, port: int, *, with_sick: bool) -> list[float]:
    """Milliseconds from commit to first attempt, for the endpoints that are healthy in both kinds of turn."""
    sick_ones = [path != "/ok" for path in paths_of(scene.endpoints, with_sick=True)]
    async with scene.db.connection() as connection:
        await company.empty(connection)
        urls = [
            f"http://{_address(n)}:{port}{path}"
            for n, path in enumerate(paths_of(scene.endpoints, with_sick=with_sick))
        ]
        companies = await company.make_companies(scene.db, urls, scene.environment)
        await machine.settle(scene.environment["DATABASE_URL"])
        healthy = [one for one, is_sick in zip(companies, sick_ones, strict=True) if not is_sick]
        count = int(options.rate * (options.warm + options.seconds))
        messages = [company.message(companies[n % len(companies)], n) for n in range(count)]
        async with processes.running(processes.module("ours"), scene.environment):
            await latency.offer(scene, messages, options.rate)
            await processes.until_zero(connection, _UNDONE, healthy, limit_seconds=60)
        first = await connection.fetchval("select min(created_at) from mainstay.messages")
        rows = await connection.fetch(_WAITS, healthy, first, options.warm)
    return [row[0] for row in rows]


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def measure(scene: Scene, options: argparse.Namespace) -> None:
    """Both kinds of turn have been taken in turns; percentiles and their ratio are printed, and written if asked."""
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    with _receivers(scene.endpoints) as port:
        await _turn(scene, argparse.Namespace(rate=options.rate, warm=0, seconds=2), port, with_sick=False)
        for number in range(options.rounds):
            for with_sick in (False, True) if number % 2 == 0 else (True, False):
                waits = await _turn(scene, options, port, with_sick=with_sick)
                found[with_sick].append(waits)
                p50, p99 = (_percentile(waits, share) for share in (0.5, 0.99))
                print(f"round {number + 1}  {_NAMES[with_sick]:12} {len(waits):,} first attempts, "
                      f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)  # fmt: skip
    _tell(found, scene, options)


def _tell(found: dict[bool, list[list[float]]], scene: Scene, options: argparse.Namespace) -> None:
    figures = {
        with_sick: [[_percentile(waits, share) for waits in turns] for share in (0.5, 0.99)]
        for with_sick, turns in found.items()
    }
    p50, p99 = (statistics.median(figures[True][n]) / statistics.median(figures[False][n]) for n in (0, 1))
    met = "met" if p99 < GOAL else "NOT met"
    line = f"p99 with sick ones to p99 without: {p99:.2f} (p50: {p50:.2f}); goal, less than {GOAL:.2f}: {met}."
    rows = [[_NAMES[w], *(machine.spread(values, ",.1f") + " ms" for values in figures[w])] for w in (False, True)]
    for row in rows:
        print(f"{row[0]:12} p50 {row[1]}, p99 {row[2]}")
    print(line)
    if options.write:
        sick = sum(path == "/hang" for path in paths_of(scene.endpoints, with_sick=True))
        what = (
            f"{scene.endpoints:,} endpoints of as many companies, {options.rate:,.0f} messages/s over all of them, "
            f"{sick} that never answer and {sick} that answer 500; the healthy ones' waits, medians of "
            f"{options.rounds} turns of {options.seconds:.0f} s [least - greatest]"
        )
        table = written.table(["", "p50", "p99"], rows)
        written.write(options.write, "isolation", f"{written.when_and_where()} {what}.\n\n{table}\n\n{line}")
