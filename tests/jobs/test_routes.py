"""Queues and jobs over HTTP: what operators see, what they do to one job, and who may read the stats."""

from typing import Any

import httpx
import orjson
import pytest

from mainstay import identity, jobs
from mainstay.jobs.routes import summed
from mainstay.kernel.db import Database
from mainstay.kernel.work import Discard, Job, Outcome
from mainstay.web.roles import Role
from tests.conftest import SqlClock, running_app
from tests.jobs.conftest import OPERATOR, QUEUE, add, all_of, one, state_of, task, until, working
from tests.tenancy import Tenancy, bearer

TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
_DEAD = """insert into mainstay.dead_jobs (id, queue, kind, lane, company_id, died_at, error, priority, attempt,
    max_attempts, epoch, reason, trace_id, enqueued_at, payload)
  select nextval('mainstay.jobs_id_seq'), $1, 'k' || n % 2, 'l', null, mainstay.now() - n * interval '1 minute',
         'no such address ' || n, 5, 3, 3, 3, 'failed', 't', mainstay.now() - interval '2 hours', '{"n": 1}'
  from generate_series(1, $2) n returning id"""


async def refused(answer: httpx.Response, status: int, *pointers: str) -> None:
    """The answer refuses with that status and names these places."""
    assert answer.status_code == status, answer.text
    assert sorted(fault["pointer"] for fault in answer.json().get("errors", ())) == sorted(pointers), answer.text


