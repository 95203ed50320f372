"""Queues and jobs from the command line, straight on the database."""

import asyncio
import json
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs.queries import workers
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Outcome, Retry
from tests.cli.running import Ran, called, mainstay
from tests.jobs.conftest import QUEUE, add, all_of, one, state_of, task, until, working
from tests.tenancy import Tenancy

_DEAD = """insert into mainstay.dead_jobs (id, queue, kind, lane, company_id, died_at, error, priority, attempt,
    max_attempts, epoch, reason, trace_id, enqueued_at, payload)
  select nextval('mainstay.jobs_id_seq'), $1, 'k' || n % 2, '', null, mainstay.now() - n * interval '1 hour',
         'no such address ' || n, 5, 3, 3, 3, 'failed', 't', mainstay.now() - interval '1 day', '{"n": 1}'
  from generate_series(1, $2) n returning id"""


async def say(db: Database, *arguments: str, code: int = 0) -> Ran:
    """What a command said, on the test's database."""
    ran = await asyncio.to_thread(called, *arguments, env={"DATABASE_URL": db.dsn})
    assert ran.code == code, (ran.out, ran.err)
    return ran


async def lines(db: Database, *arguments: str) -> list[Any]:
    """The JSON lines of a command."""
    return [json.loads(line) for line in (await say(db, *arguments, "--json")).out.splitlines()]


async def test_queues_are_listed_paused_and_resumed(db: Database) -> None:
    await add(db, "k", queue=jobs.EMAIL)
    (mail,) = (row for row in await lines(db, "queues", "list") if row["queue"] == jobs.EMAIL)
    assert (mail["waiting"], mail["failedSet"], mail["paused"]) == (1, "nova:email:failed", False)
    assert "nova:email:failed" in (await say(db, "queues", "list")).out
    await say(db, "queues", "pause", jobs.EMAIL)
    (mail,) = (row for row in await lines(db, "queues", "list") if row["queue"] == jobs.EMAIL)
    assert (mail["paused"], mail["pausedBy"]) == (True, "cli")
    await say(db, "queues", "resume", jobs.EMAIL)
    await say(db, "queues", "concurrency", jobs.EMAIL, "7")
    (mail,) = (row for row in await lines(db, "queues", "list") if row["queue"] == jobs.EMAIL)
    assert (mail["concurrency"], mail["concurrencyBy"]) == (7, "cli")
    await say(db, "queues", "concurrency", jobs.EMAIL, "default")
    for wrong, code in (("0", 1), ("10001", 1), ("many", 2)):
        assert (await say(db, "queues", "concurrency", jobs.EMAIL, wrong, code=code)).err
    assert "no:queue" in (await say(db, "queues", "pause", "no:queue", code=1)).err
    assert "--region" in (await say(db, "queues", "list", "--region", "mars", code=2)).err
    assert (await say(db, "queues", "list", "--region", "eu")).out
    names = [row["name"] for row in await all_of(db, "select name from mainstay.announcements order by id")]
    assert names == ["queue.paused", "queue.resumed", *["queue.concurrency_changed"] * 2]


@pytest.mark.contract("NP-Q-29")
@pytest.mark.contract("NP-Q-30")
async def test_failed_jobs_are_listed_and_cleared_under_the_name_of_their_set(db: Database) -> None:
    mail = [row["id"] for row in await all_of(db, _DEAD, jobs.EMAIL, 3)]
    await all_of(db, _DEAD, jobs.WEBHOOK, 2)
    waiting = await add(db, "k", queue=jobs.EMAIL)
    listed = await lines(db, "jobs", "list", "nova:email:failed")
    assert [row["id"] for row in listed] == [str(one) for one in mail]
    assert len(await lines(db, "jobs", "list", "nova:webhook:failed")) == 2
    (row,) = await lines(db, "jobs", "list", jobs.EMAIL, "--state", "failed", "--error", "address 2")
    assert row["error"] == "no such address 2"
    assert "no such address 2" in (await say(db, "jobs", "list", "nova:email:failed")).out
    for wrong in ((), ("--confirm", "nova:webhook"), ("--confirm", "nova:email:failed")):
        assert "nothing was cleared" in (await say(db, "jobs", "clear", "nova:email:failed", *wrong, code=2)).err
    assert "3 jobs match" in (await say(db, "jobs", "clear", "nova:email:failed", "--dry-run")).out
    assert "3 jobs cleared" in (await say(db, "jobs", "clear", "nova:email:failed", "--confirm", "nova:email")).out
    assert await lines(db, "jobs", "list", "nova:email:failed") == []
    assert len(await lines(db, "jobs", "list", "nova:webhook:failed")) == 2
    assert [row["id"] for row in await lines(db, "jobs", "list", jobs.EMAIL)] == [str(waiting)]


