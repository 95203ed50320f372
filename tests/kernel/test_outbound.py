"""Whatever a receiver does, the outbound client answers in time, reads little and keeps to vetted addresses."""

import asyncio
import datetime
import resource
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from mainstay.kernel import outbound as module
from mainstay.kernel.addresses import AllowList, check_url, parse_allow_list
from mainstay.kernel.outbound import HEADER_BYTES_KEPT, HEADER_FIELDS_KEPT, Answer, Outbound, most_connections
from mainstay.kernel.pinning import HEAD_MAX_BYTES
from tests.receivers import (
    Behaviour,
    Line,
    Receiver,
    after,
    answer,
    close_after_reading,
    close_at_once,
    close_within_body,
    closed_port,
    drip_body,
    drip_head,
    endless,
    garbage,
    hang,
    huge_body,
    huge_headers,
    interim,
    ok,
    redirect,
    reset_at_once,
    says,
    slow_down,
    tls_pair,
)

LOOPBACK = parse_allow_list("127.0.0.1, ::1")
HEADERS = {"Content-Type": "application/json", "webhook-id": "msg_1"}


DEADLINE = 0.8
"""For requests that are meant to run out of time; all others have patience, as the machine may be busy."""
PATIENCE = 30.0


@pytest.fixture
async def client() -> AsyncIterator[Outbound]:
    outbound = Outbound(allow=LOOPBACK, timeout_seconds=PATIENCE, max_response_bytes=1_000)
    yield outbound
    await outbound.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


