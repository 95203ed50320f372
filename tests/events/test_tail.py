"""The live tail: what comes, from where on, for whom, and what one reader costs."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import events, identity
from mainstay.events import tail as tail_module
from mainstay.events import tailing
from mainstay.events.tailing import Timing
from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.events.tails import PATH, Stream, open_tail
from tests.events.test_reading import read, send
from tests.figures import figure
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

USUAL = Timing()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Timing:
    """Everything happens often."""
    timing = Timing(read_seconds=0.02, read_on_seconds=0.0, heartbeat_seconds=0.2, check_seconds=0.05)
    monkeypatch.setattr(tailing, "Timing", lambda: timing)
    return timing


async def opened(db: Database) -> set[str]:
    """The ids in the register."""
    async with db.begin(readonly=True) as tx:
        return {str(row["id"]) for row in await tx.connection.fetch("select id from mainstay.tail_streams")}


async def until_opened(db: Database, count: int) -> None:
    """Waits until the register holds so many."""
    async with asyncio.timeout(20):
        while len(await opened(db)) != count:
            await asyncio.sleep(0.02)


def ids_of(found: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in found]


@pytest.mark.contract("HL-L-01", "HL-L-02")
async def test_events_appear_as_they_come(
    api: httpx.AsyncClient, tenancy: Tenancy, quick: Timing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(api, tenancy.auth, [{"action": "before"}])
    async with open_tail(api, tenancy.auth) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        first = await stream.frame()
        assert first is not None
        assert (first.retry, first.data, bool(first.id)) == (3000, "", True)
        stored = await send(api, tenancy.auth, [{"action": "after", "payload": {"text": "two\nlines"}}])
        (event,) = await stream.events(1)
        assert (event["id"], event["seq"], event["payload"]) == (stored[0], 2, {"text": "two\nlines"})
        page = await read(api, tenancy.auth, limit=1)
        assert event == page["data"][0]


@pytest.mark.contract("HL-L-02", "HL-L-04")
def test_the_database_is_polled_each_second() -> None:
    assert USUAL.read_seconds <= 1.0
    assert USUAL.heartbeat_seconds == 15.0
    assert tailing.STALE_SECONDS == 60.0


@pytest.mark.contract("HL-L-03")
@pytest.mark.parametrize(
    ("plan", "status"), [("free", 403), ("starter", 403), ("growth", 200), ("scale", 200), ("enterprise", 200)]
)
async def test_growth_or_better(api: httpx.AsyncClient, db: Database, plan: str, status: int) -> None:
    tenancy = await open_tenancy(db, plan=plan)
    async with open_tail(api, tenancy.auth) as stream:
        assert stream.status == status
        if status == 403:
            part = await stream.arrived.get()
            assert part is not None
            assert b"needs the plan growth or better; this company has " + plan.encode() in part


@pytest.mark.contract("HL-L-06")
async def test_a_stream_carries_its_workspace_only(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    stranger = await open_tenancy(db)
    async with open_tail(api, tenancy.auth) as ours, open_tail(api, stranger.auth) as theirs:
        await send(api, {"x-api-key": tenancy.other_key}, [{"action": "sibling"}])
        await send(api, stranger.auth, [{"action": "stranger"}])
        await send(api, tenancy.auth, [{"action": "own"}])
        assert [event["action"] for event in await ours.events(1)] == ["own"]
        assert [event["action"] for event in await theirs.events(1)] == ["stranger"]
        for stream in (ours, theirs):
            for _ in range(2):
                frame = await stream.frame()
                assert frame is not None
                assert frame.data == ""


@pytest.mark.parametrize("way", ["header", "query", "both"])
async def test_a_tail_goes_on_from_its_last_id(api: httpx.AsyncClient, tenancy: Tenancy, way: str) -> None:
    async with open_tail(api, tenancy.auth) as stream:
        await stream.frame()
        start = str(stream.last_id)
        stored = await send(api, tenancy.auth, [{"action": "a"}] * 5)
        assert ids_of(await stream.events(5)) == stored
        last = str(stream.last_id)
    missed = await send(api, tenancy.auth, [{"action": "a"}] * 3)
    headers = {**tenancy.auth, **({} if way == "query" else {"Last-Event-ID": last})}
    query = {"header": {}, "query": {"lastEventId": last}, "both": {"lastEventId": start}}[way]
    async with open_tail(api, headers, **query) as stream:
        assert ids_of(await stream.events(3)) == missed
        later = await send(api, tenancy.auth, [{"action": "a"}])
        assert ids_of(await stream.events(1)) == later
    page = await read(api, tenancy.auth, order="asc", cursor=last)
    assert ids_of(page["data"]) == missed + later, "the list goes on from a tail's id"
    async with open_tail(api, tenancy.auth, lastEventId=page["meta"]["nextCursor"] or last) as stream:
        assert ids_of(await stream.events(4)) == missed + later


async def test_workspaces_that_catch_up_share_what_a_round_reads(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    for key in (tenancy.key, tenancy.other_key):
        await send(api, {"x-api-key": key}, [{"action": "a"}] * 6)
    names = [tenancy.workspace_id, tenancy.other_workspace_id]

    async def shared(limit: int, *seqs: int) -> tuple[list[int], set[int]]:
        times = [tail_module.FIRST_TIME] * 2
        found = await tailing.rows.newer_everywhere(db, names, seqs, times, limit=limit, most_bytes=1_000_000)
        return [row["seq"] for row in found], {row["share"] for row in found}

    assert await shared(5, 0, 0) == ([1, 1, 2, 2, 3, 3], {3})
    assert await shared(1, 0, 0) == ([1, 1], {1})
    assert await shared(4, 6, 1) == ([2, 3, 4, 5], {4}), "one that has nothing new takes no share"


async def test_no_gap_and_no_duplicate_under_writers_on_several_nodes(
    api: httpx.AsyncClient, fresh_url: str, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "_ROUND_EVENTS", 7)
    monkeypatch.setattr(tailing, "_PAGE_EVENTS", 5)
    stored: list[str] = []
    told: list[int] = []
    steady: list[int] = []

    async def write(node: httpx.AsyncClient) -> None:
        for _ in range(12):
            stored.extend(await send(node, tenancy.auth, [{"action": "a"}] * random.randint(1, 6)))

    async def follow(node: httpx.AsyncClient, last: str, seen: list[int], *, leaves: bool) -> None:
        while not (writing.done() and len(seen) == len(stored)):
            async with open_tail(node, tenancy.auth, lastEventId=last) as stream:
                for _ in range(random.randint(1, 40) if leaves else 10_000):
                    frame = await stream.frame()
                    assert frame is not None
                    last = str(stream.last_id)
                    if frame.data:
                        seen.append(frame.json["seq"])
                    if writing.done() and len(seen) == len(stored):
                        break

    async with running_app(fresh_url) as other, open_tail(api, tenancy.auth) as first:
        await first.frame()
        start = str(first.last_id)
        writing = asyncio.gather(*(write(node) for node in (api, other, api, other)))
        await asyncio.gather(writing, follow(other, start, told, leaves=True), follow(api, start, steady, leaves=False))
    assert told == steady == list(range(1, len(stored) + 1))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"action": "doc.read"}, ["r1", "r2"]),
        ({"category": "files"}, ["w1"]),
        ({"actorId": "u-1"}, ["r1"]),
        ({"actorEmail": "b@example.com"}, ["r2"]),
        ({"targetId": "t-9"}, ["w1"]),
        ({"projectId": "p-1"}, ["w1"]),
        ({"text": "SUNRISE"}, ["r2"]),
        ({"text": "doc."}, ["r1", "r2", "w1"]),
        ({"occurredTo": "2020-01-01"}, ["r1"]),
        ({"occurredFrom": "2020-01-01", "action": "doc.read"}, ["r2"]),
        ({"from": "2020-01-01", "to": "2999-01-01"}, ["r1", "r2", "w1", "end"]),
    ],
)
@pytest.mark.parametrize("way", ["live", "missed"])
async def test_filters_are_those_of_the_lists(
    api: httpx.AsyncClient, tenancy: Tenancy, query: dict[str, str], wanted: list[str], way: str
) -> None:
    sent: list[dict[str, Any]] = [
        {"action": "doc.read", "actor": {"id": "u-1"}, "payload": {"n": "r1"}, "occurredAt": "2019-06-01T00:00:00Z"},
        {"action": "doc.read", "actor": {"email": "b@example.com"}, "payload": {"n": "r2", "at": "Sunrise"}},
        {
            "action": "doc.write",
            "category": "files",
            "target": {"id": "t-9"},
            "projectId": "p-1",
            "payload": {"n": "w1"},
        },
        {"action": "end", "payload": {"n": "end"}},
    ]
    async with open_tail(api, tenancy.auth, **query) as stream:
        await stream.frame()
        if way == "live":
            await send(api, tenancy.auth, sent)
            found = await stream.events(len(wanted))
        last = str(stream.last_id)
    if way == "missed":
        await send(api, tenancy.auth, sent)
        async with open_tail(api, tenancy.auth, lastEventId=last, **query) as stream:
            found = await stream.events(len(wanted))
    assert [event["payload"]["n"] for event in found] == wanted
    page = await read(api, tenancy.auth, order="asc", **query)
    assert ids_of(page["data"]) == ids_of(found)


async def test_a_heartbeat_says_how_far_the_tail_is(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    async with open_tail(api, tenancy.auth, action="never") as stream:
        await stream.frame()
        start = stream.last_id
        await send(api, tenancy.auth, [{"action": "a"}] * 3)
        while stream.last_id == start:
            frame = await stream.frame()
            assert frame is not None
            assert (frame.comment, frame.data) == ("still here", "")
    async with open_tail(api, tenancy.auth, lastEventId=str(stream.last_id)) as stream:
        after = await send(api, tenancy.auth, [{"action": "b"}])
        assert ids_of(await stream.events(1)) == after


async def test_what_is_no_id_of_this_tail_is_refused(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    async with open_tail(api, {"x-api-key": tenancy.other_key}) as stream:
        await stream.frame()
        foreign = str(stream.last_id)
    answers = [
        await api.get(PATH, headers=tenancy.auth, params={"lastEventId": foreign}),
        await api.get(PATH, headers={**tenancy.auth, "Last-Event-ID": foreign}),
        await api.get(PATH, headers=tenancy.auth, params={"lastEventId": "7"}),
        await api.get(PATH, headers=tenancy.auth, params={"lastEventId": "x" * 1_025}),
        await api.get(PATH, headers=tenancy.auth, params={"cursor": foreign}),
        await api.get(PATH, headers=tenancy.auth, params={"from": "yesterday"}),
        await api.get(PATH, headers=tenancy.auth, params={"text": "x" * 513}),
    ]
    assert [answer.status_code for answer in answers] == [400] * 7
    pointers = [answer.json()["errors"][0]["pointer"] for answer in answers]
    assert pointers == ["lastEventId", "Last-Event-ID", "lastEventId", "lastEventId", "cursor", "from", "text"]


async def test_a_slow_reader_costs_a_bounded_buffer_and_misses_nothing(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "BUFFER_BYTES", 20_000)
    monkeypatch.setattr(tail_module, "CHUNK_BYTES", 2_000)
    kept: list[int] = []
    offer = tail_module.Tail.offer

    def watched(tail: tail_module.Tail, event: tail_module.Event) -> None:
        offer(tail, event)
        kept.append(tail.buffered)

    monkeypatch.setattr(tail_module.Tail, "offer", watched)
    async with open_tail(api, tenancy.auth) as slow, open_tail(api, tenancy.auth) as fast:
        await slow.frame()
        slow.may_send.clear()
        stored = await send(api, tenancy.auth, [{"action": "a", "payload": {"n": "x" * 500}}] * 120)
        assert ids_of(await fast.events(120)) == stored
        slow.may_send.set()
        assert ids_of(await slow.events(120)) == stored
    assert max(kept) < 22_000


@pytest.mark.contract("HL-L-04")
async def test_one_reader_stands_behind_all_tails(api: httpx.AsyncClient, db: Database, quick: Timing) -> None:
    """The statements of a round are the same for one tail and for forty, of two companies."""

    def asked() -> dict[str, float]:
        return {
            name: figure("db_query_duration_seconds_count", {"operation": f"events.{name}"}) or 0.0
            for name in ("tail_newer", "tail_standing", "tail_see", "tail_open")
        }

    async def rate() -> dict[str, float]:
        loop = asyncio.get_running_loop()
        before, started = asked(), loop.time()
        async with asyncio.timeout(20):
            while (
                asked()["tail_newer"] - before["tail_newer"] < 5 or asked()["tail_standing"] == before["tail_standing"]
            ):
                await asyncio.sleep(0.01)
        took, after = loop.time() - started, asked()
        assert after["tail_newer"] - before["tail_newer"] <= took / quick.read_seconds + 1
        assert after["tail_standing"] - before["tail_standing"] <= took / quick.check_seconds + 1
        assert after["tail_see"] - before["tail_see"] <= took / quick.heartbeat_seconds + 1
        return {"open": after["tail_open"] - before["tail_open"]}

    tenancies = [await open_tenancy(db), await open_tenancy(db)]
    async with open_tail(api, tenancies[0].auth) as first:
        await first.frame()
        assert await rate() == {"open": 0}
        async with asyncio.timeout(60):
            streams = [open_tail(api, tenancies[n % 2].auth) for n in range(39)]
            entered: list[Stream] = [await stream.__aenter__() for stream in streams]
            for stream in entered:
                await stream.frame()
            assert await rate() == {"open": 0}
            stored = [await send(api, tenancy.auth, [{"action": "a"}]) for tenancy in tenancies]
            for n, stream in enumerate(entered):
                assert ids_of(await stream.events(1)) == stored[n % 2]
            for opened_stream in streams:
                await opened_stream.__aexit__(None, None, None)


@pytest.mark.contract("HL-L-05")
async def test_a_client_that_hangs_up_leaves_the_register(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async with open_tail(api, tenancy.auth) as stream:
        await stream.frame()
        assert len(await opened(db)) == 1
    await until_opened(db, 0)


@pytest.mark.contract("HL-L-05")
async def test_a_client_that_reads_no_more_is_ended_and_leaves_the_register(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "STALE_SECONDS", 0.3)
    async with open_tail(api, tenancy.auth) as stream, open_tail(api, tenancy.auth) as reading:
        await stream.frame()
        stream.may_send.clear()
        await until_opened(db, 1)
        stored = await send(api, tenancy.auth, [{"action": "a"}])
        assert ids_of(await reading.events(1)) == stored
        stream.may_send.set()


@pytest.mark.contract("HL-L-05", "HL-J-10")
async def test_rows_of_a_node_that_died_are_cleared_and_a_row_that_ends_closes_its_stream(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, quick: Timing
) -> None:
    schedule = next(one for one in events.schedules() if one.kind == "events.clean_tails")
    assert schedule.slots.period == timedelta(minutes=5)  # type: ignore[union-attr]
    async with open_tail(api, tenancy.auth) as stream, open_tail(api, tenancy.auth) as ended:
        await stream.frame()
        await ended.frame()
        both = await opened(db)
        async with db.begin() as tx:
            await tx.connection.execute(
                """insert into mainstay.tail_streams (id, company_id, workspace_id, key_id, node_id, seen_at)
                   select gen_random_uuid(), company_id, workspace_id, key_id, gen_random_uuid(),
                          mainstay.now() - age
                     from unnest($1::interval[]) as age, (select * from mainstay.tail_streams limit 1) t""",
                [timedelta(seconds=61), timedelta(seconds=50)],
            )
        await clean(db)
        left = await opened(db)
        assert both < left
        assert len(left) == 3, "a node that was seen 50 s ago may live"
        async with db.begin() as tx:
            await tx.connection.execute("delete from mainstay.tail_streams where id = $1", max(both))
        over = await asyncio.wait(
            {asyncio.create_task(one.end()) for one in (stream, ended)}, return_when=asyncio.FIRST_COMPLETED
        )
        (told,) = over[0]
        assert (await told)["reason"] == "ended"
        for task in over[1]:
            task.cancel()


async def clean(db: Database) -> None:
    """The cleaner runs once."""
    tasks = events.tasks(events.Sealer(None))  # type: ignore[arg-type]
    run = next(task.run_in_tx for task in tasks if task.kind == "events.clean_tails")
    assert run is not None
    async with db.begin() as tx:
        await run(tx, None)  # type: ignore[arg-type]


async def test_a_revoked_key_ends_its_streams_alone(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    assert USUAL.check_seconds <= 2.0
    async with db.begin() as tx:
        key = await identity.issue_key(
            tx, OPERATOR, tenancy.company_id, kind="workspace", name="k", workspace_id=tenancy.workspace_id
        )
    async with open_tail(api, {"x-api-key": key.secret}) as theirs, open_tail(api, tenancy.auth) as ours:
        await theirs.frame()
        await ours.frame()
        async with db.begin() as tx:
            await identity.revoke_key(tx, OPERATOR, tenancy.company_id, key.record.id)
        told = await theirs.end()
        assert told["reason"] == "key"
        stored = await send(api, tenancy.auth, [{"action": "a"}])
        assert ids_of(await ours.events(1)) == stored
    async with open_tail(api, {"x-api-key": key.secret}) as refused:
        assert refused.status == 401


async def test_a_company_has_so_many_open_tails_at_most(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (tailing.MOST_OF_A_COMPANY, tailing.MOST_OF_A_PROCESS) == (100, 2_000)
    monkeypatch.setattr(tailing, "MOST_OF_A_COMPANY", 2)
    stranger = await open_tenancy(db)
    async with open_tail(api, tenancy.auth), open_tail(api, {"x-api-key": tenancy.other_key}):
        answers = [await api.get(PATH, headers=tenancy.auth) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [429, 429]
        assert answers[0].json()["type"].endswith("too-many-tails")
        assert int(answers[0].headers["retry-after"]) > 0
        async with open_tail(api, stranger.auth) as theirs:
            assert theirs.status == 200
            monkeypatch.setattr(tailing, "MOST_OF_A_PROCESS", 3)
            assert (await api.get(PATH, headers=stranger.auth)).status_code == 503
    await until_opened(db, 0)
    async with open_tail(api, tenancy.auth) as stream:
        assert stream.status == 200


async def test_a_process_that_stops_says_so_and_the_client_goes_on_elsewhere(
    fresh_url: str, db: Database, tenancy: Tenancy
) -> None:
    async with running_app(fresh_url) as other:
        async with running_app(fresh_url) as stopping:
            async with open_tail(stopping, tenancy.auth) as stream:
                await stream.frame()
                stored = await send(other, tenancy.auth, [{"action": "a"}])
                assert ids_of(await stream.events(1)) == stored
                stopping._transport.app.stop()  # type: ignore[attr-defined]
                frames = []
                while (frame := await stream.frame()) is not None:
                    frames.append(frame)
                assert (frames[-1].event, frames[-1].json["reason"]) == ("end", "stopping")
                assert 1_000 <= (frames[-1].retry or 0) <= 5_000
                last = str(stream.last_id)
            assert (await stopping.get(PATH, headers=tenancy.auth)).status_code == 503
        await until_opened(db, 0)
        missed = await send(other, tenancy.auth, [{"action": "b"}])
        async with open_tail(other, tenancy.auth, lastEventId=last) as stream:
            assert ids_of(await stream.events(1)) == missed


async def test_a_tail_ends_after_an_hour(fresh_url: str, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert USUAL.longest_seconds == 3_600
    short = Timing(read_seconds=0.02, check_seconds=0.02, longest_seconds=0.1)
    monkeypatch.setattr(tailing, "Timing", lambda: short)
    async with running_app(fresh_url) as api, open_tail(api, tenancy.auth) as stream:
        assert (await stream.end())["reason"] == "age"


async def test_a_database_that_was_away_costs_a_delay_and_no_event(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async with open_tail(api, tenancy.auth) as stream:
        await stream.frame()
        stored = await send(api, tenancy.auth, [{"action": "a"}])
        async with db.begin() as tx:
            await tx.connection.execute(
                """select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()"""
            )
        async with asyncio.timeout(20):
            while True:
                answer = await api.post("/v1/key/workspace/events", json={"action": "b"}, headers=tenancy.auth)
                if answer.status_code == 201:
                    break
        assert ids_of(await stream.events(2)) == [*stored, answer.json()["id"]]


async def test_a_cursor_from_before_a_restored_backup_shows_what_comes_from_now_on(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async with open_tail(api, tenancy.auth) as stream:
        await send(api, tenancy.auth, [{"action": "a"}] * 4)
        await stream.events(4)
    async with db.begin() as tx:
        await tx.connection.execute(
            "delete from mainstay.events where workspace_id = $1 and seq > 2", tenancy.workspace_id
        )
        await tx.connection.execute(
            "update mainstay.chain_heads set seq = 2 where workspace_id = $1", tenancy.workspace_id
        )
    async with open_tail(api, tenancy.auth, lastEventId=str(stream.last_id)) as stream:
        await stream.frame()
        stored = await send(api, tenancy.auth, [{"action": "new"}])
        assert ids_of(await stream.events(1)) == stored


class Held:
    """A statement of the tail that can be held before or after the database has answered it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *, after: bool, limit: int | None = None) -> None:
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()
        self.is_on = False
        real = getattr(tailing.rows, name)

        async def held(*args: Any, **more: Any) -> Any:
            is_meant = self.is_on and limit in (None, more.get("limit"))
            found = await real(*args, **more) if after or not is_meant else None
            if is_meant:
                self.reached.set()
                await self.goes_on.wait()
            return found if after or not is_meant else await real(*args, **more)

        monkeypatch.setattr(tailing.rows, name, held)