async def shown(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    """What an operator reads there."""
    answer = await api.get(path, headers=TOKEN, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def done(api: httpx.AsyncClient, path: str, body: Any = None, status: int = 200) -> Any:
    """What an operator is told who does that."""
    answer = await api.post(path, headers=TOKEN, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def in_every_state(db: Database, sql_clock: SqlClock) -> dict[str, list[int]]:
    """Jobs of the test's queue by state: one to seven in each."""
    await sql_clock.stop()
    found: dict[str, list[int]] = {}
    for count, state in enumerate(("waiting", "delayed", "active", "retrying", "parked"), 1):
        found[state] = [
            row["id"]
            for row in await all_of(
                db,
                """insert into mainstay.jobs (queue, kind, lane, payload, state, due_at)
                   select $1, 'k' || n % 2, 'l' || n, '{"a": 1}', $2, mainstay.now() + interval '1 day'
                   from generate_series(1, $3) n returning id""",
                QUEUE, state, count,
            )
        ]  # fmt: skip
    found["dead"] = [row["id"] for row in await all_of(db, _DEAD, QUEUE, 6)]
    found["completed"] = [
        row["id"]
        for row in await all_of(
            db,
            """insert into mainstay.finished_jobs (id, queue, kind, lane, trace_id, payload, attempt, outcome,
                 enqueued_at, started_at, finished_at)
               select nextval('mainstay.jobs_id_seq'), $1, 'k' || n % 2, '', 't', '[]', 1, 'completed', mainstay.now(),
                      mainstay.now(), mainstay.now() - n * n * interval '1 minute'
               from generate_series(1, 7) n returning id""",
            QUEUE,
        )
    ]
    await one(
        db, "insert into mainstay.queues (name, priority) values ($1, 5) on conflict do nothing returning 1", QUEUE
    )
    await one(
        db, "insert into mainstay.queue_tallies (queue, day, completed) values ($1, current_date, 7) returning 1", QUEUE
    )
    return found


@pytest.mark.contract("NP-Q-21")
async def test_stats_tell_of_each_queue_what_is_in_each_state(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock
) -> None:
    await in_every_state(db, sql_clock)
    async with db.begin() as tx:
        await jobs.pause(tx, OPERATOR, QUEUE)
    answer = (await api.get("/api/v1/queue/stats")).json()
    assert answer["away"] == []
    by_name = {queue["queue"]: queue for queue in answer["queues"]}
    assert {jobs.EMAIL, jobs.WEBHOOK, jobs.WORKFLOW, jobs.REPORT} < set(by_name)
    assert by_name[QUEUE] | {"pausedAt": None} == {
        "queue": QUEUE, "priority": 5, "waiting": by_name[QUEUE]["waiting"], "delayed": 2, "active": 3, "retrying": 4,
        "completed": 7, "dead": 6, "failed": 6, "paused": True, "pausedAt": None, "pausedBy": "Olga",
        "failedSet": f"{QUEUE}:failed", "bound": 100_000, "concurrency": None, "concurrencyBy": None,
        "concurrencyAt": None, "oldestReadySeconds": by_name[QUEUE]["oldestReadySeconds"],
    }  # fmt: skip
    assert by_name[QUEUE]["waiting"] in (1, 6), "parked jobs are waiting, to the public"
    assert not by_name[jobs.EMAIL]["paused"]
    assert by_name[jobs.EMAIL]["waiting"] == 0
    (internal,) = (queue for queue in (await shown(api, "/internal/queues"))["data"] if queue["queue"] == QUEUE)
    assert internal == by_name[QUEUE]
    await refused(await api.get("/api/v1/queue/stats?other=1"), 400, "other")


async def test_stats_are_open_in_development_and_asked_for_a_role_or_the_token_in_production(
    fresh_url: str, db: Database, tenancy: Tenancy
) -> None:
    people = {}
    roles: tuple[Role, ...] = ("owner", "manager", "staff")
    async with db.begin() as tx:
        for role in roles:
            person = await identity.add_person(
                tx,
                OPERATOR,
                tenancy.company_id,
                email=f"{role}@example.com",
                name="P",
                password_hash="$argon2id$unused",
                role=role,
            )
            people[role] = await bearer(tx, person.id, tenancy.company_id)
    async with running_app(fresh_url, PROFILE="production") as api:
        path = "/api/v1/queue/stats"
        for status, headers in (
            (200, TOKEN), (200, people["owner"]), (200, people["manager"]), (403, people["staff"]), (401, {}),
            (401, {"x-internal-token": "wrong"}), (401, {"authorization": "Bearer wrong"}), (401, tenancy.company_auth),
        ):  # fmt: skip
            assert (await api.get(path, headers=headers)).status_code == status, headers


def test_the_stats_of_databases_are_summed() -> None:
    def queue(name: str, count: int, paused: str | None) -> dict[str, Any]:
        counts = dict.fromkeys(
            ("waiting", "delayed", "active", "retrying", "completed", "dead", "failed", "bound"), count
        )
        age = None if name == "b" else count
        return {
            "queue": name, **counts, "paused": bool(paused), "pausedAt": paused, "pausedBy": paused,
            "oldestReadySeconds": age,
        }  # fmt: skip

    a, b = summed([queue("b", 1, None), queue("a", 2, "x"), queue("b", 3, "y"), queue("a", 4, "z")])
    assert (a["queue"], a["waiting"], a["bound"], a["pausedBy"], a["oldestReadySeconds"]) == ("a", 6, 6, "x", 4)
    assert (b["queue"], b["failed"], b["paused"], b["pausedBy"], b["oldestReadySeconds"]) == ("b", 4, True, "y", None)


async def test_jobs_of_a_queue_are_listed_by_state_page_by_page(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock
) -> None:
    wanted = await in_every_state(db, sql_clock)
    path = f"/internal/queues/{QUEUE}/jobs"
    for state, ids in wanted.items():
        order = ids if state in ("dead", "completed") else ids[::-1]
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await shown(api, path, state=state, limit=2, **cursor)
            assert all(job["state"] == state for job in page["data"])
            assert len(page["data"]) <= 2
            seen += [job["id"] for job in page["data"]]
            assert page["meta"]["hasMore"] == (page["meta"]["nextCursor"] is not None)
            if not page["meta"]["hasMore"]:
                break
            cursor = {"cursor": page["meta"]["nextCursor"]}
        assert seen == [str(one) for one in order], state
    assert len((await shown(api, path, state="failed"))["data"]) == 6
    assert len((await shown(api, path))["data"]) == 1, "waiting unless asked for"
    other = await shown(api, path, state="dead", limit=2)
    for query, pointer in (
        ({"state": "gone"}, "state"), ({"limit": 0}, "limit"), ({"limit": 1_001}, "limit"), ({"limit": "x"}, "limit"),
        ({"companyId": "x"}, "companyId"), ({"error": "x"}, "error"), ({"kind": "\0"}, "kind"), ({"x": 1}, "x"),
        ({"region": "MARS"}, "region"), ({"cursor": "x"}, "cursor"),
        ({"cursor": other["meta"]["nextCursor"]}, "cursor"),
    ):  # fmt: skip
        await refused(await api.get(path, headers=TOKEN, params=query), 400, pointer)
    await shown(api, path, limit=1_000)
    assert (await api.get("/internal/queues/no:queue/jobs", headers=TOKEN)).json()["code"] == "queue-not-found"


async def test_lists_are_filtered_and_a_page_that_looked_far_says_where_to_go_on(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await in_every_state(db, sql_clock)
    path = f"/internal/queues/{QUEUE}/jobs"
    for state, all_ids in ids.items():
        found = await shown(api, path, state=state, kind="k1")
        assert len(found["data"]) == (len(all_ids) + 1) // 2, state
        assert {job["kind"] for job in found["data"]} == {"k1"}
        assert not found["meta"]["hasMore"]
    (lane,) = (await shown(api, path, state="retrying", lane="l3"))["data"]
    assert lane["lane"] == "l3"
    assert (await shown(api, path, state="active", companyId="00000000-0000-7000-8000-00000000dead"))["data"] == []
    (dead,) = (await shown(api, path, state="dead", error="address 4"))["data"]
    assert (dead["error"], dead["reason"]) == ("no such address 4", "failed")
    monkeypatch.setattr("mainstay.jobs.finding.LOOKED_AT_MOST", 2)
    for state in ("retrying", "dead"):
        seen, pages, cursor = [], 0, {}
        while pages == 0 or cursor:
            page = await shown(api, path, state=state, kind="k0", **cursor)
            pages, seen = pages + 1, [*seen, *(job["id"] for job in page["data"])]
            cursor = {"cursor": page["meta"]["nextCursor"]} if page["meta"]["hasMore"] else {}
        assert pages > 2
        assert len(seen) == len(ids[state]) // 2


@pytest.mark.contract("NP-Q-29")
async def test_failed_jobs_are_a_set_under_the_name_of_their_queue(api: httpx.AsyncClient, db: Database) -> None:
    mail, hook = [[row["id"] for row in await all_of(db, _DEAD, name, 2)] for name in (jobs.EMAIL, jobs.WEBHOOK)]
    for name, ids in (("nova:email:failed", mail), ("nova:webhook:failed", hook), ("nova:report:failed", [])):
        page = await shown(api, f"/internal/queues/{name}/jobs")
        assert (page["set"], page["queue"], page["state"]) == (name, name.removesuffix(":failed"), "dead")
        assert [job["id"] for job in page["data"]] == [str(one) for one in ids]
    stats = {one["queue"]: one for one in (await api.get("/api/v1/queue/stats")).json()["queues"]}
    assert (stats[jobs.EMAIL]["failedSet"], stats[jobs.EMAIL]["failed"]) == ("nova:email:failed", 2)
    await refused(await api.get("/internal/queues/nova:email:failed/jobs?state=waiting", headers=TOKEN), 400, "state")


async def test_a_job_is_shown_wherever_it_is(api: httpx.AsyncClient, db: Database, sql_clock: SqlClock) -> None:
    for state, ids in (await in_every_state(db, sql_clock)).items():
        job = await shown(api, f"/internal/jobs/{ids[0]}")
        assert (job["id"], job["state"], job["queue"], job["attempts"]) == (str(ids[0]), state, QUEUE, [])
    assert job["payload"] == []

    async def run(_: Job) -> Outcome:
        return Discard("never")

    failing = await add(db, "test.kind", {"to": "a"}, lane="l", attempts=2)
    async with working(db, [task(run)]):
        await until(lambda: one(db, "select 1 from mainstay.dead_jobs where id = $1", failing))
    job = await shown(api, f"/internal/jobs/{failing}")
    assert (job["state"], job["payload"], job["maxAttempts"], job["error"]) == ("dead", {"to": "a"}, 2, "never")
    assert job["traceId"]
    (attempt,) = job["attempts"]
    assert (attempt["attempt"], attempt["outcome"], attempt["error"]) == (1, "discarded", "never")
    told = await shown(api, f"/internal/jobs/{failing}/why")
    assert (told["answer"]["code"], told["answer"]) == ("dead", told["reasons"][0])
    assert "never" in told["answer"]["sentence"]
    alone = await add(db, "test.kind", queue="nobody:serves")
    told = await shown(api, f"/internal/jobs/{alone}/why")
    assert "no_worker_for_queue" in [one["code"] for one in told["reasons"]]
    dead = await one(db, "select count(*) from mainstay.dead_jobs")
    for number in range(5):
        await add(db, "test.kind", lane=str(number))
    async with working(db, [task(run)]):
        await until(lambda: one(db, "select count(*) >= $1 from mainstay.dead_jobs", dead + 5))
    (found, *_) = (await shown(api, "/internal/findings"))["data"]
    assert (found["code"], found["kind"]) == ("same_failure", "test.kind")
    for number in ("0", "9223372036854775807", "9223372036854775808", "x", "-1", "%00", "\N{ARABIC-INDIC DIGIT ONE}"):
        answer = await api.get(f"/internal/jobs/{number}", headers=TOKEN)
        assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found")


async def test_one_job_is_retried_cancelled_redriven_and_cleared_and_each_is_announced(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock
) -> None:
    ids = await in_every_state(db, sql_clock)
    acts = (
        ("delayed", "retry", "retried", "waiting"), ("retrying", "retry", "retried", "waiting"),
        ("delayed", "cancel", "cancelled", "cancelled"), ("retrying", "cancel", "cancelled", "cancelled"),
        ("waiting", "cancel", "cancelled", "cancelled"), ("parked", "cancel", "cancelled", "cancelled"),
        ("dead", "redrive", "redriven", "waiting"), ("dead", "clear", "cleared", "gone"),
    )  # fmt: skip
    for state, act, word, end in acts:
        job = ids[state].pop()
        assert await done(api, f"/internal/jobs/{job}/{act}") == {"id": str(job), "done": word}
        assert await state_of(db, job) == end
        (told,) = await all_of(
            db, "select name, actor->>'kind' as who, data->>'queue' as queue from mainstay.announcements"
            " where (data->>'id')::bigint = $1", job,
        )  # fmt: skip
        assert tuple(told) == (f"job.{word}", "operator", QUEUE)
    for state, act in (("active", "cancel"), ("active", "retry"), ("parked", "retry"), ("completed", "redrive"),
                       ("dead", "cancel"), ("retrying", "clear"), ("completed", "cancel")):  # fmt: skip
        await refused(await api.post(f"/internal/jobs/{ids[state][0]}/{act}", headers=TOKEN), 404)
    assert await one(db, "select count(*) from mainstay.announcements") == len(acts)


async def test_a_queue_is_paused_and_resumed_and_given_slots(api: httpx.AsyncClient, db: Database) -> None:
    paused = await done(api, f"/internal/queues/{jobs.EMAIL}/pause")
    assert (paused["paused"], paused["pausedBy"]) == (True, "Operator")
    assert not (await done(api, f"/internal/queues/{jobs.EMAIL}/resume"))["paused"]
    assert (await api.post("/internal/queues/no:queue/pause", headers=TOKEN)).status_code == 404
    path = f"/internal/queues/{jobs.EMAIL}/concurrency"
    for slots in (1, 10_000, None):
        found = (await api.put(path, headers=TOKEN, json={"concurrency": slots})).json()
        assert (found["concurrency"], found["concurrencyBy"]) == (slots, None if slots is None else "Operator")
    for body in ({"concurrency": 0}, {"concurrency": 10_001}, {"concurrency": "9"}):
        await refused(await api.put(path, headers=TOKEN, json=body), 400, "#/concurrency")
    names = [row["name"] for row in await all_of(db, "select name from mainstay.announcements order by id")]
    assert names == ["queue.paused", "queue.resumed", *["queue.concurrency_changed"] * 3]


async def test_a_kind_is_paused_and_resumed_at_a_share(api: httpx.AsyncClient, db: Database) -> None:
    async def run(_: Job) -> Outcome: ...

    async with working(db, [task(run)]):
        await until(lambda: one(db, "select 1 from mainstay.job_kinds where kind = 'test.kind'"))
    path = "/internal/kinds/test.kind"
    for act, body, share in (("pause", None, 0), ("resume", {"share": 10}, 10), ("resume", {}, 100)):
        assert await done(api, f"{path}/{act}", body) == {"kind": "test.kind", "share": share}
        (kind,) = (one for one in (await shown(api, "/internal/kinds"))["data"] if one["kind"] == "test.kind")
        assert kind["share"] == share
    for share in (0, 101):
        await refused(await api.post(f"{path}/resume", headers=TOKEN, json={"share": share}), 400, "#/share")
    assert (await api.post("/internal/kinds/no.kind/pause", headers=TOKEN)).json()["code"] == "kind-not-found"
    told = [row["data"] for row in await all_of(db, "select data::text from mainstay.announcements order by id")]
    assert [orjson.loads(data).get("share") for data in told] == [None, 10, 100]
