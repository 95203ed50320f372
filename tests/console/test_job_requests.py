"""Pages of jobs, schedules and functions as plain requests meet them: who may, what each act does, what is refused."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from mainstay import jobs
from mainstay.kernel.db import Database, Sql
from tests.conftest import cut_database, drop_database, running_app
from tests.console.audit import Console
from tests.console.site import csrf_of, people_of, sign_in
from tests.tenancy import open_tenancy

PATH = "/console/queues"
REPORT = f"{PATH}/{jobs.REPORT}"
KIND = f"{REPORT}/kinds/report.render"
COMPANY = "01890a5d-ac96-774b-bcce-b302099a8057"
RUN = "01890a5d-ac96-774b-bcce-b302099a8058"
_FURNISH = Sql(
    "t",
    """with kinds as (
         insert into mainstay.job_kinds (kind, queue, priority, max_attempts, is_public, seen_at)
         values ('report.render', 'nova:report', 5, 3, true, mainstay.now()),
                ('report.send', 'nova:report', 5, 3, false, mainstay.now())
       ), queue as (
         insert into mainstay.queues (name, priority) values ('nova:report', 10), ('mainstay:upkeep', 5)
         on conflict do nothing
       ), dead as (
         insert into mainstay.dead_jobs (id, queue, kind, lane, trace_id, enqueued_at, epoch, priority, attempt,
           max_attempts, reason, error, payload, company_id)
         select nextval('mainstay.jobs_id_seq'), 'nova:report', case when n % 2 = 0 then 'report.render' else
           'report.send' end, 'north', 'cafe', mainstay.now(), 1, 5, 3, 3, 'failed',
           case when n % 2 = 0 then 'NoTemplate: x' else 'Refused: 550' end, '{"n": 1}', $1
         from generate_series(1, $2) n
       ), schedule as (
         insert into mainstay.schedules (name, family, title, kind, queue, priority, max_attempts, payload, slots,
           missed, late_after, seen_at)
         values ('report.daily', 'report', 'Daily report', 'report.send', 'nova:report', 5, 3, 'null',
           'daily 02:00:00', 'skip', '60 s', mainstay.now()),
           ('a.first', 'a', 'a.first', 'report.send', 'nova:report', 5, 3, 'null', 'every 60', 'latest', '60 s',
           mainstay.now())
       ), slot as (
         insert into mainstay.schedule_runs (schedule, due_at) values ('report.daily', '2026-01-01Z')
       ), run as (
         insert into mainstay.function_runs (id, function_id, event_name, input, company_id, created_at, started_at)
         values ($3, 'shop.ship', 'order.paid',
           '[{"name": "order.paid", "data": {"order": 7}, "user": {}, "id": "i", "ts": 1}]', $1,
           mainstay.now() - interval '10 s', mainstay.now() - interval '9 s')
       )
       insert into mainstay.jobs (queue, kind, state, due_at, payload)
       select 'nova:report', 'report.render', state, mainstay.now() + interval '1 hour', '{"n": 2}'
       from unnest(array['delayed', 'retrying', 'waiting']) state""",
)
_STEPS = Sql(
    "t",
    """insert into mainstay.function_steps (run_id, step_id, kind, state, attempt, place, started_at, ended_at, wake_at,
                                            event_name, output, error)
       select $1, n.id, n.kind, n.state, 1, 1, mainstay.now() - interval '9 s', n.ended, n.wake, n.event, n.output,
              n.error
       from (values ('book', 'run', 'done', mainstay.now(), null, null, '{"tracking": "TR-7"}'::json, null),
                    ('payment', 'wait', 'waiting', null, mainstay.now() + interval '1 day', 'order.paid', null, null),
                    ('label', 'run', 'failed', mainstay.now(), null, null, null, '{"message": "no ink"}'::json))
            as n(id, kind, state, ended, wake, event, output, error)""",
)


_EMPTY = Sql(
    "t",
    """truncate mainstay.jobs, mainstay.dead_jobs, mainstay.job_kinds, mainstay.kind_pauses, mainstay.bulk_acts,
         mainstay.queues, mainstay.schedules, mainstay.schedule_runs, mainstay.schedule_jobs, mainstay.function_runs,
         mainstay.announcements cascade""",
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(server_url: str, template_url: str) -> AsyncIterator[tuple[Console, Database]]:
    """The application in this process; the owner operates the service."""
    url = await cut_database(server_url, template_url)
    db = Database(url, size=2)
    tenancy = await open_tenancy(db)
    emails = await people_of(db, tenancy.company_id)
    async with running_app(url, CONSOLE_OPERATORS=emails["owner"]) as app:
        profiles, tokens = {}, {}
        for role in ("owner", "staff"):
            profiles[role] = httpx.AsyncClient(transport=app._transport, base_url="http://test")
            await sign_in(profiles[role], emails[role])
            tokens[role] = csrf_of((await profiles[role].get("/console")).text)
        yield Console(app, tenancy, profiles, tokens), db
    await db.close()
    await drop_database(server_url, url)


@pytest_asyncio.fixture(loop_scope="module")
async def operating(service: tuple[Console, Database]) -> Console:
    """The same with jobs in several states, two schedules, and a run of a function."""
    console, db = service
    await db.run(_EMPTY)
    await db.run(_FURNISH, COMPANY, 4, RUN)
    return console


@pytest_asyncio.fixture(loop_scope="module")
async def db(service: tuple[Console, Database]) -> Database:
    """The database of the application."""
    return service[1]


async def found(db: Database, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    return [tuple(row) for row in await db.rows(Sql("t", statement), *values)]


async def told(db: Database, name: str) -> list[dict[str, Any]]:
    """What was announced under the name."""
    rows = await db.rows(Sql("t", "select data from mainstay.announcements where name = $1 order by id"), name)
    return [orjson.loads(row["data"]) for row in rows]


def leads_to(answer: httpx.Response) -> str:
    """Where the answer to a form leads."""
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_a_list_is_its_filters_and_an_act_reaches_what_they_find(operating: Console, db: Database) -> None:
    added = await operating.get(f"{REPORT}?state=active&kind=report.send&add=error&value=Refused")
    assert leads_to(added) == f"{REPORT}?state=dead&kind=report.send&error=Refused"
    listed = (await operating.get(leads_to(added))).text
    assert listed.count("Refused: 550</td>") == 2
    assert "NoTemplate" not in listed
    asked = (await operating.get(f"{REPORT}/redrive?kind=report.send&error=Refused")).text
    assert "<strong>2 dead jobs</strong> of kind report.send whose error holds “Refused” are back in line" in asked
    # Nothing happened by asking.
    assert await found(db, "select count(*) from mainstay.dead_jobs") == [(4,)]
    done = await operating.post(f"{REPORT}/redrive", kind="report.send", error="Refused")
    assert leads_to(done) == f"{REPORT}?state=dead&kind=report.send&error=Refused"
    assert await found(db, "select distinct kind from mainstay.dead_jobs") == [("report.render",)]
    assert [(one["filter"], one["done"]) for one in await told(db, "jobs.redriven")] == [
        ({"kind": "report.send", "error": "Refused"}, 2)
    ]
    assert (await operating.post(f"{REPORT}/clear", confirm="report")).status_code == 400
    assert (await operating.post(f"{REPORT}/promote", kind="report.render")).status_code == 303
    await operating.post(f"{REPORT}/cancel", kind="report.send")
    left = "select kind, state from mainstay.jobs where queue = 'nova:report' order by id"
    assert await found(db, left) == [("report.render", "waiting")] * 3
    assert (await operating.get(f"{REPORT}/redrive?company=acme")).status_code == 400
    assert "There is no dead job of kind none" in (await operating.get(f"{REPORT}/clear?kind=none")).text


async def test_a_large_act_has_a_page_that_tells_how_far_it_is_and_stops_it(operating: Console, db: Database) -> None:
    await db.run(Sql("t", "update mainstay.dead_jobs set kind = 'none'"))
    many = """insert into mainstay.dead_jobs (id, queue, kind, lane, trace_id, enqueued_at, epoch, priority, attempt,
                max_attempts, reason, error, payload)
              select nextval('mainstay.jobs_id_seq'), 'nova:report', 'report.send', '', '', mainstay.now(), 1, 5, 1, 1,
                'failed', 'e', '1' from generate_series(1, 10001)"""
    await db.run(Sql("t", many))
    asked = (await operating.get(f"{REPORT}/redrive?kind=report.send")).text
    assert "That many are done by a worker" in asked
    at = leads_to(await operating.post(f"{REPORT}/redrive", kind="report.send"))
    assert at.startswith(f"{REPORT}/acts/")
    await db.run(Sql("t", "update mainstay.bulk_acts set state = 'running', done = 2500"))
    page = (await operating.get(at)).text
    assert '<progress max="100" value="24"' in page
    assert "2\u202f500</strong> of 10\u202f001 dead jobs" in page
    assert f'data-live="/console/live/bulk-acts/{at.rpartition("/")[2]}"' in page
    assert "2\u202f500 <span" in (await operating.get(PATH)).text
    assert (await operating.get(at.replace(jobs.REPORT, jobs.EMAIL))).status_code == 404
    assert leads_to(await operating.post(f"{at}/cancel")) == at
    assert 'data-live="/console/live/bulk' not in (await operating.get(at)).text
    assert (await operating.post(f"{at}/cancel")).status_code == 409


async def test_a_kind_is_paused_goes_on_at_a_share_and_is_started_by_hand(operating: Console, db: Database) -> None:
    assert "From now on no worker starts a job of this kind" in (await operating.get(KIND)).text
    assert leads_to(await operating.post(f"{KIND}/pause")) == REPORT
    assert "report.render is paused, by Owner Person" in (await operating.get(PATH)).text
    for wrong in ("", "0", "101", "ten", "²"):
        assert (await operating.post(f"{KIND}/resume", share=wrong)).status_code == 400
    await operating.post(f"{KIND}/resume", share="10")
    assert "10 of 100 start" in (await operating.get(KIND)).text
    await operating.post(f"{KIND}/resume", share="100")
    assert await found(db, "select kind from mainstay.kind_pauses") == []
    assert [one["share"] for one in await told(db, "kind.resumed")] == [10, 100]
    assert (await operating.get(f"{PATH}/{jobs.EMAIL}/kinds/report.render")).status_code == 404
    assert (await operating.post(f"{KIND}/run", payload="{n:1}")).status_code == 400
    assert (await operating.post(f"{KIND}/run", payload="1", company="acme")).status_code == 400
    at = leads_to(await operating.post(f"{KIND}/run", payload='{"month": "2026-10"}', company=COMPANY))
    made = await found(
        db,
        "select payload::text, max_attempts, company_id::text from mainstay.jobs where id = $1",
        int(at.rpartition("/")[2]),
    )
    assert made == [('{"month": "2026-10"}', 1, COMPANY)]
    assert "2026-10" in (await operating.get(at)).text


async def test_the_slots_of_a_queue_are_set_while_workers_run(operating: Console, db: Database) -> None:
    assert "as many slots for this queue as it is configured with" in (await operating.get(f"{REPORT}/slots")).text
    for wrong in ("0", "10001", "-1", "many"):
        assert (await operating.post(f"{REPORT}/slots", slots=wrong)).status_code == 400
    await operating.post(f"{REPORT}/slots", slots="10000")
    assert "10\u202f000 slots a worker, set by Owner Person" in (await operating.get(REPORT)).text
    await operating.post(f"{REPORT}/slots", slots="")
    assert await found(db, "select concurrency from mainstay.queues where name = 'nova:report'") == [(None,)]
    assert [one["concurrency"] for one in await told(db, "queue.concurrency_changed")] == [10_000, None]


async def test_one_job_is_looked_at_and_acted_on_wherever_it_is(operating: Console, db: Database) -> None:
    ids = dict(await found(db, "select state, id from mainstay.jobs where queue = 'nova:report'"))
    retrying, delayed = f"{REPORT}/jobs/{ids['retrying']}", f"{REPORT}/jobs/{ids['delayed']}"
    await db.run(Sql("t", "update mainstay.queues set paused_at = mainstay.now(), paused_by = 'Mara'"))
    why = (await operating.get(retrying)).text
    assert "Retry now" in why
    assert re.search('<strong>Queue nova:report was paused by Mara[^<]*</strong> <a href="[^"]*/pause">Resume', why)
    assert why.index("Why is it not running") < why.index("it is tried again at") < why.index("No live worker serves")
    assert "Start a worker: mainstay worker" in why
    assert "look at the webhook" not in why
    held = """insert into mainstay.jobs (queue, kind, lane, company_id, payload) values ($1, 'webhooks.deliver', $2, $3,
              '1') returning id"""
    await db.run(Sql("t", "insert into mainstay.queues (name, priority) values ($1, 5)"), jobs.WEBHOOK)
    for company_id, is_told in ((operating.tenancy.company_id, True), (COMPANY, False)):
        ((job,),) = await found(db, held, jobs.WEBHOOK, RUN, company_id)
        page = (await operating.get(f"{PATH}/{jobs.WEBHOOK}/jobs/{job}")).text
        assert (f'<a href="/console/webhooks/{RUN}">look at the webhook</a>' in page) is is_told
    assert leads_to(await operating.post(f"{retrying}/retry")) == f"{REPORT}?state=waiting"
    assert (await operating.post(f"{retrying}/redrive")).status_code == 404
    assert leads_to(await operating.post(f"{delayed}/cancel")) == f"{REPORT}?state=delayed"
    ended = (await operating.get(delayed)).text
    assert "cancelled</span>" in ended
    assert "Cancel the job" not in ended
    ((dead,),) = await found(db, "select max(id) from mainstay.dead_jobs where kind = 'report.render'")
    shown = (await operating.get(f"{REPORT}/jobs/{dead}")).text
    assert "?state=dead&amp;kind=report.render&amp;error=NoTemplate%3A+x" in shown
    assert COMPANY in shown
    assert "cafe</code>" in shown
    assert (await operating.post(f"{PATH}/{jobs.EMAIL}/jobs/{dead}/clear")).status_code == 404
    await operating.post(f"{REPORT}/jobs/{dead}/clear")
    assert (await operating.get(f"{REPORT}/jobs/{dead}")).status_code == 404
    assert [one["id"] for one in await told(db, "job.cleared")] == [dead]


async def test_schedules_stand_with_what_is_wrong_first_and_run_by_hand(operating: Console, db: Database) -> None:
    page = (await operating.get("/console/schedules")).text
    # The slots since New Year have no run, of the other schedule none was ever seen.
    assert page.index("Daily report") < page.index("a.first")
    assert "1 schedule needs a look" in page
    at = "/console/schedules/report.daily"
    one = (await operating.get(at)).text
    assert "A slot that is due has no run" in one
    assert "daily at 02:00 UTC (0 2 * * *)" in one
    assert "those that pass while no worker runs are not run" in one
    assert "One job is put in line" in (await operating.get(f"{at}/run")).text
    assert leads_to(await operating.post(f"{at}/run")) == at
    assert "It stands for this one" in (await operating.get(f"{at}/run")).text
    await operating.post(f"{at}/run")
    assert await found(db, "select asked_by from mainstay.schedule_jobs") == [("Owner Person",)]
    assert [one["schedule"] for one in await told(db, "schedule.run_by_hand")] == ["report.daily"]
    assert "Owner Person" in (await operating.get(at)).text
    assert (await operating.get("/console/schedules/none")).status_code == 404


async def test_a_run_of_a_function_is_read_cancelled_and_run_again(operating: Console, db: Database) -> None:
    await db.run(_STEPS, RUN)
    listed = (await operating.get("/console/functions?state=waiting")).text
    assert "No run is waiting" in listed
    await db.run(Sql("t", "update mainstay.function_runs set is_waiting = true"))
    assert RUN in (await operating.get("/console/functions?state=waiting")).text
    own = (await operating.get("/console/functions/shop.ship")).text
    assert "No process here knows this function" in own
    at = f"/console/functions/runs/{RUN}"
    shown = (await operating.get(at)).text
    assert "The step payment waits for an event order.paid, at the latest until" in shown
    assert shown.count('class="line-bar') == 4
    assert "TR-7" in shown
    assert "no ink" in shown
    assert f'data-live="/console/live/function-runs/{RUN}"' in shown
    assert leads_to(await operating.post(f"{at}/cancel")) == at
    over = (await operating.get(at)).text
    assert "cancelled by Owner Person" in over
    assert "data-live" not in over.partition("<main")[2]
    assert (await operating.post(f"{at}/cancel")).status_code == 409
    again = leads_to(await operating.post(f"{at}/rerun"))
    assert again != at
    assert f'href="{at}"' in (await operating.get(again)).text
    assert await found(db, "select count(*) from mainstay.function_runs where rerun_of = $1", RUN) == [(1,)]
    for wrong, status in (("?state=lost", 400), ("/none", 404), ("/runs/none", 404), ("?cursor=x", 400)):
        assert (await operating.get(f"/console/functions{wrong}")).status_code == status


async def test_who_does_not_operate_the_service_sees_none_of_it(operating: Console) -> None:
    for address in (PATH, "/console/schedules", "/console/functions", f"{REPORT}/redrive"):
        assert (await operating.get(address, "staff")).status_code == 403
    assert (await operating.post(f"{KIND}/pause", "staff")).status_code == 403
    assert "Schedules" not in (await operating.get("/console", "staff")).text
