"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import json
import os
import re
import secrets
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.ingest import copying
from benchmarks.served import Served
from mainstay import identity, main, webhooks
from mainstay.kernel import migrations
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor
from mainstay.kernel.settings import load

_BODY = {
    "action": "invoice.paid",
    "category": "billing",
    "actor": {"id": "user_8412", "email": "ada@example.com", "name": "Ada Lovelace"},
    "target": {"id": "inv_20931", "type": "invoice"},
    "payload": {"amount": 1250, "currency": "EUR", "method": "card", "lines": [{"sku": "A-1", "n": 2}], "trial": False},
    "metadata": {"ip": "192.0.2.14", "userAgent": "Mozilla/5.0 (X11; Linux x86_64)", "requestId": "c9a0f1"},
}
_SCRIPT = """
local keys = {%s}
local path, body, batch = "%s", [[%s]], %s
local counter, tag = 0, ""
local threads = 0
function setup(thread) thread:set("n", threads); threads = threads + 1 end
function init(args) math.randomseed(os.time() + n); tag = tostring(math.random(1e9)) .. "-" .. n .. "-" end
function request()
  counter = counter + 1
  local headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. keys[counter %% #keys + 1],
                   ["Idempotency-Key"] = tag .. counter}
  return wrk.format("POST", path, headers, body)
end
function done(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%f %%f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(url: str, script: Path, *, connections: int, seconds: float) -> dict[str, float]:
    """One run of the load generator: requests a second, p50 and p99 in milliseconds, failures."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", output)
    assert found, output
    requests, duration, errors, p50, p99 = (float(part) for part in found.groups())
    return {"rate": requests / (duration / 1e6), "p50": p50 / 1000, "p99": p99 / 1000, "errors": errors}


async def prepare(url: str, environment: dict[str, str], workspaces: int) -> list[str]:
    """A company with that many workspaces, a key for each, and one endpoint that wants every event."""
    settings = load({**os.environ, **environment})
    db = Database(url, size=2)
    actor = Actor(kind="operator", id="benchmark")
    keys = []
    async with db.begin() as tx:
        company = await identity.open_company(tx, actor, name="Benchmark", slug=f"b-{secrets.token_hex(4)}")
        for number in range(workspaces):
            workspace = await identity.open_workspace(tx, actor, company.id, name=f"w{number}")
            issued = await identity.issue_key(
                tx, actor, company.id, kind="workspace", name="k", workspace_id=workspace.id
            )
            keys.append(issued.secret)
        await webhooks.register(
            tx,
            actor,
            webhooks.NewEndpoint(url="http://127.0.0.1:9/", events=["invoice.*"]),
            company_id=company.id,
            keyring=Keyring(settings.secret),
            allow=settings.outbound_allow,
        )
    await db.close()
    return keys


def script(keys: list[str], path: str, body: str, batch: int) -> Path:
    quoted = ", ".join(f'"{key}"' for key in keys)
    file = Path(tempfile.mkstemp(suffix=".lua")[1])
    file.write_text(_SCRIPT % (quoted, path, body, batch))
    return file


def run() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=4)
    arguments.add_argument("--workspaces", default="1,50")
    arguments.add_argument("--only", default="", help="comma separated: single, batch, batch2, copy, copy2, usual")
    arguments.add_argument("--database-url")
    options = arguments.parse_args()
    only = set(filter(None, options.only.split(",")))
    print(machine.describe())
    with machine.database(options.database_url) as server_url:
        results = measure(server_url, options, only)
    report(results)


