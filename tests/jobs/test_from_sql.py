"""Jobs from anybody's transaction: the SQL functions, by the clients that others wrote, under a role without rights."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mainstay import events, jobs
from mainstay.embedded import binaries
from mainstay.kernel.db import Database, Record, Sql
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Job
from tests import npm
from tests.jobs.conftest import QUEUE, all_of, one, task, until, working
from tests.observability.test_health import TOKEN
from tests.tenancy import Tenancy

PEERS = Path(__file__).parent / "peers"
FILES = ("package.json", "package-lock.json", ".npmrc", "transaction.mjs")
KIND, OWN = "shop.receipt", "shop.secret"
AUTH = {"x-internal-token": TOKEN}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COMPANY = "0197a6e0-0000-7000-8000-00000000c0de"


@pytest_asyncio.fixture
async def shop(db: Database, fresh_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A program that shares the database: a role that owns its tables, and may call the functions and nothing else."""
    name = f"shop_{fresh_url.rpartition('_')[2]}"
    async with db.connection() as admin:
        await admin.execute(
            f"""insert into mainstay.queues (name, priority) values ('{QUEUE}', 5);
                insert into mainstay.job_kinds values ('{KIND}', '{QUEUE}', 4, 7, null, true, mainstay.now()),
                                                      ('{OWN}', '{QUEUE}', 4, 7, null, false, mainstay.now());
                create role {name} login password '{name}';
                grant create, usage on schema public to {name};
                grant usage on schema mainstay to {name};
                grant execute on function mainstay.enqueue, mainstay.enqueue_many, mainstay.emit to {name}"""
        )
    connection = await asyncpg.connect(as_role(fresh_url, name))
    await connection.execute("create table orders (n integer)")
    yield connection
    await connection.close()
    async with db.connection() as admin:
        await admin.execute(f"drop owned by {name}; drop role {name}")


