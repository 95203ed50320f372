"""What the room stands on, and from where somebody arrives."""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal

from mainstay import identity
from mainstay.kernel.cache import Cache
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.settings import Settings

Via = Literal["console", "api"]
_NETWORK_BITS = {4: 24, 6: 48}
_DEVICE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Ground:
    """The home database, what seals letters, the threads that hash passwords, who signs tokens, the settings, and what
    is cached."""

    db: Database
    keyring: Keyring
    passwords: identity.Passwords
    who: identity.Identity
    settings: Settings
    cache: Cache

    @property
    def is_https(self) -> bool:
        """Whether people reach us over https, as PUBLIC_URL says."""
        return self.settings.base_url.startswith("https://")


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where and with what somebody signs in: network address and the browser's name as it came."""

    via: Via
    address: str = ""
    user_agent: str = ""

    @property
    def device(self) -> str:
        """What is kept of a browser's name: 200 characters that can be shown."""
        return "".join(one for one in self.user_agent if one.isprintable())[:_DEVICE_CHARACTERS]


def is_same_device(address: str, seen_from: Collection[str]) -> bool:
    """Whether a browser of that name was seen in the same network (/24 of IPv4, /48 of IPv6), or at an address that
    was not written down."""
    network = network_of(address)
    return any(not one or network_of(one) == network for one in seen_from)


def network_of(address: str) -> str:
    """The network of an address; the text itself where it is no address."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return str(ip_network((known, _NETWORK_BITS[known.version]), strict=False))
