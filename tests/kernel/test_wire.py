"""The outbound client's own HTTP: framing that cannot be misread, limits at their edges, and a pool that is fair."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from mainstay.kernel import pinning
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.wire import HEAD_LINE_MAX_BYTES, HEAD_MAX_BYTES, HEAD_MAX_FIELDS
from tests.receivers import (
    Behaviour,
    Line,
    Receiver,
    after,
    answer,
    close_within_body,
    closed_port,
    garbage,
    hang,
    ok,
    says,
)

LOOPBACK = parse_allow_list("127.0.0.0/8, ::1")


@pytest.fixture
async def client() -> AsyncIterator[Outbound]:
    outbound = Outbound(allow=LOOPBACK, timeout_seconds=30.0, max_response_bytes=1_000)
    yield outbound
    await outbound.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def narrow() -> AsyncIterator[Outbound]:
    """A client with room for one connection."""
    outbound = Outbound(allow=LOOPBACK, timeout_seconds=30.0, connections=1)
    yield outbound
    await outbound.close()


async def test_a_body_may_end_with_its_connection(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(says(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", pause_seconds=0.02, then_close=True), ok())
    got = await client.post(receiver.url(), b"", {})
    assert (got.status, got.body, got.error) == (200, b"abcd", None)
    assert (await client.post(receiver.url(), b"", {})).status == 200
    assert receiver.connections == 2


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_framed_body_may_not(client: Outbound, receiver: Receiver, framing: bytes) -> None:
    receiver.behave(says(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n", b"4\r\nab", then_close=True))
    assert (await client.post(receiver.url(), b"", {})).error == "closed"


async def test_chunks_are_joined_and_their_trailers_are_no_headers(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(
        says(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n",
            b"1\r\nc\r\n0\r\nX-Late: 1\r\n\r\n",
            pause_seconds=0.02,
        )
    )
    for _ in range(2):
        got = await client.post(receiver.url(), b"", {})
        assert (got.body, got.headers, got.error) == (b"abc", {"transfer-encoding": "chunked"}, None)
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 3\r\n\r\nabc",
        b"ICY 200 OK\r\n\r\n",
    ],
)
async def test_what_can_be_read_in_two_ways_never_leaves_a_connection_to_reuse(
    client: Outbound, receiver: Receiver, said: bytes
) -> None:
    receiver.behave(garbage(said), ok(200, b"next"))
    got = await client.post(receiver.url(), b"", {})
    assert got.error in {"protocol", None}
    assert (await client.post(receiver.url(), b"", {})).body == b"next"
    if got.error is None:
        assert got.body == b"abc"


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK\r\nConnection: close"])
async def test_a_connection_that_says_so_is_not_kept(client: Outbound, receiver: Receiver, head: bytes) -> None:
    receiver.behave(says(head + b"\r\nContent-Length: 2\r\n\r\nok"))
    for _ in range(2):
        assert (await client.post(receiver.url(), b"", {})).body == b"ok"
    assert receiver.connections == 2


async def test_head_has_no_body_and_get_sends_no_length(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(says(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"), ok())
    got = await client.request("HEAD", receiver.url())
    assert (got.status, got.body, got.error) == (200, b"", None)
    assert (await client.request("GET", receiver.url())).body == b"ok"
    assert all("content-length" not in seen.headers for seen in receiver.requests)
    assert (await client.post(receiver.url(), b"", {})).status == 200
    assert receiver.requests[-1].headers["content-length"] == "0"


async def test_an_answer_before_the_request_was_read_counts(client: Outbound) -> None:
    done = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await done.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        got = await client.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"x" * 30_000_000, {})
        assert (got.status, got.error) == (413, None)
        done.set()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("head", "fits"),
    [
        (b"X: 1\r\n" * (HEAD_MAX_FIELDS - 1), True),
        (b"X: 1\r\n" * HEAD_MAX_FIELDS, False),
        (b"X-A: " + b"v" * (HEAD_LINE_MAX_BYTES - 3) + b"\r\n", True),
        (b"X-A: " + b"v" * (HEAD_LINE_MAX_BYTES - 2) + b"\r\n", False),
        ((b"X-A: " + b"v" * 15_000 + b"\r\n") * (HEAD_MAX_BYTES // 15_000), True),
        ((b"X-A: " + b"v" * 15_000 + b"\r\n") * (HEAD_MAX_BYTES // 15_000 + 1), False),
    ],
)
async def test_the_limits_of_a_head(client: Outbound, receiver: Receiver, head: bytes, fits: bool) -> None:
    receiver.behave(says(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n"))
    got = await client.post(receiver.url(), b"", {})
    assert (got.status, got.error) == ((200, None) if fits else (None, "too_large_headers"))


@pytest.mark.parametrize(
    "headers",
    [{name: "1"} for name in ("Host", "content-length", "Transfer-Encoding", "connection", "", "a b", "a:", "é")]
    + [{"X-A": "a\r\n"}, {"X-A": "\n"}, {"X-A": "a\0"}, {"X-A": "\ud800"}],
)
async def test_a_header_that_would_change_the_framing_is_a_callers_mistake(
    client: Outbound, receiver: Receiver, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"header|surrogates"):
        await client.post(receiver.url(), b"", headers)
    for method in ("GET / HTTP/1.1\r\nX:", "CONNECT", ""):
        with pytest.raises(ValueError, match="not a method"):
            await client.request(method, receiver.url())
    assert receiver.connections == 0


async def test_who_finds_no_room_waits_in_turn(narrow: Outbound, receiver: Receiver) -> None:
    receiver.behave(after(0.02, ok()))
    got = await asyncio.gather(*(narrow.post(receiver.url(), b"%d" % n, {}) for n in range(5)))
    assert [one.status for one in got] == [200] * 5
    assert [seen.body for seen in receiver.requests] == [b"0", b"1", b"2", b"3", b"4"]
    assert receiver.connections == 1


async def test_an_idle_connection_gives_way_to_another_host(narrow: Outbound, receiver: Receiver) -> None:
    async with Receiver(host="127.0.0.2") as other:
        for _ in range(2):
            assert (await narrow.post(receiver.url(), b"", {})).status == 200
            assert (await narrow.post(other.url(), b"", {})).status == 200
        got = await asyncio.gather(*(narrow.post(one.url(), b"", {}) for one in (receiver, other) * 3))
        assert [one.status for one in got] == [200] * 6


async def test_waiting_for_room_ends_in_time_and_gives_the_turn_on(narrow: Outbound, receiver: Receiver) -> None:
    receiver.behave(after(0.2, ok()))
    first = asyncio.create_task(narrow.post(receiver.url(), b"1", {}))
    await receiver.wait_for(1)
    hasty = asyncio.create_task(narrow.post(receiver.url(), b"2", {}, timeout_seconds=0.05))
    given_up = asyncio.create_task(narrow.post(receiver.url(), b"3", {}))
    last = asyncio.create_task(narrow.post(receiver.url(), b"4", {}))
    await asyncio.sleep(0.02)
    given_up.cancel()
    assert ((await hasty).error, (await hasty).error_detail) == ("timeout", "no connection in time")
    assert ((await first).status, (await last).status) == (200, 200)
    assert [seen.body for seen in receiver.requests] == [b"1", b"4"]


@pytest.mark.parametrize("behaviour", [hang(), close_within_body()])
async def test_a_failed_request_leaves_its_room_to_the_next(
    narrow: Outbound, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.at("/bad", behaviour)
    bad = narrow.post(receiver.url("/bad"), b"", {}, timeout_seconds=0.3)
    got = await asyncio.gather(bad, narrow.post(receiver.url("/good"), b"", {}))
    assert got[0].error is not None
    assert got[1].status == 200


async def test_the_client_closes_while_others_wait_for_room(narrow: Outbound, receiver: Receiver) -> None:
    receiver.behave(hang())
    posts = [asyncio.create_task(narrow.post(receiver.url(), b"", {})) for _ in range(3)]
    await receiver.wait_for(1)
    await narrow.close()
    assert [(await post).error for post in posts] == ["closed"] * 3
    assert receiver.connections == 1


async def test_a_connection_that_failed_leaves_its_room_to_the_next(narrow: Outbound, receiver: Receiver) -> None:
    async with closed_port() as port:
        got = await asyncio.gather(
            narrow.post(f"http://127.0.0.1:{port}/", b"", {}), *(narrow.post(receiver.url(), b"", {}) for _ in range(2))
        )
    assert [one.error for one in got] == ["connect", None, None]


async def hung_up(receiver: Receiver) -> None:
    """The client has closed every connection."""
    async with asyncio.timeout(30):
        while receiver._open:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05])
async def test_bytes_after_an_answer_end_the_connection(
    client: Outbound, receiver: Receiver, pause_seconds: float
) -> None:
    first, more = answer(200, b"first"), b"HTTP/1.1 200 OK\r\nX-Forged: "
    pieces = (first, more) if pause_seconds else (first + more,)
    receiver.behave(says(*pieces, pause_seconds=pause_seconds), ok(200, b"true"))
    assert (await client.post(receiver.url(), b"", {})).body == b"first"
    if pause_seconds:
        await hung_up(receiver)
    got = await client.post(receiver.url(), b"", {})
    assert (got.body, got.headers) == (b"true", {"content-length": "4"})
    assert receiver.connections == 2


async def test_the_next_address_is_tried(receiver: Receiver) -> None:
    async def lookup(_: str) -> Sequence[str]:
        return ["127.0.0.3", "127.0.0.1"]

    outbound = Outbound(allow=LOOPBACK, resolver=lookup)
    got = await outbound.post(receiver.url(host="hooks.example.com"), b"", {})
    await outbound.close()
    assert (got.status, got.address) == (200, "127.0.0.1")


async def test_a_kept_connection_to_an_address_that_the_name_no_longer_has_is_not_used() -> None:
    found = ["127.0.0.1"]

    async def lookup(_: str) -> Sequence[str]:
        return list(found)

    outbound = Outbound(allow=LOOPBACK, resolver=lookup, keep_lookups_seconds=0.0)
    async with Receiver() as old:
        assert (await outbound.post(old.url(host="hooks.example.com"), b"", {})).status == 200
        found[:] = ["127.0.0.2"]
        got = await outbound.post(old.url(host="hooks.example.com"), b"", {})
        assert (got.status, got.error) == (None, "connect")
        assert len(old.requests) == 1
    await outbound.close()


async def test_idle_connections_are_closed_in_time(
    client: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinning, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(pinning, "_SWEEP_SECONDS", 0.05)
    for _ in range(2):
        assert (await client.post(receiver.url(), b"", {})).status == 200
        await asyncio.sleep(0.06)
    assert receiver.connections == 2
    await hung_up(receiver)  # without another request


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next(client: Outbound, receiver: Receiver) -> None:
    is_cancelled = asyncio.Event()

    async def answer_late(line: Line) -> None:
        await line.read_request()
        await is_cancelled.wait()
        with suppress(OSError):
            await line.send(answer(200, b"late"))

    receiver.behave(answer_late, ok(200, b"own"))
    first = asyncio.create_task(client.post(receiver.url(), b"", {}))
    await receiver.wait_for(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    asyncio.get_running_loop().call_later(0.05, is_cancelled.set)
    assert (await client.post(receiver.url(), b"", {})).body == b"own"
