"""Jobs in a state to look at, in the database of a running console, and what the audit log tells of acts on them."""

import time
from typing import Any

import orjson

from mainstay import jobs
from mainstay.kernel.db import Database
from tests.console.site import Site

EVIL = "<img src=x onerror=alert(1)>"
ERROR = "TemplateMissing: no template 'quarterly' in the workspace\n  at render (reports/render.py:88)"
_DIE = """with dead as (
            insert into mainstay.dead_jobs (id, queue, kind, priority, lane, max_attempts, attempt, epoch, payload,
              reason, error, trace_id, enqueued_at, died_at)
            select nextval('mainstay.jobs_id_seq'), $1, $2, 5, 'north', 3, 3, 3, $3::jsonb, 'failed', $4,
              repeat('a', 32), now() - interval '1 hour', now() - make_interval(secs => n)
            from generate_series(1, $5::int) n returning id)
          insert into mainstay.job_attempts (job_id, attempt, outcome, error, worker_id, started_at, finished_at,
            duration_ms, queue, kind)
          select id, n, 'failed', $4, 1, now() - interval '1 hour', now() - make_interval(mins => 50 - 10 * n), 40 + n,
            $1, $2 from dead, generate_series(1, 3) n returning job_id"""
ACT = """insert into mainstay.bulk_acts (id, counted, is_floor, act, queue, state, filter, asked_by, done, started_at)
          values (gen_random_uuid(), 14000, false, 'redrive', 'nova:email', 'running', '{"kind": "email.send"}',
                  '{"name": "Mara Lindqvist"}', 5000, mainstay.now()) returning id"""
RUN = """with run as (
            insert into mainstay.function_runs (id, function_id, event_name, input, created_at, started_at, is_waiting)
            values (gen_random_uuid(), 'shop.fulfil-order', 'shop/order.placed',
              '[{"name": "shop/order.placed", "data": {"order": "A-7"}, "user": {}, "id": "i", "ts": 1}]',
              mainstay.now() - interval '62 s', mainstay.now() - interval '60 s', true) returning id)
          insert into mainstay.function_steps (run_id, step_id, kind, state, attempt, place, started_at, ended_at,
                                               wake_at, event_name, output, error)
          select id, n.step, n.kind, n.state, 1, 1, mainstay.now() - n.begun * interval '1 s',
            mainstay.now() - n.ended * interval '1 s', mainstay.now() + n.wakes * interval '1 s', n.event,
            n.output::json, n.error::json
          from run, (values
            ('reserve stock', 'run', 'done', 59, 57, null, null, '{"shelf": "north-4"}', null),
            ('packing', 'sleep', 'done', 57, 30, null, null, null, null),
            ('book the courier', 'run', 'retrying', 12, 9, null, null, null,
             '{"name": "CourierBusy", "message": "none"}'),
            ('payment', 'wait', 'waiting', 30, null, 3600, 'shop/order.paid', null, null))
            as n(step, kind, state, begun, ended, wakes, event, output, error) returning run_id"""


def sql(site: Site, statement: str, *values: Any) -> Any:
    """The rows of a statement."""

    async def run(db: Database) -> Any:
        async with db.begin() as tx:
            return await tx.connection.fetch(statement, *values)

    return site.run(run)


def die(
    site: Site, many: int = 1, *, queue: str = jobs.REPORT, kind: str = "reports.render", error: str = ERROR
) -> list[int]:
    """That many jobs of the queue are dead after three attempts; their ids, the youngest first."""
    payload = f'{{"report": "{EVIL}", "month": "2026-10", "for": ["usr_1", "usr_2"]}}'
    return sorted({row["job_id"] for row in sql(site, _DIE, queue, kind, payload, error, many)})


def stats(site: Site, queue: str) -> jobs.QueueStats:
    """The queue's counts."""
    return dict(site.run(jobs.stats))[queue]


def told(site: Site, action: str) -> list[tuple[str, Any]]:
    """Who did that, by email, and the facts of it, from the audit log; the worker records them within moments."""
    statement = "select actor_email, payload from mainstay.events where action = $1 order by seq"
    for _ in range(600):
        found = sql(site, statement, action)
        if found:
            return [(row["actor_email"], orjson.loads(row["payload"])) for row in found]
        time.sleep(0.1)
    raise AssertionError(f"nobody wrote down {action}")
