"""Custom headers: what may be sent, what may not, and that the outbound client takes all that may."""

import pytest

from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.outbound import Outbound
from mainstay.webhooks.headers import faults
from tests.receivers import Receiver

FINE = {
    "Authorization": "Bearer abc.def",
    "X-Tenant": "7",
    "x-novapulsed-signature": "another brand's",
    "N" * 100: "v" * 1_000,
    "x-empty": "",
    "!#$%&'*+-.^_`|~": " ".join("ab"),
}


def test_ordinary_headers_have_no_fault() -> None:
    assert faults(FINE, "NovaPulse") == []
    assert faults({}, "NovaPulse") == []


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Type", "content-length", "CONTENT-ENCODING", "Transfer-Encoding", "Connection", "Keep-Alive",
     "Upgrade", "TE", "Trailer", "Expect", "Proxy-Authorization", "User-Agent", "Date", "webhook-id",
     "Webhook-Signature", "X-NovaPulse-Signature", "x-novapulse-anything", "X-Trace-Id", "traceparent", "tracestate",
     "Accept-Encoding", "Accept"],
)  # fmt: skip
def test_headers_that_are_the_senders_own_are_refused(name: str) -> None:
    assert [pointer for pointer, _ in faults({name: "x"}, "NovaPulse")] == [f"#/headers/{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "x"), ("N" * 101, "x"), ("a b", "x"), ("a:", "x"), ("a\r\nb", "x"), ("é", "x"), ("a/b", "x"),
     ("a", "v" * 1_001), ("a", "é"), ("a", "x\r\ny: z"), ("a", "\0"), ("a", "\t"), ("a", " x"), ("a", "x "),
     ("a", "\x7f")],
)  # fmt: skip
def test_names_are_tokens_and_values_printable(name: str, value: str) -> None:
    ((pointer, reason),) = faults({name: value}, "NovaPulse")
    assert pointer == "#/headers/" + name.replace("/", "~1")
    assert reason


def test_twenty_are_enough_and_each_comes_once() -> None:
    twenty = {f"x-{n}": "v" for n in range(20)}
    assert faults(twenty, "NovaPulse") == []
    assert [pointer for pointer, _ in faults({**twenty, "x-20": "v"}, "NovaPulse")] == ["#/headers"]
    assert [pointer for pointer, _ in faults({"X-A": "1", "x-a": "2"}, "NovaPulse")] == ["#/headers/x-a"]


async def test_what_has_no_fault_can_be_sent() -> None:
    outbound = Outbound(allow=parse_allow_list("127.0.0.0/8"))
    async with Receiver() as receiver:
        answer = await outbound.post(receiver.url(), b"{}", FINE)
        (received,) = receiver.requests
    await outbound.close()
    assert answer.status == 200
    assert received.headers.items() >= {name.lower(): value for name, value in FINE.items()}.items()
