"""Jobs that outsiders ask for by name, over HTTP and from Python, and jobs that an operator starts by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from mainstay import jobs
from mainstay.jobs.queries import workers
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Outcome, Retry
from tests.conftest import SqlClock
from tests.jobs.conftest import QUEUE, all_of, one, state_of, task, until, working
from tests.jobs.test_routes import TOKEN, done, refused, shown
from tests.tenancy import Tenancy

OTHER = "test:other"
PATH = f"/internal/queues/{QUEUE}/jobs"


async def run(_: Job) -> Outcome:
    """Nothing to do."""
    return None


@pytest.fixture
async def known(db: Database) -> None:
    """A worker has told of the kinds and has gone: public ones of two queues, and one that is not public."""
    kinds = [
        workers.KindRow("shop.resize", QUEUE, 4, 7, None, True),
        workers.KindRow("shop.mail", OTHER, 5, 3, None, True),
        workers.KindRow("own.upkeep", QUEUE, 5, 3, None, False),
    ]
    worker_id = await workers.enlist_worker_everywhere(db, "w", [QUEUE, OTHER], [5, 5], kinds)
    async with db.begin() as tx:
        await workers.leave_everywhere(tx, worker_id, "stopped")


async def row_of(db: Database, job_id: str) -> dict[str, Any]:
    """The job as it is stored."""
    (row,) = await all_of(db, "select *, due_at - enqueued_at as wait from mainstay.jobs where id = $1", int(job_id))
    return {**dict(row), "payload": orjson.loads(row["payload"])}


@pytest.mark.usefixtures("known")
async def test_a_job_is_put_in_line_with_all_that_it_asks_for(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    now = await sql_clock.stop()
    plain = await done(api, PATH, {"kind": "shop.resize"}, 201)
    assert plain["deduplicated"] is False
    row = await row_of(db, plain["id"])
    fields = ("queue", "kind", "priority", "max_attempts", "lane", "backoff", "payload", "state")
    assert [row[name] for name in fields] == [
        QUEUE, "shop.resize", 4, 7, "", None, None, "waiting",
    ]  # fmt: skip
    asked = {
        "kind": "shop.resize", "payload": {"image": "ä", "n": [1, 2.5, None]}, "attempts": 5,
        "backoff": {"type": "exponential", "delay": 2_000}, "delay": 1_500, "priority": 0, "dedupeKey": "k",
        "companyId": tenancy.company_id,
    }  # fmt: skip
    first = await done(api, PATH, asked, 201)
    row = await row_of(db, first["id"])
    assert [row[name] for name in ("priority", "max_attempts", "backoff", "payload", "state", "dedupe_key")] == [
        0, 5, "exponential:2000:0.0", asked["payload"], "delayed", "k",
    ]  # fmt: skip
    assert (row["wait"], str(row["company_id"])) == (timedelta(seconds=1.5), tenancy.company_id)
    assert row["lane"] == tenancy.company_id, "each company has a lane of its own"
    assert await done(api, PATH, asked, 200) == {"id": first["id"], "deduplicated": True}
    later = {"kind": "shop.resize", "data": 1, "backoff": 5_000, "lane": "l", "companyId": tenancy.company_id}
    later["runAt"] = (now + timedelta(hours=1)).isoformat()
    row = await row_of(db, (await done(api, PATH, later, 201))["id"])
    assert [row[name] for name in ("payload", "backoff", "lane", "wait")] == [
        1,
        "fixed:5000:0.0",
        "l",
        timedelta(hours=1),
    ]
    past = {"kind": "shop.resize", "runAt": "2020-01-01T00:00:00Z"}
    assert (await row_of(db, (await done(api, PATH, past, 201))["id"]))["state"] == "waiting"


_WHOLE = {"kind": "shop.resize"}
_EDGES: list[tuple[dict[str, Any], list[str]]] = [
    ({"attempts": 1}, []), ({"attempts": 1_000}, []), ({"attempts": 0}, ["attempts"]),
    ({"attempts": 1_001}, ["attempts"]), ({"attempts": True}, ["attempts"]), ({"attempts": "3"}, ["attempts"]),
    ({"priority": 0}, []), ({"priority": 10}, []), ({"priority": -1}, ["priority"]), ({"priority": 11}, ["priority"]),
    ({"delay": 0}, []), ({"delay": 315_360_000_000}, []), ({"delay": 315_360_000_001}, ["delay"]),
    ({"delay": -1}, ["delay"]),
    ({"backoff": 0}, []), ({"backoff": 86_400_000}, []), ({"backoff": 86_400_001}, ["backoff"]),
    ({"backoff": -1}, ["backoff"]), ({"backoff": {"type": "fixed", "delay": 0, "jitter": 1}}, []),
    ({"backoff": {"type": "fixed", "delay": 86_400_001, "jitter": 1.1}}, ["backoff/delay", "backoff/jitter"]),
    ({"backoff": {"type": "linear", "delay": 1}}, ["backoff/type"]), ({"backoff": {"type": "fixed"}}, ["backoff"]),
    ({"lane": ""}, []), ({"lane": "l" * 200}, []), ({"lane": "l" * 201}, ["lane"]), ({"lane": "\0"}, ["lane"]),
    ({"dedupeKey": "k" * 200}, []), ({"dedupeKey": "k" * 201}, ["dedupeKey"]), ({"dedupeKey": ""}, ["dedupeKey"]),
    ({"dedupeKey": "\0"}, ["dedupeKey"]),
    ({"runAt": "2099-12-31T23:59:59.999999Z"}, []), ({"runAt": "2100-01-01T00:00:00Z"}, ["runAt"]),
    ({"runAt": "2026-01-01T00:00:00"}, ["runAt"]), ({"runAt": "soon"}, ["runAt"]),
    ({"runAt": "2026-01-01T00:00:00Z", "delay": 1}, ["delay"]), ({"payload": 1, "data": 1}, ["data"]),
    ({"companyId": "x"}, ["companyId"]), ({"companyId": "00000000-0000-7000-8000-00000000dead"}, ["companyId"]),
    ({"payload": "\0"}, ["payload"]), ({"data": {"a": ["\0"]}}, ["data"]), ({"payload": "\\u0000"}, []),
    ({"payload": 2**63}, []), ({"payload": 2**70}, ["payload"]), ({"data": "\N{GRINNING FACE}"}, []),
    ({"payload": "x" * (262_144 - 2)}, []), ({"payload": "x" * (262_144 - 1)}, ["payload"]), ({"unknown": 1}, [""]),
    ({"kind": "own.upkeep"}, ["kind"]), ({"kind": "no.kind"}, ["kind"]), ({"kind": "shop.mail"}, ["kind"]),
    ({"kind": ""}, ["kind"]), ({"kind": "\0"}, ["kind"]), ({"kind": 1}, ["kind"]),
    ({"kind": "no.kind", "attempts": 0, "priority": 11, "lane": "\0"}, ["attempts", "kind", "lane", "priority"]),
]  # fmt: skip


@pytest.mark.usefixtures("known")
async def test_every_limit_holds_at_its_edge_and_every_fault_is_named(api: httpx.AsyncClient, db: Database) -> None:
    wanted = 0
    for given, faults in _EDGES:
        answer = await api.post(PATH, headers=TOKEN, json=_WHOLE | given)
        if faults:
            await refused(answer, 400, *(f"#/{name}".removesuffix("/") for name in faults))
        else:
            assert answer.status_code == 201, (given, answer.text)
            wanted += 1
    assert await one(db, "select count(*) from mainstay.jobs") == wanted
    deep = b'{"kind":"shop.resize","payload":' + b"[" * 101 + b"]" * 101 + b"}"
    for body, pointers in (
        (b"", ["#"]), (b"{", ["#"]), (b"1", ["#"]), (b"[]", ["#"]), (b'{"kind":"shop.resize","payload":NaN}', ["#"]),
        (deep, ["#/payload"]), (b'{"kind":"shop.resize","payload":1e999}', None),
        (b'{"kind":"shop.resize","payload":"\\ud800"}', None),
    ):  # fmt: skip
        answer = await api.post(PATH, headers=TOKEN, content=body)
        assert answer.status_code == 400, answer.text
        if pointers is not None:
            await refused(answer, 400, *pointers)
    for queue in ("no:queue", "%00", "x" * 201):
        answer = await api.post(f"/internal/queues/{queue}/jobs", headers=TOKEN, json=_WHOLE)
        assert (answer.status_code, answer.json()["code"]) == (404, "queue-not-found")
    await refused(await api.post(f"{PATH[:-5]}:failed/jobs", headers=TOKEN, json=_WHOLE), 400, "queue")
    wrong = (await api.post(PATH, headers=TOKEN, json={"kind": "shop.mail"})).json()
    assert wrong["errors"][0]["detail"] == f"belongs to the queue {OTHER}, not to {QUEUE}"
    assert await one(db, "select count(*) from mainstay.jobs") == wanted


@pytest.mark.usefixtures("known")
async def test_a_batch_is_taken_whole_or_not_at_all(api: httpx.AsyncClient, db: Database) -> None:
    batch = [{**_WHOLE, "payload": n, "dedupeKey": "same" if n in (3, 5) else None} for n in range(10)]
    made = (await done(api, PATH, batch, 201))["data"]
    assert [one["deduplicated"] for one in made] == [False] * 5 + [True] + [False] * 4
    assert made[5]["id"] == made[3]["id"]
    assert [(await row_of(db, one["id"]))["payload"] for one in made] == [0, 1, 2, 3, 4, 3, 6, 7, 8, 9]
    again = [{**_WHOLE, "dedupeKey": "same"}] * 2
    assert await done(api, PATH, again, 200) == {"data": [{"id": made[3]["id"], "deduplicated": True}] * 2}
    many = [{**_WHOLE, "payload": n} for n in range(1_000)]
    ids = [int(one["id"]) for one in (await done(api, PATH, many, 201))["data"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1_000
    before = await one(db, "select count(*) from mainstay.jobs")
    await refused(await api.post(PATH, headers=TOKEN, json=[*many, _WHOLE]), 400, "#")
    broken = [_WHOLE, {**_WHOLE, "attempts": 0}, {**_WHOLE, "priority": 11, "lane": "\0"}]
    await refused(await api.post(PATH, headers=TOKEN, json=broken), 400, "#/1/attempts", "#/2/lane", "#/2/priority")
    large = [{**_WHOLE, "payload": "x" * 262_000}] * 33
    assert (await api.post(PATH, headers=TOKEN, json=large)).status_code == 413
    assert len((await done(api, PATH, large[:32], 201))["data"]) == 32
    assert await one(db, "select count(*) from mainstay.jobs") == before + 32


@pytest.mark.usefixtures("known")
async def test_a_request_repeated_under_its_key_has_one_effect(api: httpx.AsyncClient, db: Database) -> None:
    for body in (_WHOLE, [_WHOLE, _WHOLE]):
        headers = {**TOKEN, "idempotency-key": f"key-{len(body)}"}
        first = await api.post(PATH, headers=headers, json=body)
        again = await api.post(PATH, headers=headers, json=body)
        assert (first.status_code, again.status_code) == (201, 200)
        ids, same = ([one["id"] for one in answer.json().get("data", [answer.json()])] for answer in (first, again))
        assert ids == same
        assert all(one["deduplicated"] for one in again.json().get("data", [again.json()]))
        other = await api.post(PATH, headers=headers, json={**_WHOLE, "payload": 1})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
    assert await one(db, "select count(*) from mainstay.jobs") == 3
    await refused(
        await api.post(PATH, headers={**TOKEN, "idempotency-key": "ü".encode()}, json=_WHOLE), 400, "Idempotency-Key"
    )
    failed = {**TOKEN, "idempotency-key": "failed"}
    assert (await api.post(PATH, headers=failed, json={"kind": "no.kind"})).status_code == 400
    assert (await api.post(PATH, headers=failed, json=_WHOLE)).status_code == 201, "what was refused keeps no key"


@pytest.mark.contract("DR-Q-01")
@pytest.mark.usefixtures("known")
async def test_a_job_is_enqueued_by_its_name_alone_as_its_task_says(db: Database) -> None:
    async with db.begin() as tx:
        job = await jobs.enqueue(tx, "shop.resize", {"a": 1})
        own = await jobs.enqueue(tx, "shop.resize", 1, priority=9, attempts=2)
        upkeep = await jobs.enqueue(tx, "own.upkeep", None)
        with pytest.raises(jobs.JobRefused, match=r"no\.kind"):
            await jobs.enqueue(tx, "no.kind", None)
    rows = [await row_of(db, str(one.id)) for one in (job, own, upkeep)]
    assert [(row["queue"], row["priority"], row["max_attempts"]) for row in rows] == [
        (QUEUE, 4, 7), (QUEUE, 9, 2), (QUEUE, 5, 3),
    ]  # fmt: skip


@pytest.mark.contract("DR-Q-14")
async def test_with_a_full_backlog_a_payment_starts_before_routine_jobs(api: httpx.AsyncClient, db: Database) -> None:
    started: list[Any] = []

    async def record(job: Job) -> Outcome:
        started.append(job.payload)
        return None

    own = task(record, kind="shop.job", is_public=True)
    await jobs.desk.public.introduce(db, [own])
    await done(api, PATH, [{"kind": "shop.job", "payload": n} for n in range(1_000)], 201)
    await done(api, PATH, {"kind": "shop.job", "payload": "payment", "priority": 0}, 201)
    async with working(db, [own], slots=1):
        await until(lambda: len(started) > 20)
    assert started[0] == "payment"
    assert set(started[1:]) <= set(range(1_000))


@pytest.mark.contract("DR-Q-15")
async def test_an_operator_runs_a_job_by_hand_once_and_sees_how_it_ended(api: httpx.AsyncClient, db: Database) -> None:
    seen: list[Any] = []

    async def record(job: Job) -> Outcome:
        seen.append((job.payload, job.max_attempts))
        return Retry("no such address") if job.payload == "bad" else None

    tasks = [task(record, kind="test.good"), task(record, kind="test.quiet", history="failures")]
    async with working(db, tasks):
        await until(lambda: one(db, "select 1 from mainstay.job_kinds where kind = 'test.quiet'"))
        for kind, payload, outcome in (
            ("test.good", "good", "completed"), ("test.good", "bad", "failed"), ("test.quiet", None, "completed"),
        ):  # fmt: skip
            path = f"/internal/kinds/{kind}/test-runs"
            asked = await done(api, path, {"payload": payload}, 201)

            async def ended(at: str = f"{path}/{asked['jobId']}") -> Any:
                run = await shown(api, at)
                return run if run["outcome"] is not None else None

            ran = await until(ended)
            assert (ran["outcome"], ran["kind"], ran["askedBy"]["kind"]) == (outcome, kind, "operator")
            assert ran["error"] == ("no such address" if outcome == "failed" else None)
            assert (ran["job"] is None) == (kind == "test.quiet")
            assert (await api.get(f"/internal/kinds/x/test-runs/{asked['jobId']}", headers=TOKEN)).status_code == 404
    assert seen == [("good", 1), ("bad", 1), (None, 1)]
    told = await all_of(db, "select data from mainstay.announcements where name = 'job.enqueued_by_hand' order by id")
    assert [orjson.loads(row["data"])["kind"] for row in told] == ["test.good", "test.good", "test.quiet"]
    (kind,) = (one for one in (await shown(api, "/internal/kinds"))["data"] if one["kind"] == "test.quiet")
    assert (kind["queue"], kind["attempts"], kind["isPublic"]) == (QUEUE, 3, False)


@pytest.mark.usefixtures("known")
async def test_a_run_by_hand_is_refused_for_what_is_no_kind_and_counts_once_under_its_key(
    api: httpx.AsyncClient, db: Database
) -> None:
    path = "/internal/kinds/own.upkeep/test-runs"
    first, again = [
        await api.post(path, headers={**TOKEN, "idempotency-key": "k"}, json={"payload": 1}) for _ in range(2)
    ]
    assert first.json()["jobId"] == again.json()["jobId"]
    assert first.json()["outcome"] is None
    assert await one(db, "select count(*) from mainstay.jobs") == 1
    for kind in ("no.kind", "%00", "'"):
        answer = await api.post(f"/internal/kinds/{kind}/test-runs", headers=TOKEN, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "kind-not-found")
    for body, pointer in (({"payload": 1, "data": 2}, "#/data"), ({"companyId": "x"}, "#/companyId"), ({"a": 1}, "#")):
        await refused(await api.post(path, headers=TOKEN, json=body), 400, pointer)
    job_id = int(first.json()["jobId"])
    await done(api, f"/internal/jobs/{job_id}/cancel")
    assert (await shown(api, f"{path}/{job_id}"))["outcome"] == "cancelled"
    assert await state_of(db, job_id) == "cancelled"


def test_a_moment_needs_an_offset_and_a_year_that_can_be_kept() -> None:
    moment = jobs.desk.public.moment_of
    assert moment("2026-01-31T12:00:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert [moment(text) for text in ("2026-01-31", "", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:00")] == [
        None
    ] * 4