class Names:
    """A name server under the test's control that counts what it was asked."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await asyncio.sleep(0)
        found = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return found


async def test_an_ordinary_post_arrives_unchanged(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(ok(201, b"thanks", {"X-Seen": "yes"}))
    got = await client.post(receiver.url("/in?x=%2F"), b'{"a": 1}', HEADERS)
    assert (got.status, got.reason, got.body, got.truncated, got.error) == (201, "Scripted", b"thanks", False, None)
    assert got.headers == {"x-seen": "yes", "content-length": "6"}
    assert got.address == "127.0.0.1"
    assert 0 < got.duration_seconds < PATIENCE
    (seen,) = receiver.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/in?x=%2F", b'{"a": 1}')
    assert seen.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert seen.headers["accept-encoding"] == "identity"
    assert HEADERS.items() <= {**seen.headers, "Content-Type": seen.headers["content-type"]}.items()


async def test_other_methods_and_large_bodies(client: Outbound, receiver: Receiver) -> None:
    assert (await client.request("GET", receiver.url())).status == 200
    body = b"x" * (2 * 1024 * 1024 + 1)
    assert (await client.post(receiver.url(), body, {})).status == 200
    assert receiver.requests[0].method == "GET"
    assert receiver.requests[1].body == body


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 410, 500, 503, 599])
async def test_every_status_is_just_an_answer(client: Outbound, receiver: Receiver, status: int) -> None:
    receiver.behave(ok(status, b"" if status == 304 else b"body"))
    got = await client.post(receiver.url(), b"", HEADERS)
    assert (got.status, got.error) == (status, None)


async def test_a_redirect_is_the_answer_and_is_not_followed(client: Outbound, receiver: Receiver) -> None:
    async with Receiver() as inner:
        for status in (301, 302, 303, 307, 308):
            for location in (
                inner.url("/secret"),
                "http://169.254.169.254/latest/",
                "//127.0.0.1:1/",
                "http://[bad",
                "",
            ):
                receiver.behave(redirect(location, status))
                got = await client.post(receiver.url(), b"x", HEADERS)
                assert (got.status, got.error, got.headers["location"]) == (status, None, location)
        assert not inner.requests


async def test_retry_after_is_handed_on(client: Outbound, receiver: Receiver) -> None:
    date = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    receiver.behave(slow_down(120), slow_down(date, 503))
    assert (await client.post(receiver.url(), b"", {})).headers["retry-after"] == "120"
    assert (await client.post(receiver.url(), b"", {})).headers["retry-after"] == "Wed, 02 Jan 2030 03:04:05 GMT"


@pytest.mark.parametrize("statuses", [(100,), (102,), (103,), (100, 102, 103, 103)])
async def test_interim_answers_are_passed_over(client: Outbound, receiver: Receiver, statuses: tuple[int, ...]) -> None:
    receiver.behave(interim(*statuses))
    for _ in range(2):
        got = await client.post(receiver.url(), b"x", HEADERS)
        assert (got.status, got.body, got.error) == (200, b"ok", None)
    assert receiver.connections == 1


async def test_an_upgrade_nobody_asked_for_ends_the_connection(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(says(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw"))
    assert (await client.post(receiver.url(), b"", {})).status == 101
    assert (await client.post(receiver.url(), b"", {})).status == 101
    assert receiver.connections == 2


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "hang": (hang(), "timeout"),
    "slow head": (drip_head(0.05), "timeout"),
    "close at once": (close_at_once(), "closed"),
    "reset": (reset_at_once(), "closed"),
    "close after reading": (close_after_reading(), "closed"),
    "half a head": (says(b"HTTP/1.1 200 OK\r\nX-A: b\r\n", then_close=True), "closed"),
    "garbage": (garbage(), "protocol"),
    "not http": (garbage(b"220 mail.example ESMTP\r\n"), "protocol"),
    "bad status": (garbage(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol"),
    "two lengths": (garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "protocol"),
    "NUL in a field": (garbage(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n"), "protocol"),
    "one huge field": (huge_headers(), "too_large_headers"),
    "many fields": (huge_headers(1_000, 4), "too_large_headers"),
    "many large fields": (huge_headers(90, 8_000), "too_large_headers"),
    "an endless reason": (says(b"HTTP/1.1 200 " + b"r" * 100_000 + b"\r\n\r\n"), "too_large_headers"),
    "an endless field": (endless(b"x", b"HTTP/1.1 200 OK\r\nX: "), "too_large_headers"),
    "interim for ever": (endless(b"HTTP/1.1 102 Processing\r\n\r\n"), "too_large_headers"),
}


def seconds_for(code: str) -> float:
    """How long a request may take that is to fail like that."""
    return DEADLINE if code == "timeout" else PATIENCE


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failing_receiver_gives_its_code_and_never_an_exception(
    client: Outbound, receiver: Receiver, name: str
) -> None:
    behaviour, code = FAILURES[name]
    receiver.behave(behaviour)
    got = await client.post(receiver.url(), b"x", HEADERS, timeout_seconds=seconds_for(code))
    assert (got.status, got.error, got.body) == (None, code, b"")
    assert got.error_detail
    assert got.error_detail.isprintable()
    assert len(got.error_detail) <= 300
    assert got.duration_seconds < PATIENCE / 2
    assert len(receiver.requests) <= 1, "a failure on a new connection is not sent again"


BROKEN_BODIES: dict[str, tuple[Behaviour, str]] = {
    "drip": (drip_body(0.05), "timeout"),
    "close": (close_within_body(), "closed"),
    "bad chunk": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"zz\r\n", pause_seconds=0.02),
        "protocol",
    ),
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_body_that_breaks_off_keeps_the_status(client: Outbound, receiver: Receiver, name: str) -> None:
    behaviour, code = BROKEN_BODIES[name]
    receiver.behave(behaviour)
    got = await client.post(receiver.url(), b"x", HEADERS, timeout_seconds=seconds_for(code))
    assert (got.status, got.error) == (200, code)
    assert got.duration_seconds < PATIENCE / 2


async def test_the_total_deadline_can_be_set_for_one_request(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(after(DEADLINE, ok()))
    assert (await client.post(receiver.url(), b"", {}, timeout_seconds=DEADLINE / 2)).error == "timeout"
    assert (await client.post(receiver.url(), b"", {})).status == 200


async def test_the_body_is_kept_up_to_the_limit_and_no_further(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(ok(200, b"a" * 1_000), ok(200, b"b" * 1_001))
    exact = await client.post(receiver.url(), b"", {})
    over = await client.post(receiver.url(), b"", {})
    assert (exact.body, exact.truncated, exact.error) == (b"a" * 1_000, False, None)
    assert (over.body, over.truncated, over.error) == (b"b" * 1_000, True, None)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_huge_body_costs_neither_time_nor_memory(client: Outbound, receiver: Receiver, chunked: bool) -> None:
    receiver.behave(huge_body(chunked=chunked))
    await client.post(receiver.url(), b"", {})
    tracemalloc.start()
    got = await client.post(receiver.url(), b"", {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (got.status, got.truncated, len(got.body), got.error) == (200, True, 1_000, None)
    assert peak < 4 * 1024 * 1024


async def test_an_endless_chunk_extension_is_cut(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(endless(b"x", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"))
    got = await client.post(receiver.url(), b"", {})
    assert got.error is not None
    assert got.error != "timeout"


async def test_a_compressed_body_is_not_unpacked(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(ok(200, b"\x1f\x8b not even gzip", {"Content-Encoding": "gzip"}))
    got = await client.post(receiver.url(), b"", {})
    assert (got.body, got.error) == (b"\x1f\x8b not even gzip", None)


async def test_kept_headers_are_bounded_and_those_that_steer_come_first(client: Outbound, receiver: Receiver) -> None:
    many = {f"X-{n:03}": "v" for n in range(90)} | {"Retry-After": "7", "Webhook-Delivery": "disable"}
    receiver.behave(ok(200, b"", many), ok(200, b"", {"X-Big": "v" * 5_000, "Retry-After": "8"}))
    got = await client.post(receiver.url(), b"", {})
    assert len(got.headers) == HEADER_FIELDS_KEPT
    assert (got.headers["retry-after"], got.headers["webhook-delivery"]) == ("7", "disable")
    got = await client.post(receiver.url(), b"", {})
    assert "x-big" not in got.headers
    assert got.headers["retry-after"] == "8"
    assert sum(len(n) + len(v) for n, v in got.headers.items()) <= HEADER_BYTES_KEPT


async def test_headers_that_are_no_text_stay_within_the_bound_once_they_are(
    client: Outbound, receiver: Receiver
) -> None:
    room = (HEADER_BYTES_KEPT - len("x-a") - len("content-length0")) // 3
    for size, fits in ((room, True), (room + 1, False)):
        receiver.behave(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: " + b"\xff" * size + b"\r\n\r\n"))
        got = await client.post(receiver.url(), b"", {})
        assert ("x-a" in got.headers) is fits
        assert sum(len(n.encode()) + len(v.encode()) for n, v in got.headers.items()) <= HEADER_BYTES_KEPT


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 102 Processing\r\n\r\n"] * 80,
        [b"HTTP/1.1 200 OK\r\n", *[b"X: 1\r\n"] * 80],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", *[b"X: 1\r\n"] * 80],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"x"] * 80],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 80],
    ],
    ids=["interim answers", "head", "trailers", "a chunk's extension", "chunks"],
)
async def test_no_part_of_an_answer_can_trickle_past_the_deadline(
    client: Outbound, receiver: Receiver, pieces: list[bytes]
) -> None:
    receiver.behave(says(*pieces, pause_seconds=0.03))
    assert (await client.post(receiver.url(), b"", {}, timeout_seconds=DEADLINE)).error == "timeout"


async def test_endless_trailers_are_cut(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(endless(b"X-T: 1\r\n" * 100, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"))
    got = await client.post(receiver.url(), b"", {})
    assert (got.error, got.headers) == ("protocol", {"transfer-encoding": "chunked"})


async def test_what_is_kept_can_be_stored(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(says(b"HTTP/1.1 200 \xff\xfe\r\nX-A: caf\xe9\r\nX-A: two\r\nContent-Length: 0\r\n\r\n"))
    got = await client.post(receiver.url(), b"", {})
    assert (got.reason, got.headers["x-a"]) == ("\ufffd\ufffd", "caf\ufffd, two")


async def test_cookies_are_not_kept_and_proxies_are_ignored(
    client: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url("/"))
        monkeypatch.delenv("no_proxy", raising=False)
        receiver.behave(ok(200, b"", {"Set-Cookie": "session=1"}))
        for _ in range(2):
            assert (await client.post(receiver.url(), b"", {})).status == 200
        assert not proxy.connections
        assert all("cookie" not in seen.headers for seen in receiver.requests)


async def test_connections_are_reused(client: Outbound, receiver: Receiver) -> None:
    for _ in range(5):
        assert (await client.post(receiver.url(), b"", {})).status == 200
    assert receiver.connections == 1


async def test_a_connection_closed_while_idle_is_no_failure(client: Outbound, receiver: Receiver) -> None:
    assert (await client.post(receiver.url(), b"one", {})).status == 200
    receiver.behave(close_after_reading(), ok())
    got = await client.post(receiver.url(), b"two", {})
    assert (got.status, got.error) == (200, None), "the server closed a kept connection without a byte: sent once more"
    assert [(seen.body, seen.connection) for seen in receiver.requests] == [(b"one", 1), (b"two", 1), (b"two", 2)]
    receiver.behave(close_after_reading())
    got = await client.post(receiver.url(), b"three", {})
    assert got.error == "closed"
    assert len(receiver.requests) == 5, "once, not for ever"


async def test_many_connections_closed_while_idle_are_no_failure(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(after(0.05, ok()))
    await asyncio.gather(*(client.post(receiver.url(), b"", {}) for _ in range(5)))
    assert receiver.connections == 5
    await receiver.hang_up()
    receiver.behave(ok())
    got = [await client.post(receiver.url(), b"", {}) for _ in range(5)]
    assert all(one.status == 200 for one in got)


async def test_what_is_sent_once_more_goes_out_on_a_new_connection(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(after(0.05, ok()))
    await asyncio.gather(*(client.post(receiver.url(), b"", {}) for _ in range(2)))
    receiver.behave(close_after_reading(), ok())
    receiver.requests.clear()
    assert (await client.post(receiver.url(), b"", {})).status == 200
    assert [seen.connection for seen in receiver.requests][1] == 3, (
        "the other kept connection is as suspect as the first"
    )


async def test_a_reused_connection_that_began_to_answer_is_not_tried_again(
    client: Outbound, receiver: Receiver
) -> None:
    await client.post(receiver.url(), b"", {})
    receiver.behave(says(b"HTTP/1.1 2", then_close=True))
    assert (await client.post(receiver.url(), b"", {})).error == "closed"
    assert len(receiver.requests) == 2


async def test_a_second_answer_nobody_asked_for_is_never_taken_for_the_next(
    client: Outbound, receiver: Receiver
) -> None:
    async def late_extra(line: Line) -> None:
        await line.read_request()
        await line.send(answer(200, b"first"))
        await asyncio.sleep(0.05)
        await line.send(answer(200, b"forged"))

    receiver.behave(says(answer(200, b"first") + answer(200, b"forged")), ok(200, b"true"))
    assert (await client.post(receiver.url(), b"", {})).body == b"first"
    assert (await client.post(receiver.url(), b"", {})).body == b"true"
    receiver.behave(late_extra, ok(200, b"true"))
    assert (await client.post(receiver.url(), b"", {})).body == b"first"
    async with asyncio.timeout(PATIENCE):
        while receiver._open:
            await asyncio.sleep(0.01)
    assert (await client.post(receiver.url(), b"", {})).body == b"true"


async def test_an_old_connection_is_replaced(
    client: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.kernel.pinning.CONNECTION_MAX_AGE_SECONDS", 0.05)
    for _ in range(2):
        assert (await client.post(receiver.url(), b"", {})).status == 200
        await asyncio.sleep(0.06)
    assert receiver.connections == 2


async def test_nobody_listening(client: Outbound) -> None:
    async with closed_port() as port:
        got = await client.post(f"http://127.0.0.1:{port}/", b"", {})
    assert (got.status, got.error) == (None, "connect")
    assert "refused" in got.error_detail.lower()


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://127.0.0.2/", "http://localhost/", "http://127.1/", "ftp://example.com/",
            "nonsense", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest/meta-data/"],
)  # fmt: skip
async def test_a_refused_url_is_an_answer_too(client: Outbound, url: str) -> None:
    got = await client.post(url, b"", {})
    assert (got.status, got.error, got.address) == (None, "refused_address", "")
    assert got.error_detail


async def named(allow: AllowList, names: Names, url: str, keep_seconds: float = 30.0, times: int = 1) -> list[Answer]:
    outbound = Outbound(allow=allow, timeout_seconds=PATIENCE, resolver=names, keep_lookups_seconds=keep_seconds)
    try:
        return [await outbound.post(url, b"x", HEADERS) for _ in range(times)]
    finally:
        await outbound.close()


async def test_a_name_is_looked_up_once_and_the_vetted_address_is_pinned(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    got = await named(LOOPBACK, names, receiver.url(host="hooks.example.com"), times=3)
    assert [one.status for one in got] == [200, 200, 200]
    assert got[0].address == "127.0.0.1"
    assert names.asked == ["hooks.example.com"], (
        "connecting asks no second time, so a name cannot be rebound in between"
    )
    assert receiver.requests[0].headers["host"] == f"hooks.example.com:{receiver.port}"


async def test_a_name_rebound_to_an_internal_address_is_refused_at_the_next_lookup(receiver: Receiver) -> None:
    async with Receiver(host="127.0.0.2") as inner:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        got = await named(LOOPBACK, names, receiver.url(host="hooks.example.com"), keep_seconds=0.0, times=2)
        assert (got[0].status, got[1].status, got[1].error) == (200, None, "refused_address")
        assert "127.0.0.2" in got[1].error_detail
        assert inner.connections == 0
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fe80::1%eth0"],
     ["127.0.0.1", "::ffff:10.0.0.1"],
     ["127.0.0.1", "64:ff9b::a00:1"], ["169.254.169.254"], ["0.0.0.0"], ["::"]],
)  # fmt: skip
async def test_one_internal_address_among_the_answers_refuses_the_host(
    receiver: Receiver, addresses: list[str]
) -> None:
    (got,) = await named(LOOPBACK, Names(addresses), receiver.url(host="hooks.example.com"))
    assert (got.status, got.error) == (None, "refused_address")
    assert "hooks.example.com" in got.error_detail
    assert receiver.connections == 0


async def test_the_peer_is_vetted_again_once_connected(
    receiver: Receiver, client: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_url", lambda url, _: check_url(url, parse_allow_list("127.0.0.0/8")))
    async with Receiver(host="127.0.0.2") as inner:
        got = await client.post(inner.url(), b"secret", {})
        assert got.error == "refused_address"
        assert not inner.requests


@pytest.mark.parametrize(
    "failure", [[], socket.gaierror(-2, "Name or service not known"), OSError("unreachable"), ValueError("bad name")]
)
async def test_a_name_without_an_address_is_a_dns_failure(failure: Sequence[str] | Exception) -> None:
    (got,) = await named(LOOPBACK, Names(failure), "http://hooks.example.com/")
    assert (got.status, got.error) == (None, "dns")
    assert "hooks.example.com" in got.error_detail


async def test_a_silent_name_server_holds_up_only_its_own_host(receiver: Receiver) -> None:
    asked: list[str] = []

    async def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        await asyncio.sleep(3_600 if host == "silent.example.com" else 0)
        return ["127.0.0.1"]

    outbound = Outbound(allow=LOOPBACK, timeout_seconds=PATIENCE, resolver=lookup)
    silent = [
        asyncio.create_task(outbound.post("http://silent.example.com/", b"", {}, timeout_seconds=DEADLINE))
        for _ in range(20)
    ]
    got = await outbound.post(receiver.url(host="hooks.example.com"), b"", {})
    assert got.status == 200
    assert {(one.error, one.error_detail) for one in await asyncio.gather(*silent)} == {
        ("timeout", "no connection in time")
    }
    assert asked.count("silent.example.com") == 1
    waiting = asyncio.create_task(outbound.post("http://silent.example.com/", b"", {}))
    await asyncio.sleep(0.01)
    await outbound.close()
    assert (await waiting).error == "dns"


async def test_who_gives_up_on_a_lookup_does_not_take_it_from_the_others(receiver: Receiver) -> None:
    async def lookup(_: str) -> Sequence[str]:
        await asyncio.sleep(0.2)
        return ["127.0.0.1"]

    outbound = Outbound(allow=LOOPBACK, resolver=lookup)
    url = receiver.url(host="hooks.example.com")
    hasty, patient = await asyncio.gather(
        outbound.post(url, b"", {}, timeout_seconds=0.05), outbound.post(url, b"", {})
    )
    await outbound.close()
    assert (hasty.error, patient.status) == ("timeout", 200)


async def test_the_systems_own_lookup(receiver: Receiver) -> None:
    outbound = Outbound(allow=parse_allow_list("127.0.0.0/8, ::1, localhost"), timeout_seconds=PATIENCE)
    try:
        assert (await outbound.post(receiver.url(host="localhost"), b"", {})).status == 200
        assert (await outbound.post("http://mainstay-no-such-name.localhost:1/", b"", {})).error == "refused_address"
    finally:
        await outbound.close()
    outbound = Outbound(allow=parse_allow_list("10.0.0.0/8, *.invalid"), timeout_seconds=PATIENCE)
    try:
        assert (await outbound.post("http://no-such-name.invalid/", b"", {})).error == "dns"
    finally:
        await outbound.close()


async def test_ipv6(client: Outbound) -> None:
    try:
        async with Receiver(host="::1") as receiver:
            got = await client.post(receiver.url(), b"", {})
            assert (got.status, got.address) == (200, "::1")
            assert receiver.requests[0].headers["host"] == f"[::1]:{receiver.port}"
    except OSError as problem:
        pytest.skip(f"no IPv6 loopback here: {problem}")


async def test_tls_with_a_trusted_certificate_for_the_right_name(tmp_path: Path) -> None:
    server, trusting = tls_pair(tmp_path, "hooks.example.com")
    names_seen: list[str] = []
    server.sni_callback = lambda _socket, name, _context: names_seen.append(name)
    async with Receiver(tls=server) as receiver:
        outbound = Outbound(
            allow=LOOPBACK, timeout_seconds=PATIENCE, resolver=Names(["127.0.0.1"]), ssl_context=trusting
        )
        try:
            for _ in range(2):
                got = await outbound.post(receiver.url(host="hooks.example.com"), b"x", {})
                assert (got.status, got.error, got.address) == (200, None, "127.0.0.1")
        finally:
            await outbound.close()
        assert names_seen == ["hooks.example.com"]
        assert receiver.connections == 1


@pytest.mark.parametrize("case", ["unknown issuer", "wrong name", "expired", "plain HTTP on the TLS port"])
async def test_tls_that_cannot_be_trusted_gets_nothing(tmp_path: Path, case: str) -> None:
    server, trusting = tls_pair(tmp_path, "other.example.com" if case == "wrong name" else "hooks.example.com",
                                expired=case == "expired")  # fmt: skip
    plain = case.startswith("plain")
    async with Receiver(
        garbage(b"HTTP/1.1 400 Bad\r\n\r\n") if plain else ok(), tls=None if plain else server
    ) as receiver:
        if plain:
            receiver.behave(_speaks_first(b"HTTP/1.1 400 Plain HTTP\r\n\r\n"))
        outbound = Outbound(allow=LOOPBACK, timeout_seconds=PATIENCE, resolver=Names(["127.0.0.1"]),
                            ssl_context=None if case == "unknown issuer" else trusting)  # fmt: skip
        try:
            got = await outbound.post(receiver.url(host="hooks.example.com", scheme="https"), b"secret", {})
        finally:
            await outbound.close()
        assert (got.status, got.error) == (None, "tls")
        assert got.error_detail
        assert not receiver.requests


def _speaks_first(data: bytes) -> Behaviour:
    async def behave(line: Line) -> None:
        await line.send(data)
        await asyncio.sleep(0.05)

    behave.at_connect = True  # type: ignore[attr-defined]
    return behave


async def test_plain_http_to_a_tls_port_fails_without_an_exception(client: Outbound, tmp_path: Path) -> None:
    async with Receiver(tls=tls_pair(tmp_path, "127.0.0.1")[0]) as receiver:
        got = await client.post(receiver.url(scheme="http"), b"", {})
        assert got.status is None
        assert got.error in {"closed", "protocol"}


@pytest.mark.parametrize(
    "call",
    [
        lambda client, url: client.post(url, b"", {"X-Bad": "a\r\nX-Injected: b"}),
        lambda client, url: client.post(url, b"", {"X-Bad\r\n": "a"}),
    ],
)
async def test_a_callers_mistake_raises(
    client: Outbound, receiver: Receiver, call: Callable[[Outbound, str], object]
) -> None:
    with pytest.raises((TypeError, ValueError)):
        await call(client, receiver.url())  # type: ignore[misc]
    assert not receiver.requests


async def test_cancellation_passes_through(client: Outbound, receiver: Receiver) -> None:
    receiver.behave(hang())
    task = asyncio.create_task(client.post(receiver.url(), b"", {}, timeout_seconds=10))
    await receiver.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_after_close_nothing_is_sent(receiver: Receiver) -> None:
    outbound = Outbound(allow=LOOPBACK)
    receiver.behave(hang())
    under_way = asyncio.create_task(outbound.post(receiver.url(), b"", {}))
    await receiver.wait_for(1)
    await outbound.close()
    assert (await under_way).error == "closed"
    with pytest.raises(RuntimeError, match="closed"):
        await outbound.post(receiver.url(), b"", {})


def test_the_bound_on_heads_is_stated() -> None:
    assert HEAD_MAX_BYTES == 65_536
    assert (HEADER_FIELDS_KEPT, HEADER_BYTES_KEPT) == (32, 4_096)


@pytest.mark.parametrize(
    ("given", "found", "left"),
    [
        ((1_024, 20_000), 4_000, (20_000, 20_000)),
        ((1_024, resource.RLIM_INFINITY), 4_000, (65_536, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 4_000, None),
        ((1_024, 1_024), 512, None),
        ((100_000, 100_000), 4_000, None),
    ],
)
def test_connections_are_half_of_the_open_files_that_a_process_may_have(
    given: tuple[int, int], found: int, left: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: given)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert most_connections() == found
    assert asked == ([] if left is None else [left])


async def test_the_connection_that_rested_longest_makes_room() -> None:
    client = Outbound(allow=LOOPBACK, timeout_seconds=PATIENCE, connections=2)
    async with Receiver() as one, Receiver() as two, Receiver() as three:
        for receiver in (one, two, one, three, one, two):
            assert (await client.post(receiver.url(), b"{}", HEADERS)).status == 200
        await client.close()
        assert (one.connections, two.connections, three.connections) == (1, 2, 1)
