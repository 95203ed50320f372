"""Following: what is new is told once and in order, whoever stores at the same time."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import events
from mainstay.events import ingest, intake, reading
from mainstay.events.queries import lists
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql, Tx
from mainstay.kernel.errors import Invalid
from mainstay.kernel.paging import Cursors
from tests.events.test_reading import COMPANY, EVENTS, read, send, walk
from tests.tenancy import Tenancy, open_tenancy

ALL = events.Filters()


@pytest.fixture
def reader(db: Database) -> events.Reader:
    return events.Reader(db, Cursors(Keyring("a-test-secret-of-forty-characters-or-so-1")))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only transactions that run hold events back, not their age."""
    monkeypatch.setattr(reading, "SETTLING", timedelta(0))


async def late_event(tx: Tx, tenancy: Tenancy) -> str:
    """An event of the other workspace whose time is the start of this transaction, however late it is stored."""
    place = events.Place(tenancy.other_workspace_id, tenancy.company_id, "US", None)
    (stored,) = await ingest.append(tx, [intake.prepare(b'{"action":"late"}', place, "0" * 31 + "1", None)])
    assert isinstance(stored, ingest.Stored)
    return stored.event_id


@pytest.mark.usefixtures("at_once")
async def test_an_ascending_walk_over_a_company_waits_for_who_began_earlier(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    early = await send(api, tenancy.auth, [{"action": "a"}] * 2)
    async with db.begin() as tx:
        await tx.connection.fetchval("select 1")
        after = await send(api, tenancy.auth, [{"action": "a"}] * 2)
        page = await read(api, tenancy.company_auth, COMPANY, order="asc", limit=2)
        assert [event["id"] for event in page["data"]] == early
        assert await walk(api, tenancy.company_auth, COMPANY, order="asc") == early
        assert (await walk(api, tenancy.company_auth, COMPANY))[:2] == after[::-1], "newest first hides nothing"
        assert await walk(api, tenancy.auth, EVENTS, order="asc") == early + after, "a workspace's order is its own"
        late = await late_event(tx, tenancy)
    assert await walk(api, tenancy.company_auth, COMPANY, order="asc") == [*early, late, *after]


async def test_what_is_newer_than_a_second_is_left_for_later(
    api: httpx.AsyncClient, tenancy: Tenancy, sql_clock: Any
) -> None:
    await sql_clock.stop()
    ids = await send(api, tenancy.auth, [{"action": "a"}])
    assert await walk(api, tenancy.company_auth, COMPANY, order="asc") == []
    await sql_clock.move(timedelta(seconds=1.1))
    assert await walk(api, tenancy.company_auth, COMPANY, order="asc") == ids


async def test_only_who_may_store_an_event_holds_others_back(db: Database) -> None:
    """What a vacuum of hours would hold back, nobody would see for hours."""
    activity = Sql("test", lists._CERTAIN_UNTIL.text.replace("pg_stat_activity", "mainstay.test_activity"))
    async with db.begin() as tx:
        await tx.connection.execute(
            """create view mainstay.test_activity as
                 select pid, datname, xact_start, backend_type from pg_stat_activity
                 union all select 1, current_database(), now() - interval '3 hours', 'autovacuum worker'"""
        )
        until = await tx.value(activity, timedelta(seconds=1))
        assert await tx.value(Sql("test", "select mainstay.now() - $1 < interval '2 hours'"), until)
        await tx.connection.execute(
            """create or replace view mainstay.test_activity as
                 select pid, datname, xact_start, backend_type from pg_stat_activity
                 union all select 1, current_database(), now() - interval '3 hours', 'client backend'"""
        )
        until = await tx.value(activity, timedelta(seconds=1))
        assert await tx.value(Sql("test", "select mainstay.now() - $1 >= interval '3 hours'"), until)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("whole_company", [False, True])
async def test_a_follower_misses_and_repeats_nothing_under_writers(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, reader: events.Reader, whole_company: bool
) -> None:
    workspace_id = None if whole_company else tenancy.workspace_id
    told: list[tuple[str, str, int]] = []
    stored: list[str] = []
    writing = True

    async def write(key: str, kept: bool) -> None:
        for _ in range(12):
            ids = await send(api, {"authorization": f"Bearer {key}"}, [{"action": "a"}] * 3)
            stored.extend(ids if kept else [])

    async def write_late() -> None:
        for pause in (0.0, 0.05, 0.1, 0.02):
            async with db.begin() as tx:
                await tx.connection.fetchval("select 1")
                await asyncio.sleep(pause)
                stored.extend([await late_event(tx, tenancy)] if whole_company else [])

    async def follow() -> None:
        cursor = (await reader.follow(tenancy.company_id, ALL, workspace_id=workspace_id, limit=1)).cursor
        began.set()
        while True:
            is_end = not writing
            found = await reader.follow(tenancy.company_id, ALL, workspace_id=workspace_id, limit=7, cursor=cursor)
            told.extend((str(row["id"]), str(row["workspace_id"]), row["seq"]) for row in found.rows)
            cursor = found.cursor
            if is_end and not found.has_more:
                return

    began = asyncio.Event()
    following = asyncio.create_task(follow())
    await began.wait()
    await asyncio.gather(write(tenancy.key, True), write(tenancy.other_key, whole_company), write_late())
    writing = False
    await following
    assert sorted(one[0] for one in told) == sorted(stored)
    for workspace in {one[1] for one in told}:
        seqs = [seq for _, of, seq in told if of == workspace]
        assert seqs == sorted(seqs)


async def test_following_begins_with_the_newest_and_goes_on_from_there(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, reader: events.Reader, sql_clock: Any
) -> None:
    ids = await send(api, tenancy.auth, [{"action": f"a.{n % 2}"} for n in range(6)])
    await sql_clock.move(timedelta(seconds=2))
    only = events.filters_of({"action": "a.1"})
    for workspace_id in (tenancy.workspace_id, None):
        first = await reader.follow(tenancy.company_id, ALL, workspace_id=workspace_id, limit=2)
        assert [str(row["id"]) for row in first.rows] == ids[4:]
        assert not first.has_more
        chosen = await reader.follow(tenancy.company_id, only, workspace_id=workspace_id, limit=2)
        assert [str(row["id"]) for row in chosen.rows] == [ids[3], ids[5]]
        again = await reader.follow(tenancy.company_id, ALL, workspace_id=workspace_id, limit=2, cursor=first.cursor)
        assert [again.rows, again.cursor] == [[], first.cursor]
    passed = await reader.follow(tenancy.company_id, only, workspace_id=tenancy.workspace_id, limit=1)
    more = await send(api, tenancy.auth, [{"action": "a.0"}] * 3)
    following = await reader.follow(
        tenancy.company_id, ALL, workspace_id=tenancy.workspace_id, limit=2, cursor=passed.cursor
    )
    assert [row["seq"] for row in following.rows] == [7, 8]
    assert len(more) == 3


async def test_a_followers_cursor_passes_what_does_not_match(
    api: httpx.AsyncClient, tenancy: Tenancy, reader: events.Reader
) -> None:
    empty = await reader.follow(tenancy.company_id, ALL, workspace_id=tenancy.workspace_id, limit=5)
    assert empty.rows == []
    rare = events.filters_of({"category": "rare"})
    await send(api, tenancy.auth, [{"action": "a"}] * 5)
    none = await reader.follow(
        tenancy.company_id, rare, workspace_id=tenancy.workspace_id, limit=5, cursor=empty.cursor
    )
    assert none.rows == []
    assert none.cursor != empty.cursor
    ids = await send(api, tenancy.auth, [{"action": "a", "category": "rare"}])
    found = await reader.follow(
        tenancy.company_id, rare, workspace_id=tenancy.workspace_id, limit=5, cursor=none.cursor
    )
    assert [str(row["id"]) for row in found.rows] == ids
    whole = await reader.follow(
        tenancy.company_id, ALL, workspace_id=tenancy.workspace_id, limit=4, cursor=empty.cursor
    )
    assert [len(whole.rows), whole.has_more] == [4, True]


async def test_a_followers_cursor_serves_its_own_list_only(
    db: Database, tenancy: Tenancy, reader: events.Reader
) -> None:
    stranger = await open_tenancy(db)
    cursor = (await reader.follow(tenancy.company_id, ALL, workspace_id=tenancy.workspace_id, limit=1)).cursor
    for company_id, workspace_id in (
        (stranger.company_id, stranger.workspace_id),
        (tenancy.company_id, tenancy.other_workspace_id),
        (tenancy.company_id, None),
    ):
        with pytest.raises(Invalid):
            await reader.follow(company_id, ALL, workspace_id=workspace_id, limit=1, cursor=cursor)


async def test_an_event_tells_its_place(api: httpx.AsyncClient, tenancy: Tenancy, reader: events.Reader) -> None:
    ids = await send(api, tenancy.auth, [{"action": "a"}] * 3)
    row = await reader.get(tenancy.company_id, ids[1], workspace_id=None)
    place = await reader.place_of(row)
    assert [place.seq, place.head_seq, place.checkpoint_seq, place.checkpoint_at] == [2, 3, None, None]
    before = await reader.get(tenancy.company_id, ids[0], workspace_id=None)
    assert place.prev_hash == before["hash"].hex()
    assert (await api.get("/v1/key/workspace/checkpoint", headers=tenancy.auth)).status_code == 200
    await send(api, tenancy.auth, [{"action": "a"}])
    place = await reader.place_of(row)
    assert [place.seq, place.head_seq, place.checkpoint_seq] == [2, 4, 3]
    assert place.checkpoint_at is not None
