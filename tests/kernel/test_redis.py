"""The client of Redis against a real server: answers in time, or is away at once; never in the way."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mainstay.kernel.redis import UP, Away, Breaker, Redis, Script
from tests.limits.stores import Server, free_port, redis_server

_PAIR = Script("return {KEYS[1], ARGV[1]}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A redis-server that asks for a password."""
    with redis_server("--requirepass", "a-token") as server:
        yield server


def test_a_breaker_rests_a_second_then_lets_one_try() -> None:
    now = [100.0]
    breaker = Breaker(monotonic=lambda: now[0])
    assert breaker.enter()
    breaker.failed()
    now[0] += 0.999
    assert not breaker.enter()
    now[0] += 0.001
    assert [breaker.enter() for _ in range(3)] == [True, False, False]
    breaker.left()
    assert [breaker.enter() for _ in range(2)] == [True, False]
    breaker.failed()
    assert not breaker.enter()
    now[0] += 1
    assert breaker.enter()
    breaker.succeeded()
    assert [breaker.enter() for _ in range(3)] == [True] * 3


async def test_commands_and_scripts_are_answered_under_the_prefix(server: Server) -> None:
    client = Redis(server.url, use="test", token="a-token", prefix="cache:", timeout_seconds=30)
    assert await client.run(_PAIR, ["k"], [7]) == [b"cache:k", b"7"]
    await client.ask("SET", client.key("k"), "v")
    assert await client.ask("GET", "cache:k") == b"v"
    await client.ask("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(client.run(_PAIR, [f"k{n}"], [n]) for n in range(40)))
    assert answers == [[b"cache:k%d" % n, b"%d" % n] for n in range(40)]
    assert UP.labels("test")._value.get() == 1
    await client.close()


@pytest.mark.contract("DR-C-12")
async def test_the_token_is_the_password(server: Server) -> None:
    wrong = server.url.replace("redis://", "redis://:wrong@")
    for url, token in ((server.url, None), (wrong, None)):
        client = Redis(url, use="test", token=token, timeout_seconds=30)
        with pytest.raises(Away, match="Authentication"):
            await client.ask("PING")
        await client.close()
    client = Redis(wrong, use="test", token="a-token", timeout_seconds=30)
    assert await client.ask("PING")
    await client.close()


async def test_what_does_not_answer_in_time_is_away_and_then_left_alone(server: Server) -> None:
    now = [0.0]
    client = Redis(server.url, use="slow", token="a-token", breaker=Breaker(monotonic=lambda: now[0]))
    with suppress(Away):
        await client.ask("PING")
    now[0] += 1
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Away, match="TimeoutError"):
        await client.ask("PING")
    assert 0.24 <= time.monotonic() - began < 5
    assert UP.labels("slow")._value.get() == 0
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(Away, match="left alone"):
            await client.ask("PING")
    assert time.monotonic() - began < 5
    server.process.send_signal(signal.SIGCONT)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        now[0] += 1
        try:
            assert await client.ask("ECHO", "x") == b"x"
        except Away:
            continue
        break
    assert UP.labels("slow")._value.get() == 1
    # Answers that came too late are nobody else's.
    assert [await client.ask("ECHO", str(n)) for n in range(20)] == [b"%d" % n for n in range(20)]
    await client.close()


async def test_nobody_there_is_away_at_once() -> None:
    client = Redis(f"redis://127.0.0.1:{free_port()}/0", use="gone")
    with pytest.raises(Away, match="ConnectionError"):
        await client.ask("PING")
    assert UP.labels("gone")._value.get() == 0
    await client.close()
