"""SIGTERM and SIGINT end the API and the worker in order: nothing new begins, what runs ends, the exit code is 0."""

import asyncio
import signal
import socket
import time

import aiohttp
import pytest

from tests.chaos.world import SHUTDOWN_SECONDS, World
from tests.receivers import Line, answer

READY = "/api/v1/health/ready"
PATH = "/v1/key/workspace/events"
MARGIN_SECONDS = 5.0
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def head(world: World, length: int) -> bytes:
    """The head of a POST of one event."""
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {world.tenancy.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


async def until_refused(port: int) -> None:
    """Nobody listens on the port any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            return
        except OSError:
            pass
        await asyncio.sleep(0.02)


@SIGNALS
@pytest.mark.contract("NP-S-01", "NP-S-02", "NP-S-03")
async def test_the_api_answers_what_it_accepted_and_ends(world: World, number: signal.Signals) -> None:
    world.api.start()
    await world.until_status(READY, 200)
    body = b'{"action":"slow.sent","category":"t"}'
    told: list[str] = []
    refused = 0

    async def send_on() -> None:
        nonlocal refused
        while True:
            try:
                status, event, _ = await world.post(PATH, {"action": "quick.sent", "category": "t"})
            except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                refused += 1
                return
            assert status in (201, 503), event
            if status == 201:
                told.append(event["id"])

    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(head(world, len(body)) + body[:10])
    senders = [asyncio.create_task(send_on()) for _ in range(8)]
    while len(told) < 24:
        await asyncio.sleep(0.01)
    world.api.process.send_signal(number)
    began = time.monotonic()
    await until_refused(world.port)
    await asyncio.sleep(0.5)
    assert world.api.process.poll() is None, "the slow request was not waited for"
    writer.write(body[10:])
    async with asyncio.timeout(SHUTDOWN_SECONDS):
        assert (await reader.read(65_536)).startswith(b"HTTP/1.1 201 ")
    writer.close()
    assert await world.api.ended(SHUTDOWN_SECONDS + MARGIN_SECONDS) == 0, world.tails()
    assert time.monotonic() - began < SHUTDOWN_SECONDS + MARGIN_SECONDS
    await asyncio.gather(*senders)
    assert refused == len(senders)
    stored = "select id::text as id, action from mainstay.events where workspace_id = $1"
    rows = await world.rows(stored, world.tenancy.workspace_id)
    quick = {row["id"] for row in rows if row["action"] == "quick.sent"}
    assert set(told) == quick, "each request that was stored was answered"
    assert len(rows) == len(quick) + 1


@SIGNALS
@pytest.mark.contract("NP-S-01", "NP-S-02", "NP-S-03", "NP-Q-31")
async def test_the_worker_ends_what_runs_and_a_restart_takes_the_rest(world: World, number: signal.Signals) -> None:
    waiting = 0

    async def slowly(line: Line) -> None:
        nonlocal waiting
        await line.read_request()
        waiting += 1
        await asyncio.sleep(1.5)
        await line.send(answer(200))

    world.api.start()
    await world.until_status(READY, 200)
    await world.subscribe()
    world.receiver.at("/good", slowly)
    told = {(await world.post(PATH, {"action": "a.b", "category": "t"}))[1]["id"] for _ in range(25)}
    world.worker.start()
    async with asyncio.timeout(60):
        while not waiting:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    world.worker.process.send_signal(number)
    began = time.monotonic()
    await asyncio.sleep(0.5)
    begun = waiting
    assert await world.worker.ended(SHUTDOWN_SECONDS + MARGIN_SECONDS) == 0, world.tails()
    assert time.monotonic() - began < SHUTDOWN_SECONDS + MARGIN_SECONDS
    assert waiting == begun, "a delivery began after the signal"
    count = "select count(*) from mainstay.deliveries where endpoint_id = $1 and status = $2"
    assert await world.value(count, world.good["id"], "DELIVERED") == begun
    assert 0 < begun < len(told)
    active = "select count(*) from mainstay.jobs where state = 'active'"
    assert await world.value(active) == 0, "what did not run was handed back"
    world.worker.start()
    await world.settled()
    heard = [it.headers["webhook-id"] for it in world.receiver.requests if it.target == "/good"]
    assert sorted(heard) == sorted(told), "each was sent once"


async def test_a_job_longer_than_the_shutdown_is_handed_back(world: World) -> None:
    async def for_ever(line: Line) -> None:
        await line.read_request()
        await asyncio.sleep(60)

    world.api.start()
    await world.until_status(READY, 200)
    await world.subscribe()
    world.receiver.at("/good", for_ever)
    await world.post(PATH, {"action": "a.b", "category": "t"})
    world.worker.start()
    async with asyncio.timeout(60):
        while "/good" not in {it.target for it in world.receiver.requests}:
            await asyncio.sleep(0.02)
    world.worker.process.send_signal(signal.SIGTERM)
    assert await world.worker.ended(SHUTDOWN_SECONDS + MARGIN_SECONDS) == 0, world.tails()
    left = await world.rows("select state, attempt from mainstay.jobs where queue = 'nova:webhook'")
    assert [row["state"] for row in left] == ["waiting"]
