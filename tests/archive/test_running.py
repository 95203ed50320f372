"""The steps as jobs: in parallel, once each, and one bad day stops no other."""

import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from mainstay import archive, cli, jobs, main
from mainstay.archive.tasks import DAY, QUEUE
from mainstay.kernel import partitions
from mainstay.kernel.db import Sql
from mainstay.kernel.objects import Objects
from mainstay.kernel.work import Daily, Weekly
from tests.archive.conftest import Site
from tests.jobs.conftest import until, working

_UNFINISHED = Sql("t", "select count(*) from mainstay.jobs where queue = $1")


async def done(site: Site, step: str) -> None:
    """A worker has done the step and all that it put in line."""
    async with site.db.begin() as tx:
        await partitions.ensure(tx, main.partitioned())
        await archive.ask(tx, step)
    queues = [jobs.QueueConfig(QUEUE, 2), jobs.QueueConfig(jobs.UPKEEP, 1)]
    async with working(site.db, archive.tasks(site.ground), queues=queues):

        async def is_idle() -> bool:
            return not await site.db.value(_UNFINISHED, QUEUE)

        await until(is_idle)


@pytest.mark.contract("HL-R-07")
def test_steps_have_the_documented_times() -> None:
    slots = {schedule.name: schedule.slots for schedule in archive.schedules()}
    daily = {name: slot.at.isoformat() for name, slot in slots.items() if isinstance(slot, Daily)}
    assert daily == {"archive.mark": "03:00:00", "archive.run": "04:00:00", "archive.cut": "04:30:00"}
    weekly = slots["archive.verify"]
    assert isinstance(weekly, Weekly)
    assert (weekly.weekday, weekly.at.isoformat()) == (6, "05:00:00")
    assert {schedule.name for schedule in archive.schedules()} <= {schedule.name for schedule in main.schedules()}


@pytest.mark.contract("HL-R-06", "HL-R-08")
async def test_jobs_mark_archive_and_verify_and_a_bad_day_stops_no_other(site: Site) -> None:
    tenancy = await site.company()
    days = [await site.aged(tenancy, 2) for _ in range(3)]
    await site.db.run(
        Sql("t", "update mainstay.events set payload = '{}' where workspace_id = $1 and seq = 3"), tenancy.workspace_id
    )
    await done(site, "mark")
    assert await site.marks(tenancy) == [(True, False)] * 6
    await done(site, "archive")
    assert await site.marks(tenancy) == [(True, True)] * 2 + [(True, False)] * 2 + [(True, True)] * 2
    dead = Sql("t", "select kind, payload, error from mainstay.dead_jobs")
    [gone] = await site.db.rows(dead)
    assert (gone["kind"], json.loads(gone["payload"])["day"]) == (DAY, days[1].day.isoformat())
    assert "seq 3" in gone["error"]
    assert "n0" not in gone["payload"]
    await site.objects.put(days[0].name, b"damaged")
    await site.clock.move(timedelta(days=7))
    await done(site, "verify")
    shown = {
        one.day: one for one in await archive.list_days(site.db, tenancy.company_id, workspace_id=days[0].workspace_id)
    }
    assert [shown[day.day].state for day in days] == ["damaged", "failing", "archived"]
    moments = [shown[day.day].verified_at for day in days]
    assert moments[0] is not None
    assert moments[2] is not None
    assert await site.told("archive.damaged") != []


async def test_a_job_whose_lease_was_lost_changes_nothing(site: Site) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy)
    await archive.mark(site.ground)

    async def lost(_: Any) -> None:
        raise jobs.LeaseLost

    with pytest.raises(jobs.LeaseLost):
        await archive.archive_day(site.ground, day, lost)
    assert await site.marks(tenancy) == [(True, False)] * 3
    assert await archive.archive_day(site.ground, day) == 3


@pytest.mark.contract("HL-X-11")
async def test_an_export_holds_what_is_not_archived(site: Site) -> None:
    tenancy = await site.company()
    await site.aged(tenancy, 3, name="old")
    await site.send(tenancy, 2, name="new")
    path = "/v1/key/workspace/export.json"
    whole = (await site.api.get(path, headers=tenancy.auth)).json()["data"]
    assert len(whole) == 5
    await site.run()
    half = (await site.api.get(path, headers=tenancy.auth)).json()["data"]
    assert [one["action"] for one in half] == ["new.n0", "new.n1"]


async def test_memory_stays_flat_while_a_day_is_archived(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of 16 pieces is never held by more than a few of them at once."""
    from mainstay.events import retiring

    monkeypatch.setattr(retiring, "CHUNK", 5)
    held = most = 0
    whole = Objects.put
    lines_of = retiring.Retirement.proven_lines

    async def counted(self: Any, *args: Any) -> Any:
        nonlocal held, most
        async for lines in lines_of(self, *args):
            held += 1
            most = max(most, held)
            yield lines
            held -= 1

    monkeypatch.setattr(retiring.Retirement, "proven_lines", counted)
    tenancy = await site.company()
    day = await site.aged(tenancy, 80)
    await archive.mark(site.ground)
    assert await archive.archive_day(site.ground, day) == 80
    assert most == 1
    assert Objects.put is whole


async def test_commands_run_show_and_verify(site: Site, monkeypatch: pytest.MonkeyPatch, directory: Any) -> None:
    import asyncio

    tenancy = await site.company()
    day = await site.aged(tenancy)
    for name, value in {
        "DATABASE_URL": site.db.dsn,
        "OBJECT_STORE": directory.as_uri(),
        "MAINSTAY_SECRET": "a-test-secret-of-forty-characters-or-so-1",
        "JWT_ACCESS_SECRET": "a-test-secret-of-forty-characters-or-so-2",
        "JWT_REFRESH_SECRET": "a-test-secret-of-forty-characters-or-so-4",
    }.items():
        monkeypatch.setenv(name, value)

    async def command(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        result = await asyncio.to_thread(CliRunner().invoke, cli.app, ["archive", *arguments, "--json"])
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]

    code, [told] = await command("run")
    assert (code, told["failed"]) == (0, [])
    assert told["archived"] == told["marked"] >= 3
    assert await site.marks(tenancy) == [(True, True)] * 3
    code, [told] = await command("status")
    assert (code, told["daysWaiting"], told["eventsArchived"] >= 3) == (0, 0, True)
    assert (await command("verify"))[0] == 0
    await site.objects.delete(day.name)
    code, told_all = await command("verify")
    assert (code, told_all[0]["object"], told_all[0]["outcome"]) == (1, day.name, "missing")
