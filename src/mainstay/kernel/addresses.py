"""Which URLs and network addresses this service may call: a pure guard against requests forged into our own network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Network = IPv4Network | IPv6Network

URL_MAX_CHARACTERS: Final = 2_048

_REFUSED_V4: Final = tuple(
    (IPv4Network(block), what)
    for block, what in (
        ("0.0.0.0/8", "'this network' (0.0.0.0/8)"),
        ("10.0.0.0/8", "a private network"),
        ("100.100.100.200/32", "a cloud metadata service"),
        ("100.64.0.0/10", "a carrier's shared network (100.64.0.0/10)"),
        ("127.0.0.0/8", "this machine itself (loopback)"),
        ("168.63.129.16/32", "a cloud metadata service"),
        ("169.254.169.254/32", "a cloud metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.192/32", "a cloud metadata service"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.88.99.0/24", "a retired 6to4 relay"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_REFUSED_V6: Final = tuple(
    (IPv6Network(block), what)
    for block, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "this machine itself (loopback)"),
        ("::/96", "an IPv4-compatible address, a retired form"),
        ("64:ff9b:1::/48", "a local NAT64 network"),
        ("2001::/32", "Teredo, which hides an IPv4 address"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "reserved for documentation"),
        ("2002::/16", "6to4, which hides an IPv4 address"),
        ("3fff::/20", "reserved for documentation"),
        ("fd00:ec2::254/128", "a cloud metadata service"),
        ("fc00::/7", "a private network (unique local)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "a retired site-local network"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# A host on the allow-list vouches for private networks, not for these: only a CIDR entry opens them.
_NEVER_BY_NAME: Final = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4",
        "240.0.0.0/4", "::/128", "64:ff9b:1::/48", "2001::/32", "fd00:ec2::254/128", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
# IPv6 networks whose addresses lead to the IPv4 address inside, and how many bits stand behind it.
_WITH_V4_INSIDE: Final = ((IPv6Network("64:ff9b::/96"), 0), (IPv6Network("::/96"), 0), (IPv6Network("2002::/16"), 80))
_INTERNAL_SUFFIXES: Final = (
    ".localhost", ".local", ".internal", ".localdomain", ".intranet", ".private", ".corp", ".home", ".lan",
    ".home.arpa",
)  # fmt: skip

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class RefusedAddress(Exception):
    """The URL or the address behind it must not be called."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AllowList:
    """What an operator opened by hand: exact host names, `*.` suffixes and networks."""

    hosts: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = field(default=())

    def names(self, host: str) -> bool:
        """Whether this host name is listed, by itself or under a listed suffix."""
        return host in self.hosts or host.endswith(self.suffixes)

    def holds(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a listed network holds this address."""
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL whose form is harmless; `address` is set when the host is a literal, already vetted address."""

    text: str
    scheme: str
    host: str
    port: int
    target: str
    address: IPv4Address | IPv6Address | None


def parse_allow_list(text: str) -> AllowList:
    """The allow-list in comma-separated hosts, `*.suffix` names, addresses and CIDRs; ValueError names a bad entry."""
    hosts: set[str] = set()
    suffixes: list[str] = []
    networks: list[Network] = []
    for entry in (part.strip().lower() for part in text.split(",")):
        if not entry:
            continue
        name = entry.removeprefix("*.")
        if "/" in entry or ":" in entry or _LOOKS_NUMERIC.fullmatch(entry.rpartition(".")[2]):
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError as problem:
                raise ValueError(f"'{entry}' is neither an address, a CIDR nor a bare host name: {problem}") from None
        elif len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError(f"'{entry}' is not a host name; write hosts without scheme, port or path")
        elif name != entry:
            suffixes.append("." + name)
        else:
            hosts.add(entry)
    return AllowList(frozenset(hosts), tuple(suffixes), tuple(networks))


def check_url(url: str, allow: AllowList, *, https_only: bool = False) -> CheckedUrl:
    """The parts of a URL that may be called as far as its text tells, without a lookup; RefusedAddress says why not."""
    _check_characters(url)
    parts = _URL.fullmatch(url)
    if parts is None:
        raise RefusedAddress("the URL must be absolute, like https://example.com/path")
    scheme = parts["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise RefusedAddress("the URL must start with https:// or http://")
    if https_only and scheme != "https":
        raise RefusedAddress("the URL must start with https://")
    if parts["fragment"] is not None:
        raise RefusedAddress("the URL must not have a fragment; remove everything from '#'")
    if "@" in parts["authority"]:
        raise RefusedAddress("the URL must not carry a user name or password; remove everything up to '@'")
    host_text, port = _split_authority(parts["authority"], _DEFAULT_PORTS[scheme])
    host, address = _check_host(host_text, allow)
    if address is not None:
        vet_address(address, allow)
    target = (parts["path"] or "/") + (parts["query"] or "")
    authority = host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return CheckedUrl(f"{scheme}://{authority}{target}", scheme, host.strip("[]"), port, target, address)


def vet_address(ip: IPv4Address | IPv6Address | str, allow: AllowList, *, host: str | None = None) -> None:
    """Nothing when the address is public or allowed (by network, or because `host` is listed); else RefusedAddress."""
    address = ip_address(ip) if isinstance(ip, str) else ip
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise RefusedAddress(f"{address} has a zone id")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    what = _what_is_wrong(address)
    if what is None or allow.holds(address):
        return
    if host is not None and allow.names(host) and not _is_never_opened_by_name(address):
        return
    raise RefusedAddress(f"{address} is not a public address: it is {what}")


def _is_never_opened_by_name(address: IPv4Address | IPv6Address) -> bool:
    forms = [address]
    if isinstance(address, IPv6Address) and not address.is_loopback:
        forms += [IPv4Address(int(address) >> bits & 0xFFFF_FFFF) for net, bits in _WITH_V4_INSIDE if address in net]
    return any(form in network for form in forms for network in _NEVER_BY_NAME)


def _what_is_wrong(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((what for network, what in _REFUSED_V4 if address in network), None)
    if address in _NAT64:
        inner = _what_is_wrong(IPv4Address(int(address) & 0xFFFF_FFFF))
        return inner and f"NAT64 for {inner}"
    for network, what in _REFUSED_V6:
        if address in network:
            return what
    return None if address in _GLOBAL_V6 else "outside the public IPv6 range"


def _check_characters(url: str) -> None:
    if len(url) > URL_MAX_CHARACTERS:
        raise RefusedAddress(f"the URL is longer than {URL_MAX_CHARACTERS:,} characters")
    for character in url:
        if not "!" <= character <= "~":
            shown = ascii(character).strip("'")
            raise RefusedAddress(
                f"the URL holds the character '{shown}'; write spaces and non-ASCII characters percent-encoded "
                "and international host names in their xn-- form"
            )
        if character in '\\"<>^`{|}':
            raise RefusedAddress(f"the URL holds the character '{character}', which must be percent-encoded")


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    """Host text (brackets kept) and port."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        host += bracket
        if not bracket or (rest and not rest.startswith(":")):
            raise RefusedAddress("the URL's IPv6 host must be written as [address] or [address]:port")
        colon, port_text = rest[:1], rest[1:]
    else:
        host, colon, port_text = authority.partition(":")
    if not colon:
        return host, default_port
    if not _PORT.fullmatch(port_text) or not 1 <= int(port_text) <= 65_535:
        raise RefusedAddress("the URL's port must be a number from 1 to 65535")
    return host, int(port_text)


def _check_host(text: str, allow: AllowList) -> tuple[str, IPv4Address | IPv6Address | None]:
    """The host in lower case, with the address it spells out if it is a literal."""
    host = text.lower()
    if not host:
        raise RefusedAddress("the URL has no host")
    if host.startswith("["):
        if "%" in host:
            raise RefusedAddress("the URL's IPv6 host must not have a zone id")
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise RefusedAddress("the URL's host in brackets is not an IPv6 address") from None
        return f"[{address}]", address
    if host.endswith("."):
        raise RefusedAddress("the URL's host must not end in a dot")
    labels = host.split(".")
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        try:
            return host, IPv4Address(host)
        except ValueError:
            raise RefusedAddress("the URL's host is a number; write an IPv4 address as four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise RefusedAddress("the URL's host is not a valid host name")
    if not allow.names(host):
        if len(labels) == 1:
            raise RefusedAddress(f"'{host}' is a local name; use a public host name with a dot")
        if host.endswith(_INTERNAL_SUFFIXES):
            raise RefusedAddress(f"'{host}' is an internal name; use a public host name")
    return host, None