async def test_jobs_are_acted_on_one_by_one_or_by_a_filter(db: Database, tenancy: Tenancy) -> None:
    dead = [row["id"] for row in await all_of(db, _DEAD, jobs.EMAIL, 4)]
    delayed = [
        await add(db, "k", queue=jobs.EMAIL, delay=jobs.dead.KEPT, company_id=tenancy.company_id) for _ in range(3)
    ]
    await say(db, "jobs", "redrive", str(dead[0]))
    await say(db, "jobs", "retry", str(delayed[0]))
    assert [await state_of(db, one) for one in (dead[0], delayed[0])] == ["waiting"] * 2
    assert "2 jobs match" in (await say(db, "jobs", "redrive", jobs.EMAIL, "--died-until", "150m", "--dry-run")).out
    (told,) = await lines(db, "jobs", "redrive", jobs.EMAIL, "--died-since", "2020-01-01", "--kind", "k0")
    assert (told["done"], told["askedBy"]) == (2, {"kind": "operator", "id": "cli"})
    assert "2 jobs retried" in (await say(db, "jobs", "retry", jobs.EMAIL, "--company", tenancy.company_id)).out
    await say(db, "jobs", "cancel", str(delayed[0]), str(delayed[1]))
    assert "1 jobs cancelled" in (await say(db, "jobs", "cancel", jobs.EMAIL, "--company", tenancy.company_id)).out
    await say(db, "jobs", "clear", str(dead[2]))
    shown = await lines(db, "jobs", "acts")
    assert [one["act"] for one in shown] == ["cancel", "promote", "redrive"]
    assert "redrive" in (await say(db, "jobs", "acts", shown[2]["id"])).out
    assert "already" in (await say(db, "jobs", "acts", shown[2]["id"], "--cancel", code=1)).err
    for wrong, code in (
        (("jobs", "redrive", "1", "nova:email"), 2), (("jobs", "redrive", "1", "--kind", "k"), 2),
        (("jobs", "redrive", "99999999"), 1), (("jobs", "cancel", "no:queue"), 1), (("jobs", "show", "99999999"), 1),
        (("jobs", "list", jobs.EMAIL, "--state", "gone"), 2),
        (("jobs", "list", "nova:email:failed", "--state", "active"), 2), (("jobs", "acts", "x"), 1),
    ):  # fmt: skip
        assert (await say(db, *wrong, code=code)).err


async def test_a_job_is_put_in_line_and_shown(db: Database, tenancy: Tenancy) -> None:
    kinds = [workers.KindRow("shop.resize", QUEUE, 4, 7, None, True)]
    await workers.enlist_worker_everywhere(db, "w", [QUEUE], [5], kinds)
    asked = (
        "jobs",
        "enqueue",
        QUEUE,
        "shop.resize",
        "--payload",
        '{"image": "ä"}',
        "--dedupe-key",
        "k",
        "--delay",
        "1000",
    )
    (made,) = await lines(db, *asked, "--company", tenancy.company_id)
    assert (await lines(db, *asked))[0] == {"id": made["id"], "deduplicated": True}
    (job,) = await lines(db, "jobs", "show", made["id"])
    assert (job["payload"], job["lane"], job["state"]) == ({"image": "ä"}, tenancy.company_id, "delayed")
    assert "ä" in (await say(db, "jobs", "show", made["id"])).out
    (told,) = await lines(db, "jobs", "why", made["id"])
    assert (told["jobId"], told["answer"]["code"]) == (made["id"], "delayed")
    assert told["answer"]["sentence"] in (await say(db, "jobs", "why", made["id"])).out
    await say(db, "jobs", "why", "99999999", code=1)
    assert (await lines(db, "jobs", "list", QUEUE, "--state", "delayed", "--company", tenancy.company_id))[0][
        "id"
    ] == made["id"]
    (kind,) = await lines(db, "jobs", "kinds")
    assert (kind["kind"], kind["isPublic"]) == ("shop.resize", True)
    for wrong, code in ((("--payload", "{"), 2), (("--attempts", "0"), 1), (("--company", "nobody"), 1)):
        assert (await say(db, "jobs", "enqueue", QUEUE, "shop.resize", *wrong, code=code)).err
    assert "kind" in (await say(db, "jobs", "enqueue", QUEUE, "no.kind", code=1)).err


async def test_a_job_is_run_by_hand_and_its_outcome_is_the_exit_code(db: Database) -> None:
    async def run(job: Job) -> Outcome:
        return Retry("no such address") if job.payload == "bad" else None

    async with working(db, [task(run)]):
        await until(lambda: one(db, "select 1 from mainstay.job_kinds where kind = 'test.kind'"))
        assert "completed" in (await say(db, "jobs", "run", "test.kind")).out
        assert "no such address" in (await say(db, "jobs", "run", "test.kind", "--payload", '"bad"', code=1)).out
    assert "not ended yet" in (await say(db, "jobs", "run", "test.kind", "--wait", "0", code=1)).err


async def test_a_real_command_lists_queues(db: Database) -> None:
    ran = await asyncio.to_thread(mainstay, "queues", "list", "--json", env={"DATABASE_URL": db.dsn})
    assert ran.code == 0, ran.err
    assert jobs.EMAIL in {json.loads(line)["queue"] for line in ran.out.splitlines()}
