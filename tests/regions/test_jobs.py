"""Jobs where a region has a database of its own: a company's go to its region, stats are of all, lists of one."""

import httpx

from mainstay import jobs
from mainstay.kernel.db import Sql
from mainstay.kernel.work import Job, Outcome, Task
from tests.jobs.test_routes import TOKEN, done, refused, shown
from tests.regions.conftest import Two
from tests.tenancy import Tenancy

QUEUE = "shop:images"
PATH = f"/internal/queues/{QUEUE}/jobs"
COUNT = Sql("t", "select count(*) from mainstay.jobs where queue = $1")


async def run(_: Job) -> Outcome:
    """Nothing to do."""
    return None


async def test_a_companys_job_goes_to_its_region_and_operators_look_at_one_database_or_at_all(
    two: Two, api: httpx.AsyncClient, eu_company: Tenancy, us_company: Tenancy
) -> None:
    for _, db in two.regions.all():
        await jobs.desk.public.introduce(db, [Task(kind="shop.resize", queue=QUEUE, run=run, is_public=True)])
    job = {"kind": "shop.resize"}
    theirs, ours = job | {"companyId": eu_company.company_id}, job | {"companyId": us_company.company_id}
    first = await done(api, PATH, theirs, 201)
    await done(api, PATH, [ours, job], 201)
    await done(api, f"{PATH}?region=EU", job, 201)
    assert (await two.home.value(COUNT, QUEUE), await two.eu.value(COUNT, QUEUE)) == (2, 2)
    await refused(await api.post(PATH, headers=TOKEN, json=[job, ours, theirs]), 400, "#/2/companyId")
    await refused(await api.post(f"{PATH}?region=US", headers=TOKEN, json=theirs), 400, "#/companyId")
    await refused(await api.post(f"{PATH}?region=MARS", headers=TOKEN, json=job), 400, "region")
    assert (await two.home.value(COUNT, QUEUE), await two.eu.value(COUNT, QUEUE)) == (2, 2)

    stats = (await api.get("/api/v1/queue/stats")).json()
    assert [one["waiting"] for one in stats["queues"] if one["queue"] == QUEUE] == [4]
    assert len((await shown(api, PATH))["data"]) == 2
    found = await shown(api, PATH, region="EU", limit=1)
    following = await shown(api, PATH, region="EU", limit=1, cursor=found["meta"]["nextCursor"])
    assert first["id"] in {one["id"] for one in (*found["data"], *following["data"])}
    await refused(await api.get(PATH, headers=TOKEN, params={"cursor": found["meta"]["nextCursor"]}), 400, "cursor")
    act = await done(api, f"/internal/queues/{QUEUE}/cancel?region=EU", {})
    assert (act["done"], await two.home.value(COUNT, QUEUE)) == (2, 2)
    assert (await api.get(f"/internal/bulk-acts/{act['id']}", headers=TOKEN)).status_code == 404
    assert (await shown(api, f"/internal/bulk-acts/{act['id']}", region="EU"))["done"] == 2
