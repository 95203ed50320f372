"""Every hostile form of a URL or address is refused with a reason, and ordinary ones pass unchanged."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from mainstay.kernel.addresses import (
    URL_MAX_CHARACTERS,
    AllowList,
    RefusedAddress,
    check_url,
    parse_allow_list,
    vet_address,
)

NOTHING = AllowList()
DEVELOPMENT = parse_allow_list("127.0.0.0/8, ::1, localhost, *.dev.internal, Hooks.Corp.Example")

HOSTILE_URLS = {
    # scheme and shape
    "": "absolute", "example.com/x": "absolute", "//example.com/x": "absolute", "http:example.com": "absolute",
    "http:/example.com": "absolute", "http:///x": "no host", "http://": "no host", "http://?x": "no host",
    "ftp://example.com/": "https:// or http://", "file:///etc/passwd": "https:// or http://",
    "gopher://example.com/": "https:// or http://", "javascript://example.com/%0aalert(1)": "https:// or http://",
    "https+unix://example.com/": "https:// or http://", "ws://example.com/": "https:// or http://",
    # credentials, fragments, characters
    "https://user@example.com/": "user name or password", "https://user:pw@example.com/": "user name or password",
    "https://example.com@127.0.0.1/": "user name or password", "https://:@example.com/": "user name or password",
    "https://example.com/#top": "fragment", "https://example.com#@evil.example/": "fragment",
    " https://example.com/": "character ' '", "https://example.com/ ": "character ' '",
    "https://exa mple.com/": "character ' '", "https://example.com/\r\nHost: x": "character '\\r'",
    "https://example.com/\n": "character '\\n'", "https://example.com/\x00": "character '\\x00'",
    "https://example.com\t/": "character '\\t'", "https://example.com/\x7f": "character '\\x7f'",
    "https://example.com\\@127.0.0.1/": "character '\\'", "https:\\\\example.com/": "character '\\'",
    "https://example.com/<x>": "character '<'", 'https://example.com/"': "character '\"'",
    "https://example.com/\u00e9": "character '\\xe9'", "https://example.com/\u2028": "character '\\u2028'",
    "https://example.com/\ud800": "character '\\ud800'",
    # ports
    "https://example.com:0/": "port", "https://example.com:65536/": "port", "https://example.com:/": "port",
    "https://example.com:-1/": "port", "https://example.com:8o/": "port", "https://example.com:443:443/": "port",
    "https://example.com:000443/": "port", "https://example.com:99999999999/": "port",
    # host names
    "https://.example.com/": "not a valid host name", "https://example..com/": "not a valid host name",
    "https://-example.com/": "not a valid host name", "https://exam%70le.com/": "not a valid host name",
    "https://%31%32%37.0.0.1/": "is a number",
    "https://%6c.example/": "not a valid host name",
    "https://example.com%2f.evil.example/": "not a valid",
    "https://example.com,evil.example/": "not a valid host name", "https://*.example.com/": "not a valid host name",
    f"https://{'a' * 64}.example/": "not a valid host name", f"https://{'a.' * 126}ab/": "not a valid host name",
    "https://example.com./": "end in a dot", "https://localhost./": "end in a dot",
    "https://127.0.0.1./": "end in a dot",
    "https://b\u00fccher.example/": "xn--", "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/": "character",
    "http://\uff11\uff12\uff17.0.0.1/": "character", "http://127\u30020.0.1/": "character",
    "http://\u0661\u0662\u0667.0.0.1/": "character", "https://example\u3002com/": "character",
    # numbers posing as hosts
    "http://2130706433/": "is a number", "http://0x7f000001/": "is a number", "http://0X7F.1/": "is a number",
    "http://0x7f.1/": "is a number", "http://127.1/": "is a number", "http://127.0.1/": "is a number",
    "http://017700000001/": "is a number", "http://0177.0.0.1/": "is a number", "http://127.0.0.01/": "is a number",
    "http://127.0.0.0x1/": "is a number", "http://0/": "is a number", "http://1.1.1.1.1/": "is a number",
    "http://256.1.1.1/": "is a number", "http://evil.example.1/": "is a number", "http://0x/": "is a number",
    # internal names
    "http://localhost/": "local name", "http://LOCALHOST:8080/": "local name", "http://db/": "local name",
    "http://metadata/": "local name", "http://a.localhost/": "internal name", "http://printer.local/": "internal name",
    "http://metadata.google.internal/": "internal name", "http://x.home.arpa/": "internal name",
    "http://localhost.localdomain/": "internal name", "http://wiki.corp/": "internal name",
    # IPv6 literals
    "http://[::1": "IPv6", "http://::1/": "port", "http://[::1]x/": "IPv6", "http://[]/": "IPv6",
    "http://[fe80::1%25eth0]/": "zone id", "http://[fe80::1%eth0]/": "zone id", "http://[v1.fe80::a]/": "IPv6",
    "http://[127.0.0.1]/": "IPv6", "http://[::1]:0/": "port",
}  # fmt: skip

INTERNAL_ADDRESSES = {
    "0.0.0.0": "this network", "0.1.2.3": "this network", "10.0.0.1": "private", "10.255.255.255": "private",
    "100.64.0.1": "carrier", "100.100.100.200": "metadata", "100.127.255.255": "carrier", "127.0.0.1": "loopback",
    "127.255.255.254": "loopback", "169.254.0.1": "link-local", "169.254.169.254": "metadata",
    "168.63.129.16": "metadata", "172.16.0.1": "private", "172.31.255.255": "private", "192.0.0.192": "metadata",
    "192.0.2.1": "documentation", "192.88.99.1": "6to4", "192.168.1.1": "private", "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks", "198.51.100.7": "documentation", "203.0.113.9": "documentation",
    "224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
    "::": "unspecified", "::1": "loopback", "::127.0.0.1": "compatible", "::8.8.8.8": "compatible",
    "::ffff:127.0.0.1": "loopback", "::ffff:a9fe:a9fe": "metadata", "::ffff:0:127.0.0.1": "outside",
    "64:ff9b::127.0.0.1": "loopback", "64:ff9b::a00:1": "private", "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b:1::8.8.8.8": "local NAT64", "2002:7f00:1::": "6to4", "2002:a00:1::1": "6to4",
    "2001::f5ff:fffe": "Teredo", "2001:0:5ef5:79fd::80ff:fffe": "Teredo", "2001:10::1": "protocols",
    "2001:2::1": "protocols", "2001:db8::1": "documentation", "3fff::1": "documentation",
    "fc00::1": "unique local", "fd12:3456::1": "unique local", "fd00:ec2::254": "metadata", "fe80::1": "link-local",
    "febf::1": "link-local", "fec0::1": "site-local", "ff02::1": "multicast", "100::1": "outside", "5f00::1": "outside",
    "4000::1": "outside",
}  # fmt: skip

PUBLIC_ADDRESSES = [
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "2001:200::1",
    "2001:db7:ffff::1", "2003::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=ascii)
def test_a_hostile_url_is_refused_with_its_reason(url: str) -> None:
    with pytest.raises(RefusedAddress, match=re.escape(HOSTILE_URLS[url])):
        check_url(url, NOTHING)


@pytest.mark.parametrize("address", INTERNAL_ADDRESSES)
def test_an_internal_address_is_refused_as_answer_and_as_literal(address: str) -> None:
    with pytest.raises(RefusedAddress, match=INTERNAL_ADDRESSES[address]):
        vet_address(ip_address(address), NOTHING)
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(RefusedAddress, match="not a public address"):
        check_url(f"https://{literal}:8443/hook", NOTHING)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_at_the_edge_of_a_refused_block_passes(address: str) -> None:
    vet_address(address, NOTHING)
    literal = f"[{address}]" if ":" in address else address
    assert check_url(f"https://{literal}/", NOTHING).address == ip_address(address)


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "text"),
    [
        ("https://example.com", "example.com", 443, "/", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/A?b=C", "example.com", 443, "/A?b=C", "https://example.com/A?b=C"),
        ("http://example.com:8080?x=1", "example.com", 8080, "/?x=1", "http://example.com:8080/?x=1"),
        ("http://example.com:65535/", "example.com", 65_535, "/", "http://example.com:65535/"),
        ("http://example.com:1/", "example.com", 1, "/", "http://example.com:1/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", "https://xn--bcher-kva.example/"),
        ("https://a_b.example/%C3%A9//x/../y", "a_b.example", 443, "/%C3%A9//x/../y", "https://a_b.example/%C3%A9//x/../y"),
        ("https://[2606:4700:0::1111]:8/", "2606:4700::1111", 8, "/", "https://[2606:4700::1111]:8/"),
    ],
)  # fmt: skip
def test_an_ordinary_url_keeps_its_meaning(url: str, host: str, port: int, target: str, text: str) -> None:
    checked = check_url(url, NOTHING)
    assert (checked.host, checked.port, checked.target, checked.text) == (host, port, target, text)


def test_the_length_is_limited_to_2048_characters() -> None:
    longest = "https://example.com/".ljust(URL_MAX_CHARACTERS, "x")
    assert check_url(longest, NOTHING).text == longest
    with pytest.raises(RefusedAddress, match="2,048"):
        check_url(longest + "x", NOTHING)


def test_plain_http_is_refused_where_only_https_will_do() -> None:
    assert check_url("https://example.com/", NOTHING, https_only=True).scheme == "https"
    with pytest.raises(RefusedAddress, match=r"must start with https://$"):
        check_url("http://example.com/", NOTHING, https_only=True)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:9000/", "http://127.0.0.1:1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]/",
     "http://a.dev.internal/", "http://hooks.corp.example/"],
)  # fmt: skip
def test_the_allow_list_opens_what_it_names(url: str) -> None:
    check_url(url, DEVELOPMENT)


@pytest.mark.parametrize(
    "url",
    ["http://127.1/", "http://10.0.0.1/", "http://dev.internal/", "http://xdev.internal/", "http://a.localhost/",
     "http://[::2]/", "http://[64:ff9b::7f00:1]/", "http://user@localhost/"],
)  # fmt: skip
def test_the_allow_list_opens_nothing_else(url: str) -> None:
    with pytest.raises(RefusedAddress):
        check_url(url, DEVELOPMENT)


def test_a_listed_host_may_be_private_but_never_the_metadata_service() -> None:
    vet_address("10.1.2.3", DEVELOPMENT, host="hooks.corp.example")
    for host, address in (("other.example", "10.1.2.3"), ("hooks.corp.example", "169.254.169.254"),
                          ("hooks.corp.example", "fd00:ec2::254"), ("hooks.corp.example", "::ffff:169.254.169.254"),
                          ("hooks.corp.example", "fe80::1")):  # fmt: skip
        with pytest.raises(RefusedAddress):
            vet_address(address, DEVELOPMENT, host=host)
    vet_address("169.254.169.254", parse_allow_list("169.254.169.254"))


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110", "64:ff9b::6464:64c8", "64:ff9b::c000:c0", "64:ff9b::", "::a9fe:a9fe",
     "2002:a9fe:a9fe::1", "2002:a83f:8110:ffff:ffff:ffff:ffff:ffff", "::ffff:168.63.129.16", "64:ff9b:1:a9fe:a9:fe00::",
     "2001:0:1:2:3:4:5601:5601", "100.100.100.200", "192.0.0.192"],
)  # fmt: skip
def test_a_listed_host_never_leads_to_metadata_in_any_form(address: str) -> None:
    listed = parse_allow_list("hooks.corp.example")
    with pytest.raises(RefusedAddress):
        vet_address(address, listed, host="hooks.corp.example")


@pytest.mark.parametrize("address", ["64:ff9b::a01:203", "2002:a01:203::1", "::1", "::10.1.2.3", "100.100.100.201"])
def test_a_listed_host_may_be_private_in_any_form(address: str) -> None:
    vet_address(address, parse_allow_list("hooks.corp.example"), host="hooks.corp.example")


def test_an_address_with_a_zone_is_refused() -> None:
    with pytest.raises(RefusedAddress, match="zone"):
        vet_address("2606:4700::1%eth0", NOTHING)


def test_an_empty_allow_list_allows_nothing() -> None:
    for text in ("", " , ,"):
        assert parse_allow_list(text) == NOTHING
    assert not NOTHING.names("")
    assert not NOTHING.names("localhost")


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "127.1", "http://x", "a b", "host:80", "*", "*.", "a..b", "é"]
)
def test_a_bad_entry_of_the_allow_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_allow_list(f"localhost,{text}")


@given(st.text(max_size=60) | st.from_regex(r"https?://[ -~]{0,40}", fullmatch=True))
def test_whatever_is_accepted_means_the_same_to_the_client_library(text: str) -> None:
    try:
        checked = check_url(text, NOTHING)
    except RefusedAddress:
        return
    parsed = URL(checked.text, encoded=True)
    assert (parsed.raw_host, parsed.port, parsed.raw_path_qs) == (checked.host, checked.port, checked.target)
    assert parsed.user is None
    assert not parsed.raw_fragment