def as_role(url: str, name: str) -> str:
    """The same database for another role."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{name}:{name}@{rest.rpartition('@')[2]}"


async def lines(db: Database) -> list[Record]:
    """Every unfinished job, by id."""
    return await all_of(db, "select * from mainstay.jobs order by id")


async def test_the_kind_says_what_the_call_leaves_out(db: Database, shop: asyncpg.Connection) -> None:
    first = await shop.fetchval("select mainstay.enqueue($1)", KIND)
    whole = """select mainstay.enqueue($1, $2, attempts => 2, priority => 0, lane => 'l', company_id => $3,
                 traceparent => $4, backoff => '{"type": "fixed", "delay": 500}')"""
    second = await shop.fetchval(whole, KIND, '{"a": 1}', COMPANY, TRACE)
    third = await shop.fetchval("select mainstay.enqueue($1, company_id => $2, delay => '1 h')", KIND, COMPANY)
    assert [row["id"] for row in await lines(db)] == [first, second, third]
    plain, full, later = await lines(db)
    assert (plain["queue"], plain["priority"], plain["max_attempts"], plain["lane"]) == (QUEUE, 4, 7, "")
    assert (plain["payload"], plain["state"], plain["backoff"], len(plain["trace_id"])) == ("null", "waiting", None, 32)
    assert (full["priority"], full["max_attempts"], full["lane"], str(full["company_id"])) == (0, 2, "l", COMPANY)
    assert (json.loads(full["payload"]), full["trace_id"]) == ({"a": 1}, TRACE.split("-")[1])
    assert Backoff.parse(full["backoff"]).after(3).total_seconds() == 0.5
    assert (later["lane"], later["state"], later["due_at"] > later["enqueued_at"]) == (COMPANY, "delayed", True)


REFUSED = [
    ("null", "22004", "a job needs a kind"),
    ("'no.such'", "42704", 'no kind of job "no.such"'),
    (f"'{OWN}'", "42501", "not put in line from outside"),
    (f"'{KIND}', queue => 'no.such'", "42704", 'no queue "no.such"'),
    (f"'{KIND}', to_jsonb(repeat('x', 262143))", "54000", "262145 bytes; at most 262144"),
    (f"'{KIND}', priority => 11", "22023", "0 to 10, not 11"),
    (f"'{KIND}', priority => -1", "22023", "0 to 10, not -1"),
    (f"'{KIND}', attempts => 0", "22023", "1 to 1000, not 0"),
    (f"'{KIND}', attempts => 1001", "22023", "1 to 1000, not 1001"),
    (f"'{KIND}', delay => '1 s', run_at => now()", "22023", "not both"),
    (f"'{KIND}', delay => '11 years'", "22023", "within ten years"),
    (f"'{KIND}', run_at => 'infinity'", "22023", "within ten years"),
    (f"'{KIND}', lane => repeat('x', 201)", "22023", "at most 200 characters"),
    (f"'{KIND}', dedupe_key => ''", "22023", "1 to 200 characters"),
    (f"'{KIND}', dedupe_key => repeat('x', 201)", "22023", "1 to 200 characters"),
    *(
        (f"'{KIND}', backoff => '{backoff}'", "22023", "no backoff")
        for backoff in (
            "7", '{"type": "linear", "delay": 1}', '{"type": "fixed"}', '{"type": "fixed", "delay": -1}',
            '{"type": "fixed", "delay": 86400001}', '{"type": "fixed", "delay": 1, "jitter": 2}',
            '{"type": "fixed", "delay": 1, "more": 1}',
        )
    ),
]  # fmt: skip


async def test_what_cannot_be_a_job_fails_at_the_call(db: Database, shop: asyncpg.Connection) -> None:
    for arguments, state, told in REFUSED:
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await shop.execute(f"select mainstay.enqueue({arguments})")
        assert (refusal.value.sqlstate, told in str(refusal.value)) == (state, True), arguments
    assert await lines(db) == []


async def test_the_edges_are_taken(db: Database, shop: asyncpg.Connection) -> None:
    for arguments in (
        "to_jsonb(repeat('x', 262142))", "priority => 0", "priority => 10", "attempts => 1000", "delay => '9 years'",
        "lane => repeat('x', 200)", "dedupe_key => repeat('x', 200)", "run_at => '1999-01-01'",
        """backoff => '{"type": "exponential", "delay": 86400000, "jitter": 0.25}'""",
    ):  # fmt: skip
        await shop.execute(f"select mainstay.enqueue('{KIND}', {arguments})")
    assert [row["state"] for row in await lines(db)].count("waiting") == 8


@pytest.mark.parametrize("payload", ["1e400", "[" * 300 + "]" * 300, "[" * 1100 + "]" * 1100])
async def test_what_no_answer_can_hold_is_shown_as_text_and_can_be_acted_on(
    api: httpx.AsyncClient, db: Database, shop: asyncpg.Connection, payload: str
) -> None:
    job_id = await shop.fetchval("select mainstay.enqueue($1, $2)", KIND, payload)
    shown = await api.get(f"/internal/jobs/{job_id}", headers=AUTH)
    assert (shown.status_code, len(shown.json()["payload"])) == (200, len(payload) if "[" in payload else 401)
    assert (await api.get(f"/internal/jobs/{job_id}/why", headers=AUTH)).status_code == 200
    assert (await api.post(f"/internal/jobs/{job_id}/cancel", headers=AUTH)).status_code == 200


async def test_an_unfinished_job_stands_for_those_with_its_key(db: Database, shop: asyncpg.Connection) -> None:
    keyed = "select mainstay.enqueue($1, $2, dedupe_key => 'k')"
    async with shop.transaction():
        first = await shop.fetchval(keyed, KIND, "1")
        assert await shop.fetchval(keyed, KIND, "2") == first
    other = await asyncpg.connect(db.dsn)
    transaction = other.transaction()
    await db.run(Sql("t", "delete from mainstay.jobs"))
    await transaction.start()
    held = await other.fetchval(keyed, KIND, "3")
    waiting = asyncio.create_task(shop.fetchval(keyed, KIND, "4"))
    await until(lambda: one(db, "select exists (select from pg_locks where not granted)"))
    await transaction.rollback()
    mine = await waiting
    assert (mine != held, [row["id"] for row in await lines(db)]) == (True, [mine])
    await other.close()


async def test_many_are_in_line_in_the_order_given(db: Database, shop: asyncpg.Connection) -> None:
    many = """select array_agg(id) from mainstay.enqueue_many(
                $1, array(select to_jsonb(n) from generate_series(1, 500) n), company_id => $2, attempts => 2) as id"""
    ids = await shop.fetchval(many, KIND, COMPANY)
    rows = await lines(db)
    assert [row["id"] for row in rows] == sorted(ids)
    assert [int(row["payload"]) for row in sorted(rows, key=lambda row: row["pos"])] == list(range(1, 501))
    assert {(row["lane"], row["max_attempts"], row["state"]) for row in rows} == {(COMPANY, 2, "waiting")}
    laned = """select count(*) from mainstay.enqueue_many(
                 $1, array['1', '2']::jsonb[], lanes => array['a', null], lane => 'b')"""
    assert await shop.fetchval(laned, KIND) == 2
    assert [row["lane"] for row in (await lines(db))[-2:]] == ["a", "b"]
    assert await shop.fetchval("select count(*) from mainstay.enqueue_many($1, '{}')", KIND) == 0
    for arguments, state in (
        ("array['1']::jsonb[], lanes => '{a,b}'", "22023"),
        ("array['1', to_jsonb(repeat('x', 262143))]", "54000"),
        ("array['1']::jsonb[], lanes => array[repeat('x', 201)]", "22023"),
    ):
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await shop.execute(f"select mainstay.enqueue_many('{KIND}', {arguments})")
        assert refusal.value.sqlstate == state


async def test_nobody_may_call_until_it_is_granted_and_the_grant_gives_no_table(
    db: Database, shop: asyncpg.Connection, fresh_url: str
) -> None:
    for statement in (
        "select * from mainstay.jobs", "insert into mainstay.emitted_events (bytes) values (1)",
        "select * from mainstay.job_kinds", "select mainstay.fault_of_event('{}')", "select mainstay.trace_of('')",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.execute(statement)
    # What the caller puts in front of the search path means nothing to the functions.
    await shop.execute(
        """create table jobs (n integer);
           create function now() returns timestamptz language sql as 'select null::timestamptz'"""
    )
    await shop.execute("set search_path = public, mainstay, pg_catalog")
    assert await shop.fetchval("select mainstay.enqueue($1, delay => '1 s')", KIND)
    async with db.connection() as admin:
        name = await shop.fetchval("select current_user")
        await admin.execute(f"revoke execute on function mainstay.enqueue from {name}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await shop.execute("select mainstay.enqueue($1)", KIND)


async def run_all(db: Database, workspace_id: str) -> tuple[list[Any], list[str]]:
    """What workers were given, and the actions in the workspace's chain, once nothing waits."""
    ran: list[Any] = []

    async def act(job: Job) -> None:
        ran.append(job.payload)

    async with working(db, [task(act, kind=KIND)]):
        await until(lambda: one(db, "select not exists (select from mainstay.jobs)"))
    while await events.Emissions(db, db, ["US", "EU", "APAC"]).run_once():
        pass
    chain = await all_of(db, "select action from mainstay.events where workspace_id = $1 order by seq", workspace_id)
    return ran, [row["action"] for row in chain]


