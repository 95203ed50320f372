"""The local receiver: what it believes, what it answers, and what it prints."""

import asyncio
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mainstay.cli.webhooks import line_of, pretty, why_refused
from mainstay.webhooks import signing
from tests.cli.running import called, mainstay, running

READY = re.compile(r"listening on (http://\S+) ")


def message(secret: str, body: bytes, *, at: float | None = None) -> dict[str, str]:
    """The headers of a delivery."""
    return signing.headers_for(
        brand="NovaPulse", webhook_id="w1", message_id="m1", event_type="invoice.paid", trace_id="a" * 32,
        span_id="b" * 16, timestamp_seconds=int(at or time.time()), secrets=[secret], body=body,
    )  # fmt: skip


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    try:
        request = urllib.request.Request(url, body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_signed_messages_are_believed_and_others_refused(tmp_path: Path) -> None:
    secret, body = signing.new_secret(), b'{"type":"invoice.paid","data":{"n":1}}'
    with running("webhooks", "listen", "-v", "--secret", secret, env={}, log=tmp_path / "log", until=READY) as receiver:
        good = message(secret, body)
        cases = [
            (body, good, 200),
            (body + b" ", good, 400),
            (body, message(signing.new_secret(), body), 400),
            (body, message(secret, body, at=time.time() - 400), 400),
            (body, {"content-type": "application/json"}, 400),
        ]
        for sent, headers, status in cases:
            assert post(receiver.url + "any/path", sent, headers) == status
        receiver.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(receiver.process.wait, 60) == 0
        lines = [line for line in receiver.log.read_text().splitlines() if "bytes" in line]
        assert len(lines) == len(cases)
        assert re.match(
            rf"\d\d:\d\d:\d\d  invoice\.paid  m1  trace=a{{32}}  {len(body)} bytes  200  verified$", lines[0]
        )
        assert "400  no signature matches" in lines[1]
        assert "400  the message is too old" in lines[3]
        assert "400  missing header" in lines[4]
        assert '    "n": 1' in receiver.log.read_text()


async def test_a_failing_receiver_fails_as_often_as_asked(tmp_path: Path) -> None:
    with running(
        "webhooks", "listen", "--fail-rate", "1", "--delay", "300", env={}, log=tmp_path / "log", until=READY
    ) as receiver:
        started = time.monotonic()
        assert post(receiver.url, b"{}", {}) == 500
        assert time.monotonic() - started >= 0.3
        assert "not verified: no secret" in receiver.log.read_text()
        busy = mainstay("webhooks", "listen", "--port", receiver.url.rstrip("/").rpartition(":")[2])
        assert (busy.code, "cannot listen on" in busy.err) == (1, True)


@pytest.mark.parametrize("secret", ["not-a-secret", "whsec_", "v1,whsec_YWJj", "whsec_%%%"])
def test_a_secret_that_is_none_is_told_at_once(secret: str) -> None:
    ran = called("webhooks", "listen", "--secret", secret)
    assert (ran.code, "--secret:" in ran.err) == (2, True), ran.err


def test_nothing_that_arrives_can_steer_the_terminal() -> None:
    line = line_of({"X-Any-Event": "a\x1b[2Jb", "webhook-id": "m\n1"}, b"", 200, "verified")
    assert "\x1b" not in line
    assert "\n" not in line
    assert pretty(b'{"a":"\x1b[2J"}\x1b') == '{"a":"?[2J"}?'
    assert pretty('{"a":"é\\u001b"}'.encode()) == '{\n  "a": "\\u00e9\\u001b"\n}'


def test_without_a_secret_nothing_is_refused() -> None:
    assert why_refused((), {}, b"", now_seconds=0) is None
