"""Exports under writers and slow readers: complete up to one moment, flat in memory, and cut off where nobody reads."""

import asyncio
import re
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from mainstay import main
from mainstay.cli.http_limits import BoundedHttp
from mainstay.events import export_routes, exporting
from mainstay.events.exporting import Exports, Wanted
from mainstay.events.filters import Filters
from mainstay.events.sealing import Sealer
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Unavailable
from tests.events.test_export import auth_of, export, path_of, told_of
from tests.events.test_reading import send
from tests.tenancy import Tenancy, test_settings

SECRET = "a-test-secret-of-forty-characters-or-so-1"
FILL = Sql(
    "test.fill",
    """insert into mainstay.events (workspace_id, seq, id, company_id, data_region, action, category, actor_id, payload,
         prev_hash, hash, trace_id, occurred_at, received_at)
       select $1, n, gen_random_uuid(), $2, 'US', 'a.b', 'c', 'u' || n, '{"note":"' || repeat('x', $4) || '"}',
              sha256(n::text::bytea), sha256(n::text::bytea), md5(n::text), now(), now()
         from generate_series(1, $3::bigint) n""",
)
HEAD = Sql("test.head", "update mainstay.chain_heads set seq = $2, received_at = now() where workspace_id = $1")
HELD = Sql(
    "test.held",
    """select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
         and backend_type = 'client backend' and (state <> 'idle' or backend_xmin is not null)""",
)


@pytest.fixture
def exports(db: Database) -> Exports:
    return Exports(db, Sealer(Keyring(SECRET)))


def wanted_of(tenancy: Tenancy, scope: str = "workspace", **more: Any) -> Wanted:
    own = tenancy.workspace_id if scope == "workspace" else None
    told: dict[str, Any] = {"form": "ndjson", "cap": None, "filters": Filters(), **more}
    return Wanted(company_id=tenancy.company_id, workspace_id=own, **told)


async def fill(db: Database, tenancy: Tenancy, rows: int, *, body: int = 200) -> None:
    await db.run(FILL, tenancy.workspace_id, tenancy.company_id, rows, body)
    await db.run(HEAD, tenancy.workspace_id, rows)


