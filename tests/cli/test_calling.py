"""How a client bears a service that is busy, away, broken, or none of ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from mainstay.cli.calling import Refused, Service, pause_seconds
from mainstay.cli.output import CommandFailed

Answer = Callable[[], web.Response]
PROBLEM = "application/problem+json"


def problem(status: int, code: str = "x", **headers: str) -> Answer:
    """An answer that refuses."""
    body = {
        "type": f"https://mainstay.dev/problems/{code}",
        "detail": "no",
        "errors": [{"detail": "d", "pointer": "#/a"}],
    }
    return lambda: web.json_response(body, status=status, headers=headers, content_type=PROBLEM)


def good() -> web.Response:
    return web.json_response({"ok": True})


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[tuple[str, list[float]]]:
    """A service that gives these answers in turn; its address, and when it was asked."""
    asked: list[float] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        asked.append(time.monotonic())
        return answers[min(len(asked), len(answers)) - 1]()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_passing_refusal_is_waited_out(status: int) -> None:
    waits: list[float] = []
    async with (
        scripted(problem(status, **{"retry-after": "0"}), good) as (url, asked),
        Service(url, "k", on_wait=lambda _, seconds: waits.append(seconds)) as service,
    ):
        assert await service.post("/x", b"{}") == {"ok": True}
        assert len(asked) == 2
        assert waits == [0.0]


async def test_retry_after_is_honoured_to_the_second() -> None:
    async with (
        scripted(problem(503, **{"retry-after": "1"}), good) as (url, asked),
        Service(url, "k") as service,
    ):
        await service.get("/x")
        assert asked[1] - asked[0] >= 1.0


async def test_a_key_that_is_being_stored_is_asked_for_again() -> None:
    async with (
        scripted(problem(409, "idempotency-in-flight", **{"retry-after": "0"}), good) as (url, asked),
        Service(url, "k") as service,
    ):
        await service.post("/x", b"{}")
        assert len(asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
async def test_a_lasting_refusal_is_not_asked_for_again(status: int) -> None:
    async with scripted(problem(status)) as (url, asked), Service(url, "k") as service:
        with pytest.raises(Refused) as refusal:
            await service.get("/x")
        assert (refusal.value.status, refusal.value.errors[0]["pointer"]) == (status, "#/a")
        assert len(asked) == 1


async def test_nobody_waits_longer_than_agreed() -> None:
    started = time.monotonic()
    async with (
        scripted(problem(503, **{"retry-after": "60"})) as (url, asked),
        Service(url, "k", give_up_seconds=1) as service,
    ):
        with pytest.raises(CommandFailed, match="answers 503"):
            await service.get("/x")
        assert len(asked) == 1
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("answer", [lambda: web.Response(text="<html>"), lambda: web.Response(status=302, text="")])
async def test_what_is_no_mainstay_is_told(answer: Answer) -> None:
    async with scripted(answer) as (url, _), Service(url, "k") as service:
        with pytest.raises((CommandFailed, Refused), match="Mainstay"):
            await service.get("/x")


async def test_a_connection_that_breaks_is_tried_again() -> None:
    tries = 0

    async def drop_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.readuntil(b"\r\n\r\n")
        if tries > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(drop_first, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Service(f"http://127.0.0.1:{port}", "k") as service:
        assert await service.post("/x", b"{}") == {}
    assert tries == 2
    server.close()
    await server.wait_closed()


def test_pauses_double_to_a_bound_unless_told() -> None:
    assert pause_seconds(50, 7.0) == 7.0
    for tries, middle in ((0, 0.5), (1, 1.0), (3, 4.0), (6, 30.0), (5_000, 30.0)):
        assert middle * 0.75 <= pause_seconds(tries, None) <= middle * 1.25
