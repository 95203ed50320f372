"""Whose address a request comes from where proxies stand between: what a trusted one says, and nobody else. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from mainstay.web.asgi import Headers

Network = IPv4Network | IPv6Network
_MOST_HOPS = 32
_V6_BITS_OF_A_HOST = 64


def client_of(peer: tuple[str, int] | None, headers: Headers, trusted: Sequence[Network]) -> tuple[str, int] | None:
    """The rightmost address of `X-Forwarded-For` that is no trusted proxy, where the peer is one; else the peer.

    Whatever stands left of that address is the caller's own text. An entry that is no address ends the search: the
    last proxy that was reached counts then.
    """
    if peer is None or not trusted or not _is_trusted(peer[0], tuple(trusted)):
        return peer
    told = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
    found = peer
    for entry in reversed(told.split(",")[-_MOST_HOPS:]):
        address = _address_of(entry.strip())
        if address is None:
            break
        found = (str(address), 0)
        if not _is_trusted(found[0], tuple(trusted)):
            break
    return found


@lru_cache(maxsize=4_096)
def counted_as(address: str) -> str:
    """What limits count an address as: itself, or the /64 of an IPv6 address, which one host may have all of."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    bits = 128 - _V6_BITS_OF_A_HOST
    return f"{IPv6Address(int(found) >> bits << bits)}/{_V6_BITS_OF_A_HOST}"


@lru_cache(maxsize=4_096)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    found = _address_of(address)
    return found is not None and any(found in network for network in trusted)


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: alone, with a port, or in brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return None if found.scope_id is not None else found.ipv4_mapped or found
    return found