async def test_node(db: Database, shop: asyncpg.Connection, tenancy: Tenancy, fresh_url: str) -> None:
    home = npm.installed("jobs-peers", PEERS, FILES)
    url = as_role(fresh_url, await shop.fetchval("select current_user"))
    done = await asyncio.to_thread(
        subprocess.run, ["node", "transaction.mjs", url, KIND, tenancy.workspace_id],
        cwd=home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["refused"]["code"], "known once a worker" in told["refused"]["hint"]) == ("42704", True)
    (job,) = await lines(db)
    assert (str(job["id"]), job["priority"]) == (told["kept"]["job"], 3)
    assert await run_all(db, tenancy.workspace_id) == ([{"n": 2}], ["order.paid"])
    stored = await all_of(db, "select id, payload from mainstay.events where action = 'order.paid'")
    assert [str(row["id"]) for row in stored] == [told["kept"]["event"]]
    assert json.loads(stored[0]["payload"])["note"] == "grüße 🎉"
    assert [row["n"] for row in await shop.fetch("select n from orders")] == [2]


PSQL = """\\set ON_ERROR_STOP 1
begin;
insert into orders values (1);
select mainstay.enqueue('shop.receipt', '{"n": 1}');
select mainstay.emit(:'workspace', '{"action": "order.paid"}');
rollback;
begin;
insert into orders values (2);
select mainstay.enqueue('shop.receipt', '{"n": 2}', lane => 'orders');
select mainstay.emit(:'workspace', jsonb_build_object('action', 'order.paid', 'actor', json_object('{id, me}')));
commit;
\\unset ON_ERROR_STOP
select mainstay.enqueue('no.such.kind');
"""


