"""From the commit of a message to its first attempt, at a steady rate of messages in an open loop."""

import argparse
import asyncio
import time
from collections.abc import Sequence

from benchmarks import written
from benchmarks.delivery import company, processes
from benchmarks.delivery.sides import Scene
from mainstay import jobs, webhooks

P50_GOAL_MS, P99_GOAL_MS = 25, 150
_WAITS = """
select percentile_cont(0.5) within group (order by w), percentile_cont(0.99) within group (order by w), max(w)
  from (select extract(epoch from a.started_at - m.created_at)::float8 * 1000 as w
          from mainstay.attempts a join mainstay.deliveries d on d.id = a.delivery_id
          join mainstay.messages m on m.id = d.message_id
         where a.number = 1 and m.created_at > $1::timestamptz + interval '1 second') waits
"""


async def offer(scene: Scene, messages: Sequence[webhooks.Message], rate: float) -> None:
    """The messages have been published one by one, each at its moment, whatever the worker did meanwhile."""
    start = time.monotonic() + 0.2

    async def publish_at(moment: float, message: webhooks.Message) -> None:
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        async with scene.db.begin() as tx:
            await webhooks.publish(tx, [message])
        await jobs.wake(scene.db, webhooks.QUEUE)

    await asyncio.gather(*(publish_at(start + number / rate, one) for number, one in enumerate(messages)))


async def measure(scene: Scene, options: argparse.Namespace) -> None:
    """The waits are printed, without those of the first second."""
    async with scene.db.connection() as connection:
        await company.empty(connection)
        company_id = await company.make_company(scene.db, [scene.sink_url], scene.environment)
        messages = [company.message(company_id, n) for n in range(int(options.rate * (options.seconds + 1)))]
        async with processes.running(processes.module("ours"), scene.environment):
            await offer(scene, messages, options.rate)
            await processes.until_zero(connection, company.OPEN)
        first = await connection.fetchval("select min(created_at) from mainstay.messages")
        p50, p99, most = await connection.fetchrow(_WAITS, first)
    met = "met" if p50 <= P50_GOAL_MS and p99 <= P99_GOAL_MS else "NOT met"
    line = (
        f"{options.rate:,.0f} messages/s for {options.seconds:.0f} s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, the longest "
        f"{most:.1f} ms; goal {P50_GOAL_MS} and {P99_GOAL_MS} ms: {met}."
    )
    print(line)
    if options.write:
        written.write(options.write, "delivery-latency", f"{written.when_and_where()} {line}")