async def test_a_tail_that_comes_while_the_last_one_leaves_misses_nothing(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader asks on from where the last tail was; the new one's place was read before."""
    opening = Held(monkeypatch, "open_tail", after=True)
    reading = Held(monkeypatch, "newer_everywhere", after=False, limit=tailing._ROUND_EVENTS)
    async with open_tail(api, tenancy.auth) as first:
        await first.frame()
        opening.is_on = True
        second = open_tail(api, tenancy.auth)
        entering = asyncio.create_task(second.__aenter__())
        await asyncio.wait_for(opening.reached.wait(), 20)
        stored = await send(api, tenancy.auth, [{"action": "a"}] * 3)
        await first.events(3)
        reading.is_on = True
        await asyncio.wait_for(reading.reached.wait(), 20)
        stored += await send(api, tenancy.auth, [{"action": "a"}])
    opening.goes_on.set()
    stream = await entering
    try:
        await stream.frame()
        reading.goes_on.set()
        assert ids_of(await stream.events(4)) == stored
    finally:
        await second.__aexit__(None, None, None)


async def test_a_tail_that_looks_for_what_is_not_kept_misses_nothing_that_comes_meanwhile(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_tail(api, tenancy.auth) as steady:
        await steady.frame()
        start = str(steady.last_id)
        await send(api, tenancy.auth, [{"action": "a"}] * 3)
        await steady.events(3)
        async with db.begin() as tx:
            await tx.connection.execute("delete from mainstay.events where workspace_id = $1", tenancy.workspace_id)
        looking = Held(monkeypatch, "newer_everywhere", after=True, limit=tailing._PAGE_EVENTS)
        looking.is_on = True
        async with open_tail(api, tenancy.auth, lastEventId=start) as late:
            await late.frame()
            await asyncio.wait_for(looking.reached.wait(), 20)
            stored = await send(api, tenancy.auth, [{"action": "b"}])
            assert ids_of(await steady.events(1)) == stored
            looking.goes_on.set()
            assert ids_of(await late.events(1)) == stored


async def test_a_tail_begins_behind_what_the_reader_has_still_to_read(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Held(monkeypatch, "newer_everywhere", after=False, limit=tailing._ROUND_EVENTS)
    async with open_tail(api, tenancy.auth) as first:
        await first.frame()
        reading.is_on = True
        await asyncio.wait_for(reading.reached.wait(), 20)
        before = await send(api, tenancy.auth, [{"action": "before"}] * 2)
        async with open_tail(api, tenancy.auth) as second:
            await second.frame()
            reading.goes_on.set()
            after = await send(api, tenancy.auth, [{"action": "after"}])
            assert ids_of(await first.events(3)) == before + after
            assert ids_of(await second.events(1)) == after