def measure(server_url: str, options: argparse.Namespace, only: set[str]) -> dict[str, list[dict[str, float]]]:
    url = asyncio.run(machine.create_database(server_url, f"ingest_{secrets.token_hex(4)}"))
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
    single, batch = json.dumps(_BODY), json.dumps({"events": [_BODY] * 100})
    cases = []
    for count in (int(part) for part in options.workspaces.split(",")):
        keys = asyncio.run(prepare(url, environment, count))
        cases.append((count, script(keys, "/v1/key/workspace/events", single, 1),
                      script(keys, "/v1/key/workspace/events/batch", batch, 100)))  # fmt: skip
    usual_script = script(["none"], "/events", single, 1)
    duties_script = script([f"key-{n}" for n in range(cases[-1][0])], "/duties", single, 1)
    results: dict[str, list[dict[str, float]]] = {}

    def note(name: str, figures: dict[str, float], factor: int = 1) -> None:
        figures["rate"] *= factor
        results.setdefault(name, []).append(figures)
        print(f"  {name:32} {figures['rate']:>9,.0f}/s  p50 {figures.get('p50', 0):6.1f} ms  p99 {figures.get('p99', 0):6.1f} ms"  # noqa: E501
              f"  errors {figures.get('errors', 0):.0f}", flush=True)  # fmt: skip

    for number in range(options.rounds):
        print(f"round {number + 1}")
        for count, single_script, batch_script in cases:
            if not only or "single" in only or "batch" in only:
                ours = Served("benchmarks.ingest.ours:build", environment, [18101])
                if not only or "single" in only:
                    wrk("http://127.0.0.1:18101", single_script, connections=32, seconds=1)
                    note(
                        f"single, {count} workspaces",
                        wrk("http://127.0.0.1:18101", single_script, connections=32, seconds=options.seconds),
                    )
                if not only or "batch" in only:
                    wrk("http://127.0.0.1:18101", batch_script, connections=8, seconds=1)
                    note(
                        f"batch of 100, {count} workspaces",
                        wrk("http://127.0.0.1:18101", batch_script, connections=8, seconds=options.seconds),
                        100,
                    )
                ours.stop()
        if not only or "batch2" in only:
            two = Served("benchmarks.ingest.ours:build", environment, [18101, 18102])
            note("batch of 100, two processes", asyncio.run(both(cases[-1][2], options.seconds)), 100)
            two.stop()
        if not only or "copy" in only:
            note("bare COPY, 100 a transaction", {"rate": asyncio.run(copying.rate(url, 100, options.seconds))})
        if not only or "usual" in only:
            usual = Served("benchmarks.ingest.usual:app", environment, [18103])
            for name, one in (
                ("the usual way, a row alone", usual_script),
                ("the usual way, same duties", duties_script),
            ):
                wrk("http://127.0.0.1:18103", one, connections=32, seconds=1)
                note(name, wrk("http://127.0.0.1:18103", one, connections=32, seconds=options.seconds))
            usual.stop()
    return results


async def both(batch_script: Path, seconds: float) -> dict[str, float]:
    """Two load generators at once, one at each process."""
    runs = await asyncio.gather(
        *(
            asyncio.to_thread(wrk, f"http://127.0.0.1:{port}", batch_script, connections=4, seconds=seconds)
            for port in (18101, 18102)
        )
    )
    return {"rate": sum(r["rate"] for r in runs), "p50": max(r["p50"] for r in runs), "p99": max(r["p99"] for r in runs),  # noqa: E501
            "errors": sum(r["errors"] for r in runs)}  # fmt: skip


def report(results: dict[str, list[dict[str, float]]]) -> None:
    print("\nmedians [least - greatest]")
    medians = {}
    for name, runs in results.items():
        medians[name] = statistics.median(run["rate"] for run in runs)
        p99 = [run["p99"] for run in runs if "p99" in run]
        tail = f"  p99 {machine.spread(p99, '.1f')} ms" if p99 else ""
        print(f"  {name:32} {machine.spread([run['rate'] for run in runs])}/s{tail}")
    for name, rate in medians.items():
        if name.startswith("batch") and "bare COPY, 100 a transaction" in medians:
            print(f"  {name} / bare COPY = {rate / medians['bare COPY, 100 a transaction']:.2f}")
        for usual in ("the usual way, a row alone", "the usual way, same duties"):
            if name.startswith("single") and usual in medians:
                print(f"  {name} / {usual} = {rate / medians[usual]:.1f}")


if __name__ == "__main__":
    run()
