"""Whose address counts behind proxies: never what a caller claims for itself."""

from ipaddress import ip_network

import pytest

from mainstay.web.forwarded import client_of, counted_as

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (PROXY, ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        (PROXY, ["1.1.1.1, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        (PROXY, ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        (PROXY, ["198.51.100.1:4711"], "198.51.100.1"),
        (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::7", ["2001:db8::1"], "2001:db8::1"),
        (PROXY, ["198.51.100.1, unknown"], PROXY),
        (PROXY, ["198.51.100.1, , 10.2.3.4"], "10.2.3.4"),
        (PROXY, ["fe80::1%eth0"], PROXY),
        (PROXY, ["127.0.0.1, " * 40 + "198.51.100.1"], "198.51.100.1"),
    ],
)
def test_the_rightmost_address_that_is_no_proxy_counts(peer: str, told: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", one.encode()) for one in told]
    found = client_of((peer, 40_000), headers, PROXIES)
    assert found is not None
    assert found[0] == client


def test_without_trusted_proxies_the_header_is_nothing() -> None:
    assert client_of((PROXY, 1), [(b"x-forwarded-for", b"198.51.100.1")], ()) == (PROXY, 1)
    assert client_of(None, [(b"x-forwarded-for", b"198.51.100.1")], PROXIES) is None


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("testclient", "unknown"),
        ("", "unknown"),
    ],
)
def test_one_host_cannot_count_as_many(address: str, counted: str) -> None:
    assert counted_as(address) == counted
