"""What may leave the table leaves from the beginning of its chain, and the rest still proves itself."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mainstay import archive, events
from mainstay.archive import cutting
from mainstay.archive.cutting import days_due
from mainstay.archive.ground import Rule
from mainstay.events.queries import retiring
from mainstay.kernel.db import Database, Sql
from tests.archive.conftest import EVENTS, Site
from tests.tenancy import OPERATOR, Tenancy, test_settings


async def verdict_of(db: Database, tenancy: Tenancy) -> events.Verdict:
    keys = await events.public_keys(db)
    return await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)


async def seqs(site: Site, tenancy: Tenancy) -> list[int]:
    return [row["seq"] for row in await site.rows(tenancy)]


@pytest.mark.contract("HL-R-03")
async def test_events_without_archive_go_after_their_grace_only_where_that_is_allowed(site: Site) -> None:
    tenancy = await site.company(archived=False)
    allowed = site.allowing(deletes=True)
    day = await site.aged(tenancy, 3)
    await site.run()
    await site.clock.move(timedelta(days=60))
    await site.run()
    await archive.cut(site.ground)
    assert await seqs(site, tenancy) == [1, 2, 3]
    async with site.db.begin() as tx:
        await archive.grant_grace(tx, OPERATOR, tenancy.company_id, days=90)
    await site.send(tenancy, 2, name="young")
    await archive.cut(allowed.ground)
    read = await site.api.get(EVENTS, headers=tenancy.auth)
    assert len(read.json()["data"]) == 5
    await site.clock.move(timedelta(days=31))
    await archive.mark(allowed.ground)
    await archive.cut(allowed.ground)
    assert await seqs(site, tenancy) == [4, 5]
    [told] = [one for one in await site.told("retention.deleted") if one["workspaceId"] == tenancy.workspace_id]
    assert (told["events"], told["from"], told["to"]) == (3, day.day.isoformat(), day.day.isoformat())
    verdict = await verdict_of(site.db, tenancy)
    assert (verdict.ok, verdict.checked, verdict.head[0]) == (True, 2, 5)
    shown = [
        one for one in await archive.list_days(site.db, tenancy.company_id) if one.workspace_id == day.workspace_id
    ]
    assert shown[-1].state == "deleted"
    assert await site.names() == []


async def test_with_the_add_on_nothing_is_deleted_that_is_not_archived(site: Site) -> None:
    tenancy = await site.company()
    await site.aged(tenancy, 2)
    await archive.mark(site.ground)
    await site.clock.move(timedelta(days=60))
    await archive.cut(site.allowing(deletes=True, cuts=True).ground)
    assert await seqs(site, tenancy) == [1, 2]


async def archived_month(site: Site, tenancy: Tenancy) -> list[archive.Day]:
    """Two archived days of one month, and an event of the next."""
    now = await site.db.value(Sql("t", "select mainstay.now()"))
    await site.clock.move(now.replace(day=3, hour=12) + timedelta(days=31) - now)
    days = [await site.aged(tenancy, 2), await site.aged(tenancy, 3)]
    await site.clock.move(timedelta(days=20))
    await site.send(tenancy, 1, name="next")
    await site.run()
    return days


async def test_archived_months_leave_once_they_were_verified_and_read_on_from_the_store(site: Site) -> None:
    tenancy = await site.company()
    days = await archived_month(site, tenancy)
    allowed = site.allowing(cuts=True)
    await site.clock.move(timedelta(days=31))
    await archive.cut(allowed.ground)
    assert await seqs(site, tenancy) == [1, 2, 3, 4, 5, 6], "the last verification is too old"
    for day in days:
        await archive.verify_day(site.ground, day)
    await archive.cut(site.ground)
    assert await seqs(site, tenancy) == [1, 2, 3, 4, 5, 6], "it is not allowed"
    await archive.cut(allowed.ground)
    assert await seqs(site, tenancy) == [6]
    verdict = await verdict_of(site.db, tenancy)
    assert (verdict.ok, verdict.checked, verdict.head[0]) == (True, 1, 6)
    for day in days:
        verified = await archive.verify_day(site.ground, day)
        assert verified is not None
        assert verified.outcome == "sound"
    wanted = archive.Range(company_id=tenancy.company_id, workspace_id=tenancy.workspace_id)
    text = b"".join([piece async for piece in archive.export(site.db, site.ground.stores, wanted)])
    assert text.count(b'"seq":') == 5
    assert [one["events"] for one in await site.told("archive.cut") if one["workspaceId"] == tenancy.workspace_id] == [
        5
    ]


@pytest.mark.parametrize("trouble", ["damaged", "gone"])
async def test_what_is_not_sound_in_the_store_stays_in_the_table(site: Site, trouble: str) -> None:
    tenancy = await site.company()
    days = await archived_month(site, tenancy)
    await site.clock.move(timedelta(days=31))
    for day in days:
        await archive.verify_day(site.ground, day)
    if trouble == "damaged":
        await site.objects.put(days[0].name, b"x")
        await archive.verify_day(site.ground, days[0])
    else:
        await site.objects.delete(days[0].name)
    await archive.cut(site.allowing(cuts=True).ground)
    assert await seqs(site, tenancy) == [1, 2, 3, 4, 5, 6]


async def test_a_store_that_is_away_keeps_only_what_is_in_it(site: Site) -> None:
    archived, free = await site.company(), await site.company(archived=False)
    await site.send(free, 1)
    days = await archived_month(site, archived)
    await site.clock.move(timedelta(days=31))
    for day in days:
        await archive.verify_day(site.ground, day)
    allowed = site.allowing(deletes=True, cuts=True).ground
    await archive.cut(replace(allowed, stores=archive.Stores(test_settings(site.db.dsn))))
    assert (await seqs(site, archived), await seqs(site, free)) == ([1, 2, 3, 4, 5, 6], [])
    await archive.cut(allowed)
    assert await seqs(site, archived) == [6]


async def test_what_a_broken_off_cut_left_is_looked_for_by_an_index_in_each_workspace(site: Site) -> None:
    async with site.db.begin() as tx:
        await tx.connection.execute("set local enable_seqscan = off")
        plan = await tx.rows(Sql("t", f"explain (costs off) {retiring._LEFT_BEHIND.text}"))
    text = "\n".join(row[0] for row in plan)
    assert "Index Cond: ((workspace_id = s.workspace_id) AND (seq <= s.seq))" in text, text
    assert "Hash" not in text


async def test_a_whole_partition_is_dropped_where_all_of_it_may_go(site: Site) -> None:
    tenancy, other = await site.company(archived=False), await site.company(archived=False)
    async with site.db.begin() as tx:
        for one in (tenancy, other):
            await archive.grant_grace(tx, OPERATOR, one.company_id, days=0)
    await site.send(other, 2)
    await site.aged(tenancy, 3)
    partition = await site.db.value(
        Sql("t", "select tableoid::regclass::text from mainstay.events where workspace_id = $1 limit 1"),
        tenancy.workspace_id,
    )
    await site.clock.move(timedelta(days=40))
    await site.send(tenancy, 1, name="young")
    await archive.mark(site.ground)
    report = await archive.cut(site.allowing(deletes=True).ground)
    assert [f"mainstay.{name}" for name in report.partitions] == [partition]
    assert await site.db.value(Sql("t", "select to_regclass($1::text)"), partition) is None
    told = {one["workspaceId"]: (one["events"], one["by"]) for one in await site.told("retention.deleted")}
    assert told == {tenancy.workspace_id: (3, "partition"), other.workspace_id: (2, "partition")}
    assert await seqs(site, tenancy) == [4]
    verdict = await verdict_of(site.db, tenancy)
    assert (verdict.ok, verdict.checked) == (True, 1)


async def test_a_cut_that_was_interrupted_is_ended_by_the_next(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_BATCH", 2)
    tenancy = await site.company(archived=False)
    await site.aged(tenancy, 5)
    await site.send(tenancy, 1)
    await archive.mark(site.ground)
    await site.clock.move(timedelta(days=31))
    ground = site.allowing(deletes=True).ground
    from mainstay.events.queries import retiring

    whole, calls = retiring.delete_before_start, 0

    async def failing(*args: Any, **more: Any) -> int:
        nonlocal calls
        calls += args[2] == tenancy.workspace_id
        if calls == 2:
            raise RuntimeError
        return await whole(*args, **more)

    monkeypatch.setattr(retiring, "delete_before_start", failing)
    with pytest.raises(RuntimeError):
        await archive.cut(ground)
    monkeypatch.setattr(retiring, "delete_before_start", whole)
    assert await seqs(site, tenancy) == [3, 4, 5, 6]
    assert (await verdict_of(site.db, tenancy)).ok
    await archive.cut(ground)
    assert await seqs(site, tenancy) == [6]


@pytest.mark.parametrize(
    ("meddling", "kind"),
    [
        ("delete from mainstay.checkpoints where workspace_id = $1", "deleted"),
        ("update mainstay.chain_starts set hash = decode(repeat('ab', 32), 'hex') where workspace_id = $1", "forked"),
        (
            "update mainstay.chain_starts s set seq = e.seq, hash = e.hash from mainstay.events e"
            " where s.workspace_id = $1 and e.workspace_id = $1 and e.seq = 4",
            "deleted",
        ),
    ],
)
async def test_a_cut_that_nobody_signed_is_found(site: Site, meddling: str, kind: str) -> None:
    tenancy = await site.company(archived=False)
    await site.aged(tenancy, 3)
    await archive.mark(site.ground)
    await site.clock.move(timedelta(days=31))
    await site.send(tenancy, 2)
    await archive.cut(site.allowing(deletes=True).ground)
    assert await seqs(site, tenancy) == [4, 5]
    await site.db.run(Sql("t", meddling), tenancy.workspace_id)
    verdict = await verdict_of(site.db, tenancy)
    assert verdict.first_bad is not None
    assert (verdict.ok, verdict.first_bad.kind) == (False, kind)


NOW = datetime(2026, 6, 30, 4, 30, tzinfo=UTC)
WAITS = {"day": date(2026, 3, 1), "last_seq": 9, "flagged_seq": 0, "marked_at": NOW - timedelta(days=60),
         "archived_at": None, "verified_at": None, "outcome": None}  # fmt: skip
SOUND = WAITS | {"flagged_seq": 9, "archived_at": NOW - timedelta(days=31), "verified_at": NOW - timedelta(days=1),
                 "outcome": "sound"}  # fmt: skip
FREE = Rule(7, 30, False)


@pytest.mark.parametrize(
    ("days", "rule", "expected"),
    [
        ([WAITS], FREE, ["deleted"]),
        ([WAITS | {"marked_at": NOW - timedelta(days=29)}], FREE, []),
        ([WAITS], replace(FREE, grace_days=60), ["deleted"]),
        ([WAITS], replace(FREE, grace_days=61), []),
        ([WAITS], replace(FREE, window_days=365), []),
        ([WAITS], replace(FREE, window_days=None), []),
        ([WAITS], replace(FREE, is_archived=True), []),
        ([SOUND], replace(FREE, is_archived=True), ["archived"]),
        ([SOUND], replace(FREE, grace_days=32), []),
        ([SOUND | {"outcome": "damaged"}], FREE, []),
        ([SOUND | {"outcome": "missing"}], FREE, []),
        ([SOUND | {"verified_at": NOW - timedelta(days=9)}], FREE, []),
        ([SOUND | {"last_seq": 10}], replace(FREE, is_archived=True), []),
        ([SOUND, WAITS], FREE, ["archived", "deleted"]),
        ([WAITS | {"marked_at": NOW}, SOUND], FREE, []),
        # 22 June left a window of 7 days at midnight; of 23 June only the first hours did.
        ([WAITS | {"day": date(2026, 6, 22), "marked_at": NOW}], Rule(7, 0, False), ["deleted"]),
        ([WAITS | {"day": date(2026, 6, 23), "marked_at": NOW}], Rule(7, 0, False), []),
    ],
)
def test_which_days_may_leave(days: list[dict[str, Any]], rule: Rule, expected: list[str]) -> None:
    assert days_due(days, rule, NOW, deletes=True, cuts=True) == expected
    assert days_due(days, rule, NOW, deletes=False, cuts=False) == []
