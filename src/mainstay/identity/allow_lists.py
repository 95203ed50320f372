"""Which addresses a key may come from, and an address as it is kept. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mainstay.kernel.errors import Fault, Invalid

Network = IPv4Network | IPv6Network

MAX_NETWORKS = 100
_MAPPED_BITS = 96
_HOUSEHOLD_BITS = 64


def check_allow_list(entries: Sequence[str], pointer: str = "#/allowList") -> list[str]:
    """The networks in canonical text, IPv4 written inside IPv6 as IPv4; Invalid names a bad entry. At most 100."""
    if len(entries) > MAX_NETWORKS:
        raise Invalid(faults=[Fault(f"must have at most {MAX_NETWORKS} entries", pointer)])
    return [str(_network_of(entry, f"{pointer}/{index}")) for index, entry in enumerate(entries)]


def networks_of(allow_list: Sequence[str]) -> tuple[Network, ...]:
    """A stored allow-list, ready to be asked."""
    return tuple(ip_network(entry) for entry in allow_list)


def is_allowed(networks: tuple[Network, ...], address: str) -> bool:
    """Whether a caller's address lies in the networks; no networks allow all, no readable address none."""
    if not networks:
        return True
    try:
        caller = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller in network for network in networks)


def place_of(address: str) -> str:
    """What counts as one place that calls: an IPv4 address, or the /64 of an IPv6 one; empty where it is neither."""
    try:
        caller = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(caller, IPv6Address):
        if caller.ipv4_mapped is not None:
            return str(caller.ipv4_mapped)
        return str(IPv6Network((caller, _HOUSEHOLD_BITS), strict=False))
    return str(caller)


def _network_of(entry: str, pointer: str) -> Network:
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise Invalid(faults=[Fault(f"must be an IP address or a CIDR: {error}", pointer)]) from error
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if network.network_address.scope_id is not None:
            raise Invalid(faults=[Fault("must not have a zone id", pointer)])
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
