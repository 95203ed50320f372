"""Events leave their window, are marked, and go into a day's object: whole, once, and whatever happens meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive, events, plans
from mainstay.archive import archiving, marking
from mainstay.events.chain import digest
from mainstay.kernel.db import Sql
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.objects import Objects
from tests.archive.conftest import EVENTS, Site
from tests.tenancy import OPERATOR


@pytest.mark.contract("HL-E-05", "HL-E-06", "HL-R-07", "HL-J-04", "HL-J-05")
async def test_events_are_marked_when_they_leave_the_window_and_archived_after_that(site: Site) -> None:
    tenancy = await site.company()
    await site.send(tenancy, 2)
    assert await site.marks(tenancy) == [(False, False)] * 2
    await site.clock.move(timedelta(days=7) - timedelta(hours=1))
    assert await site.run() == 0
    assert await site.marks(tenancy) == [(False, False)] * 2
    await site.send(tenancy, 1)
    await site.clock.move(timedelta(hours=2))
    await archive.mark(site.ground)
    assert await site.marks(tenancy) == [(True, False)] * 2 + [(False, False)]
    read = await site.api.get(EVENTS, params={"order": "asc"}, headers=tenancy.auth)
    assert [(one["archivalCandidate"], one["archived"]) for one in read.json()["data"]] == await site.marks(tenancy)
    assert await site.run() > 0
    assert await site.marks(tenancy) == [(True, True)] * 2 + [(False, False)]
    read = await site.api.get(EVENTS, params={"order": "asc"}, headers=tenancy.auth)
    assert [(one["archivalCandidate"], one["archived"]) for one in read.json()["data"]] == await site.marks(tenancy)


@pytest.mark.contract("HL-R-03", "HL-R-04", "HL-R-05")
async def test_the_object_of_a_day_is_gzip_json_of_its_events(any_site: Site) -> None:
    site = any_site
    tenancy, other = await site.company(), await site.company(archived=False)
    await site.send(other, 2)
    await site.send(tenancy, 1, key=tenancy.other_key)
    day = await site.aged(tenancy, 5)
    await site.run()
    found = await site.names()
    expected = {
        f"{tenancy.company_id}/{workspace}/{day.day.isoformat()}.json.gz"
        for workspace in (tenancy.workspace_id, tenancy.other_workspace_id)
    }
    system = [name for name in found if name not in expected]
    assert expected <= set(found)
    assert all(name.startswith(f"{tenancy.company_id}/") and name.endswith(f"/{day.day}.json.gz") for name in system)
    content = await site.content(day)
    rows = await site.rows(tenancy)
    assert [one["id"] for one in content] == [str(row["id"]) for row in rows]
    assert [one["payload"] for one in content] == [{"n": n} for n in range(5)]
    assert all(one["archived"] and one["archivalCandidate"] for one in content)
    assert await site.marks(other) == [(True, False)] * 2


@pytest.mark.contract("HL-P-02")
async def test_archival_follows_the_add_on(site: Site) -> None:
    tenancy = await site.company(archived=False)
    await site.aged(tenancy)
    assert await site.run() == 0
    async with site.db.begin() as tx:
        await plans.grant_add_on(tx, OPERATOR, tenancy.company_id, code=plans.RETENTION_S3_ARCHIVE)
    await site.run()
    assert await site.marks(tenancy) == [(True, True)] * 3
    async with site.db.begin() as tx:
        await plans.remove_add_on(tx, OPERATOR, tenancy.company_id, code=plans.RETENTION_S3_ARCHIVE)
    await site.aged(tenancy)
    await site.run()
    assert await site.marks(tenancy) == [(True, True)] * 3 + [(True, False)] * 3


@pytest.mark.contract("HL-R-09")
async def test_a_workspace_of_its_own_days_is_marked_by_them(site: Site) -> None:
    tenancy = await site.company(plan="growth")
    async with site.db.begin() as tx:
        await archive.override_retention(tx, OPERATOR, tenancy.company_id, tenancy.workspace_id, days=10)
    await site.send(tenancy, 1)
    await site.send(tenancy, 1, key=tenancy.other_key)

    async def marked() -> list[bool]:
        await archive.mark(site.ground)
        both = (tenancy.workspace_id, tenancy.other_workspace_id)
        return [(await site.rows(tenancy, one))[0]["archival_candidate"] for one in both]

    await site.clock.move(timedelta(days=10) - timedelta(minutes=5))
    assert await marked() == [False, False]
    await site.clock.move(timedelta(minutes=10))
    assert await marked() == [True, False]
    await site.clock.move(timedelta(days=80))
    assert await marked() == [True, True]


async def test_a_company_of_its_own_days_and_a_plan_without_end(site: Site) -> None:
    own, endless = await site.company(plan="growth"), await site.company(plan="enterprise")
    async with site.db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, own.company_id, name="retention_days", amount=3)
    await site.send(own, 1)
    await site.send(endless, 1)
    await site.clock.move(timedelta(days=4))
    await archive.mark(site.ground)
    assert [await site.marks(one) for one in (own, endless)] == [[(True, False)], [(False, False)]]


async def test_a_limit_beyond_all_time_stops_nobody_else(site: Site) -> None:
    endless, tenancy = await site.company(), await site.company()
    async with site.db.begin() as tx:
        limit = "insert into mainstay.company_limits (company_id, name, amount) values ($1, 'retention_days', $2)"
        await tx.connection.execute(limit, endless.company_id, 10**12)
    await site.send(endless, 1)
    await site.aged(tenancy, 1)
    await site.run()
    assert (await site.marks(endless), await site.marks(tenancy)) == ([(False, False)], [(True, True)])


async def test_marking_goes_on_where_it_was_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "_BATCH", 2)
    tenancy = await site.company()
    await site.aged(tenancy, 5)
    whole, calls = events.Retirement.mark, 0

    async def failing(self: Any, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += args[2] == tenancy.workspace_id
        if calls == 2:
            raise Unavailable
        return await whole(self, *args, **more)

    monkeypatch.setattr(events.Retirement, "mark", failing)
    with pytest.raises(Unavailable):
        await archive.mark(site.ground)
    assert [candidate for candidate, _ in await site.marks(tenancy)] == [True, True, False, False, False]
    monkeypatch.undo()
    await site.run()
    assert await site.marks(tenancy) == [(True, True)] * 5


@pytest.mark.contract("HL-R-06")
@pytest.mark.parametrize("moment", ["upload", "read back", "marks"])
async def test_nothing_is_archived_before_it_is_in_the_store(
    site: Site, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy)
    await archive.mark(site.ground)

    async def fails(*_: Any, **__: Any) -> Any:
        raise Unavailable("The object store does not do its work.")

    target: Any = {
        "upload": (Objects, "put"),
        "read back": (archiving, "_read_back"),
        "marks": (events.Retirement, "flag"),
    }[moment]
    with monkeypatch.context() as broken:
        broken.setattr(*target, fails)
        with pytest.raises(Unavailable):
            await archive.archive_day(site.ground, day)
    assert await site.marks(tenancy) == [(True, False)] * 3
    [shown] = [
        one for one in await archive.list_days(site.db, tenancy.company_id) if one.workspace_id == day.workspace_id
    ]
    assert shown.failure == "The object store does not do its work."
    assert day in await site.due()
    assert await archive.archive_day(site.ground, day) == 3
    assert await site.marks(tenancy) == [(True, True)] * 3
    assert day not in await site.due()


async def test_what_comes_back_otherwise_than_it_was_sent_is_not_archived(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy)
    await archive.mark(site.ground)
    whole = Objects.get

    async def flipped(self: Any, name: str, *, etag: str | None = None) -> AsyncIterator[bytes]:
        async for piece in whole(self, name, etag=etag):
            yield piece[:4] + b"\1\1\1\1" + piece[8:]

    monkeypatch.setattr(Objects, "get", flipped)
    with pytest.raises(Unavailable, match="not what it was given"):
        await archive.archive_day(site.ground, day)
    assert await site.marks(tenancy) == [(True, False)] * 3


@pytest.mark.contract("HL-R-10")
async def test_an_event_that_comes_late_joins_its_day(any_site: Site) -> None:
    site = any_site
    tenancy = await site.company()
    day = await site.aged(tenancy, 3)
    await site.run()
    await site.clock.move(timedelta(days=-8))
    await site.send(tenancy, 2, name="late")
    await site.clock.move(timedelta(days=8))
    assert await site.run() == 2
    content = await site.content(day)
    assert [one["action"] for one in content] == ["a.n0", "a.n1", "a.n2", "late.n0", "late.n1"]
    assert await site.marks(tenancy) == [(True, True)] * 5
    verified = await archive.verify_day(site.ground, day)
    assert verified is not None
    assert (verified.outcome, verified.checked) == ("sound", 5)


async def test_a_day_waits_until_all_of_it_is_out_of_the_window(site: Site) -> None:
    tenancy = await site.company()
    now = await site.db.value(Sql("t", "select mainstay.now()"))
    await site.clock.move(now.replace(hour=10, minute=0, second=0) + timedelta(days=1) - now)
    await site.send(tenancy, 1)
    await site.clock.move(timedelta(hours=2))
    await site.send(tenancy, 1)
    await site.clock.move(timedelta(days=7, hours=-1))
    assert await site.run() == 0
    assert await site.marks(tenancy) == [(True, False), (False, False)]
    await site.clock.move(timedelta(hours=2))
    await site.run()
    assert await site.marks(tenancy) == [(True, True)] * 2


@pytest.mark.parametrize("count", [1, 4])
async def test_simultaneous_runs_of_one_day_archive_it_once_and_whole(any_site: Site, count: int) -> None:
    site = any_site
    tenancy = await site.company()
    day = await site.aged(tenancy, 20)
    await archive.mark(site.ground)
    flagged = await asyncio.gather(*(archive.archive_day(site.ground, day) for _ in range(count)))
    assert sum(flagged) == 20
    assert [one["seq"] for one in await site.content(day)] == list(range(1, 21))
    verified = await archive.verify_day(site.ground, day)
    assert verified is not None
    assert verified.outcome == "sound"


async def test_a_late_writer_loses_nothing_that_came_after_it(any_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = any_site
    tenancy = await site.company()
    day = await site.aged(tenancy, 3)
    await archive.mark(site.ground)
    whole, waits = Objects.put, asyncio.Event()
    is_waiting = asyncio.Event()

    async def slow(self: Any, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Objects, "put", whole)
        is_waiting.set()
        await waits.wait()
        return await whole(self, *args, **more)

    monkeypatch.setattr(Objects, "put", slow)
    late = asyncio.create_task(archive.archive_day(site.ground, day))
    await is_waiting.wait()
    await site.clock.move(timedelta(days=-8))
    await site.send(tenancy, 2, name="late")
    await site.clock.move(timedelta(days=8))
    await archive.mark(site.ground)
    assert await archive.archive_day(site.ground, day) == 5
    waits.set()
    assert await late == 0
    assert len(await site.content(day)) == 5
    verified = await archive.verify_day(site.ground, day)
    assert verified is not None
    assert verified.outcome == "sound"


async def test_what_somebody_else_put_there_is_replaced_while_the_events_are_in_the_table(site: Site) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy)
    await site.objects.put(day.name, b"not ours")
    await site.run()
    assert len(await site.content(day)) == 3


@pytest.mark.parametrize(
    "meddling",
    [
        "update mainstay.events set payload = '{\"n\":9}' where workspace_id = $1 and seq = 2",
        "delete from mainstay.events where workspace_id = $1 and seq = 2",
        "delete from mainstay.events where workspace_id = $1 and seq = 3",
    ],
)
async def test_events_that_are_not_what_was_written_are_not_archived(site: Site, meddling: str) -> None:
    tenancy, other = await site.company(), await site.company()
    await site.send(other, 2)
    day = await site.aged(tenancy)
    await archive.mark(site.ground)
    await site.db.run(Sql("t", meddling), tenancy.workspace_id)
    with pytest.raises(events.Unproven) as refused:
        await archive.archive_day(site.ground, day)
    assert refused.value.finding.seq in (2, 3)
    assert day.name not in await site.names()
    assert not any(archived for _, archived in await site.marks(tenancy))
    for one in await site.due():
        if one != day:
            await archive.archive_day(site.ground, one)
    assert await site.marks(other) == [(True, True)] * 2


async def test_without_a_store_events_are_marked_and_stay(site: Site, fresh_url: str) -> None:
    from mainstay.kernel.crypto import Keyring
    from mainstay.kernel.regions import Regions
    from tests.tenancy import test_settings

    settings = test_settings(fresh_url)
    ground = archive.ground_of(settings, Regions(site.db, {}), site.db, Keyring(settings.secret, ()))
    tenancy = await site.company()
    await site.aged(tenancy)
    await archive.mark(ground)
    assert [day async for day in archive.due_days(ground)] == []
    assert await site.marks(tenancy) == [(True, False)] * 3


async def test_an_archived_day_can_be_rewritten_as_far_as_its_proofs_allow(any_site: Site) -> None:
    site = any_site
    tenancy = await site.company()
    day = await site.aged(tenancy, 3)
    await site.run()

    def without_payload(line: bytes) -> bytes:
        event = json.loads(line)
        salt = bytes.fromhex(event["proof"]["salts"].pop("payload"))
        event["proof"]["digests"] = {
            "payload": digest(salt, json.dumps(event["payload"], separators=(",", ":")).encode())
        }
        return json.dumps(event | {"payload": None}).encode()

    assert await archive.rewrite_day(site.ground, day, without_payload) is True
    assert [one["payload"] for one in await site.content(day)] == [None] * 3
    verified = await archive.verify_day(site.ground, day)
    assert verified is not None
    assert verified.outcome == "sound"
    with pytest.raises(events.Unproven):
        await archive.rewrite_day(site.ground, day, lambda line: line.replace(b"a.n1", b"b.n1"))
    assert [one["action"] for one in await site.content(day)] == ["a.n0", "a.n1", "a.n2"]