async def lines_of(pieces: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    body = b"".join([piece async for piece in pieces])
    return [orjson.loads(line) for line in body.splitlines()]


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("scope", ["workspace", "company"])
async def test_an_export_holds_what_was_stored_when_it_began_whoever_writes(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, exports: Exports, scope: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Writers commit out of order, in several workspaces; steps of three events fall between their commits."""
    monkeypatch.setattr(exporting, "_FIRST_WIDTH", 3)
    monkeypatch.setattr(exporting.export_forms, "next_width", lambda *_, **__: 3)
    other = {"x-api-key": tenancy.other_key}
    early = await send(api, tenancy.auth, [{"action": "early"}] * 10) + await send(
        api, other, [{"action": "early"}] * 10
    )
    async with _late_writer(db, tenancy.other_workspace_id) as commit_late:
        early += await send(api, tenancy.auth, [{"action": "early"}] * 10)
        export_ = await exports.begin(wanted_of(tenancy, scope))
        seen: list[dict[str, Any]] = []
        number = 0
        async for piece in export_.pieces():
            seen += [orjson.loads(line) for line in piece.splitlines()]
            await send(api, tenancy.auth, [{"action": "later"}])
            number += 1
            if number == 4:
                await commit_late()
                await send(api, other, [{"action": "later"}] * 2)
    *events, end = seen
    mine = [event for event in events if event["action"] in ("early", "later", "late")]
    here = early if scope == "company" else early[:10] + early[20:]
    assert sorted(event["id"] for event in mine) == sorted(here), "what came later is not in it"
    assert end["end"] == {"rows": len(events), "cap": None, "truncated": False}
    ordered = [(event["createdAt"], event["workspaceId"], event["seq"]) for event in events]
    assert ordered == sorted(ordered)


@asynccontextmanager
async def _late_writer(db: Database, workspace_id: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A transaction that began before what follows, and stores and commits when it is told to."""
    async with db.connection() as connection:
        work = connection.transaction()
        await work.start()
        await connection.execute("select 1")

        async def commit() -> None:
            await connection.execute(
                f"""insert into mainstay.events select (jsonb_populate_record(e, jsonb_build_object('seq', h.seq + 1,
                      'id', gen_random_uuid(), 'action', 'late', 'received_at', mainstay.now()))).*
                      from mainstay.events e join mainstay.chain_heads h using (workspace_id)
                     where e.workspace_id = '{workspace_id}' and e.seq = 1"""
            )
            await connection.execute(
                f"update mainstay.chain_heads set seq = seq + 1 where workspace_id = '{workspace_id}'"
            )
            await work.commit()

        yield commit


async def test_many_writers_and_exports_at_once(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    """Whatever an answered request stored before an export began is in it once, and each chain is without a gap."""
    keys = [tenancy.auth, {"x-api-key": tenancy.other_key}]
    answered: set[str] = set()
    stop = asyncio.Event()

    async def write(auth: dict[str, str]) -> None:
        while not stop.is_set():
            answered.update(await send(api, auth, [{"action": "w"}] * 7))

    writers = [asyncio.create_task(write(auth)) for auth in keys * 3]
    try:
        for _ in range(6):
            before = set(answered)
            events = (await export(api, tenancy.company_auth, path_of("company"))).json()["data"]
            own = [event["id"] for event in events]
            assert len(own) == len(set(own))
            assert before <= set(own)
            for workspace_id in (tenancy.workspace_id, tenancy.other_workspace_id):
                seqs = [event["seq"] for event in events if event["workspaceId"] == workspace_id]
                assert seqs == list(range(1, len(seqs) + 1))
    finally:
        stop.set()
        await asyncio.gather(*writers)


@pytest.mark.parametrize("scope", ["workspace", "company"])
@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
async def test_many_steps_make_one_export(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, scope: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 1_000)
    whole = await export(api, auth_of(tenancy, scope), path_of(scope, form), action="a.b")
    monkeypatch.setattr(exporting, "_FIRST_WIDTH", 7)
    monkeypatch.setattr(exporting.export_forms, "next_width", lambda *_, **__: 170)
    parted = await export(api, auth_of(tenancy, scope), path_of(scope, form), action="a.b")
    assert parted.content == whole.content
    assert whole.content.count(b"a.b") == 1_000


@pytest.mark.parametrize("step_bytes", [200, 2_000])
async def test_events_larger_than_a_step_are_read_one_by_one(
    db: Database, tenancy: Tenancy, exports: Exports, step_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much larger: the one step is read to its end and dropped, the other loses its connection."""
    await fill(db, tenancy, 5, body=3_000)
    monkeypatch.setattr(exporting, "STEP_BYTES", step_bytes)
    lines = await lines_of((await exports.begin(wanted_of(tenancy))).pieces())
    assert [line["seq"] for line in lines[:-1]] == list(range(1, 6))


@pytest.mark.contract("HL-X-10")
async def test_memory_stays_flat_and_the_first_bytes_come_early(
    db: Database, tenancy: Tenancy, exports: Exports
) -> None:
    await fill(db, tenancy, 200_000)
    peaks = {}
    for rows in (2_000, 200_000):
        filters = Filters()
        one = await exports.begin(wanted_of(tenancy, filters=filters, cap=rows))
        tracemalloc.start()
        try:
            size = first = 0
            async for piece in one.pieces():
                if not first and piece:
                    first = one.rows
                size += len(piece)
            peaks[rows] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size > rows * 700
        assert first <= 2_500, "the first bytes are there before the others are read"
    assert peaks[200_000] - peaks[2_000] < 20 * 1024 * 1024
    assert peaks[200_000] < 24 * 1024 * 1024


async def test_nothing_is_held_while_the_reader_pauses(
    db: Database, tenancy: Tenancy, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 30_000)
    copy = exporting.rows.copy_rows_everywhere
    read = steps = 0

    async def counted(*args: Any, **more: Any) -> int:
        nonlocal read, steps
        read, steps = read + (count := await copy(*args, **more)), steps + 1
        return count

    monkeypatch.setattr(exporting.rows, "copy_rows_everywhere", counted)
    one = await exports.begin(wanted_of(tenancy))
    pieces = one.pieces()
    await anext(pieces)
    await anext(pieces)

    async def is_idle() -> bool:
        return steps == 3 and await db.value(HELD) == 0

    await eventually(is_idle)
    for _ in range(5):
        await asyncio.sleep(0.05)
        assert await is_idle()
        assert read < 30_000, "nothing more is read than the next two steps"
    assert exports.steps._value == exporting.STEPS_AT_ONCE
    await pieces.aclose()


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[tuple[int, main.Front]]:
    """The whole API behind the server that `mainstay api` runs, on a port of this process."""
    app = main.build_api(test_settings(url))
    config = uvicorn.Config(app, http=BoundedHttp, log_level="critical", lifespan="on", port=0)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield listening.getsockname()[1], app
        finally:
            server.should_exit = True
            await running


def _exports_of(monkeypatch: pytest.MonkeyPatch) -> list[Exports]:
    """Those that the application makes from now on."""
    made: list[Exports] = []

    class Seen(Exports):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(export_routes, "Exports", Seen)
    return made


def _client(port: int) -> httpx.AsyncClient:
    """One that waits while a busy machine writes its traceback."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)


async def _ask(port: int, key: str, *, buffer: int = 4_096) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    request = f"GET /v1/key/workspace/export.ndjson HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n"
    await loop.sock_sendall(client, request.encode())
    return client


async def test_a_client_that_stops_reading_costs_nothing_and_is_cut_off(
    fresh_url: str, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 60_000)
    monkeypatch.setattr(export_routes, "STALL_SECONDS", 1.0)
    made = _exports_of(monkeypatch)
    async with serving(fresh_url) as (port, _):
        clients = [await _ask(port, tenancy.key) for _ in range(4)]
        (ours,) = {id(one): one for one in made}.values()

        async def are_open() -> bool:
            return ours.open == 4

        async def are_over() -> bool:
            return ours.open == 0

        await eventually(are_open)

        async def is_idle() -> bool:
            return await db.value(HELD) == 0

        await eventually(is_idle)
        await eventually(are_over)
        for client in clients:
            told = await _all_of(client)
            assert b'"seq":1,' in told
            assert b'"end"' not in told, "a cut export has no end"


async def _all_of(client: socket.socket) -> bytes:
    """What still comes until the other side is gone."""
    loop = asyncio.get_running_loop()
    found = b""
    with client:
        while True:
            try:
                data = await asyncio.wait_for(loop.sock_recv(client, 65_536), 20)
            except ConnectionResetError:
                return found
            if not data:
                return found
            found += data


async def test_a_client_that_leaves_ends_its_export(
    fresh_url: str, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 60_000)
    made = _exports_of(monkeypatch)
    async with serving(fresh_url) as (port, _):
        client = await _ask(port, tenancy.key)
        ours = made[0]

        async def is_open() -> bool:
            return ours.open == 1

        async def is_over() -> bool:
            return ours.open == 0

        await eventually(is_open)
        client.close()
        await eventually(is_over)
    assert len(await told_of(db)) == 1


async def test_an_export_that_the_database_leaves_never_ends_whole(
    fresh_url: str, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 5_000)
    reads = 0
    read = exporting.Export._read

    async def fails_later(self: exporting.Export, *args: Any) -> None:
        nonlocal reads
        reads += 1
        if reads > 2:
            raise Unavailable
        await read(self, *args)

    monkeypatch.setattr(exporting.Export, "_read", fails_later)
    monkeypatch.setattr(exporting, "_PAUSE_SECONDS", 0.0)
    async with serving(fresh_url) as (port, _), _client(port) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/v1/key/workspace/export.json", headers=tenancy.auth)
    assert 2 + exporting._TRIES <= reads <= 2 + 2 * exporting._TRIES, "two steps at once, each tried so often"
    ((_, data),) = await told_of(db)
    assert data["whole"] is False


async def test_a_lost_connection_is_asked_again(
    db: Database, tenancy: Tenancy, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(db, tenancy, 5_000)
    copy = exporting.rows.copy_rows_everywhere
    calls = 0

    async def broken_at_times(tx: Any, *args: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        count = await copy(tx, *args, **more)
        if calls == 2:
            raise ConnectionResetError
        return count

    monkeypatch.setattr(exporting.rows, "copy_rows_everywhere", broken_at_times)
    lines = await lines_of((await exports.begin(wanted_of(tenancy))).pieces())
    assert [line["seq"] for line in lines[:-1]] == list(range(1, 5_001))


async def test_only_so_many_exports_are_sent_at_once(exports: Exports) -> None:
    exports.open = exporting.MOST_AT_ONCE - 1
    async with exports.admitted():
        with pytest.raises(Unavailable, match="32 exports"):
            async with exports.admitted():
                pass
    async with exports.admitted():
        pass


async def test_one_too_many_is_told_so_before_anything_is_sent(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_AT_ONCE", 0)
    answer = await api.get("/v1/key/workspace/export.json", headers=tenancy.auth)
    assert answer.status_code == 503
    assert re.fullmatch(r"\d+", answer.headers["retry-after"])