async def test_psql(db: Database, shop: asyncpg.Connection, tenancy: Tenancy, fresh_url: str) -> None:
    program = binaries.locate().program("psql")
    url = as_role(fresh_url, await shop.fetchval("select current_user"))
    command = [program, "-XqAt", "-v", f"workspace={tenancy.workspace_id}", url]
    done = await asyncio.to_thread(
        subprocess.run, command, input=PSQL, capture_output=True, text=True, timeout=60, check=False
    )
    assert "HINT:  A kind is known once a worker" in done.stderr
    assert len(done.stdout.split()) == 4, done.stderr
    assert await run_all(db, tenancy.workspace_id) == ([{"n": 2}], ["order.paid"])
    assert [row["n"] for row in await shop.fetch("select n from orders")] == [2]


async def test_asyncpg_and_sqlalchemy(db: Database, shop: asyncpg.Connection, tenancy: Tenancy, fresh_url: str) -> None:
    enqueue, emit = "select mainstay.enqueue($1, $2)", "select mainstay.emit($1, $2)"
    undone = shop.transaction()
    await undone.start()
    await shop.fetchval(enqueue, KIND, '{"n": 1}')
    await shop.fetchval(emit, tenancy.workspace_id, '{"action": "undone"}')
    await undone.rollback()
    async with shop.transaction():
        await shop.fetchval(enqueue, KIND, '{"n": 2}')
        await shop.fetchval(emit, tenancy.workspace_id, '{"action": "asyncpg"}')
    url = as_role(fresh_url, await shop.fetchval("select current_user"))
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    both = text(
        """select mainstay.enqueue(:kind, cast(:body as jsonb), dedupe_key => :key),
                  mainstay.emit(cast(:workspace as uuid), jsonb_build_object('action', cast(:action as text)))"""
    )
    values: Mapping[str, Any] = {"kind": KIND, "workspace": tenancy.workspace_id, "key": "order 7"}
    async with engine.connect() as connection:
        await connection.execute(both, {**values, "body": '{"n": 3}', "action": "undone"})
        await connection.rollback()
        await connection.execute(both, {**values, "body": '{"n": 4}', "action": "sqlalchemy"})
        await connection.commit()
    await engine.dispose()
    ran, chain = await run_all(db, tenancy.workspace_id)
    assert sorted(one["n"] for one in ran) == [2, 4]
    assert chain == ["asyncpg", "sqlalchemy"]


async def test_a_commit_wakes_a_worker_that_hardly_polls(db: Database, shop: asyncpg.Connection) -> None:
    """And one that enqueues 200 times tells it once."""
    ran: list[Any] = []

    async def act(job: Job) -> None:
        ran.append(job.payload)

    timing = jobs.Timing(poll_idle=600.0, poll_deaf=600.0, busy_for=0.0)
    listener = await asyncpg.connect(db.dsn)
    heard: list[str] = []
    await listener.add_listener("mainstay_jobs", lambda *told: heard.append(told[3]))
    async with working(db, [task(act, kind=KIND, is_public=True)], listen_url=db.dsn, timing=timing) as worker:
        await until(lambda: worker.listener.is_hearing)
        async with shop.transaction():
            await shop.execute("select mainstay.enqueue($1, to_jsonb(n)) from generate_series(1, 200) n", KIND)
            assert ran == []
        await until(lambda: len(ran) == 200)
    assert heard.count(QUEUE) == 1
    await listener.close()
