"""Where entries of the cache are kept: in this process, or in Redis for all of them."""

import secrets
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mainstay.kernel.redis import Redis, Script

MOST_ENTRIES: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
MOST_VALUE_BYTES: Final = 256 * 1024
LEASE_MS: Final = 60_000
"""How long a load may take whose value Redis still keeps."""
_SCAN = 500
_MOST_SCANS = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, for whom it was read, when reading it began and when it ends (seconds of the clock's time)."""

    value: bytes
    scope: str
    made_at: float
    ends_at: float

    def packed(self) -> bytes:
        """The entry as bytes."""
        return f"1 {self.made_at!r} {self.ends_at!r} {self.scope}\n".encode() + self.value


def unpacked(data: bytes) -> Entry | None:
    """The entry of such bytes; None for what is none."""
    head, _, value = data.partition(b"\n")
    try:
        version, made_at, ends_at, scope = head.decode().split(" ", 3)
        return Entry(value, scope, float(made_at), float(ends_at)) if version == "1" else None
    except ValueError:
        return None


class Store(Protocol):
    """Keeps entries by key. `Away` where it does not answer. A key that ends with `*` stands for all that begin so."""

    @property
    def kind(self) -> str: ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes put entries there, too."""
        ...

    async def find(self, key: str) -> Entry | None: ...

    async def claim(self, key: str) -> str:
        """The lease with which a value that is read from now on may be put; one later, or a drop, ends it."""
        ...

    async def put(self, key: str, entry: Entry, lease: str, ttl_seconds: float) -> None: ...

    async def drop(self, keys: Sequence[str]) -> int:
        """Their entries are gone, and leases on them; how many entries there were."""
        ...

    async def expire(self, now: float) -> None:
        """Entries that ended are gone."""
        ...

    async def sizes(self) -> Mapping[str, int]:
        """Every key with the bytes of its value."""
        ...

    async def close(self) -> None: ...


class Memory:
    """Up to 10,000 entries and 64 MiB in this process; the least recently used go first.

    Whoever asks one process for a key does so through one load at a time, which is why leases are nothing here.
    """

    kind = "memory"
    is_shared = False

    def __init__(self, *, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0

    async def find(self, key: str) -> Entry | None:
        """The entry, which is the most recently used now."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    async def claim(self, key: str) -> str:
        """Nothing: see above."""
        return ""

    async def put(self, key: str, entry: Entry, lease: str, ttl_seconds: float) -> None:
        """The entry is kept, unless its value has more than 256 KiB."""
        self._take(key)
        if len(entry.value) > MOST_VALUE_BYTES:
            return
        self._entries[key] = entry
        self._bytes += _weight(key, entry)
        while len(self._entries) > self._most_entries or self._bytes > self._most_bytes:
            self._take(next(iter(self._entries)))

    async def drop(self, keys: Sequence[str]) -> int:
        """They are gone; how many there were."""
        return sum(self._take(one) for key in keys for one in list(self._named(key)))

    async def expire(self, now: float) -> None:
        """Entries that ended are gone."""
        for key in [key for key, entry in self._entries.items() if entry.ends_at <= now]:
            self._take(key)

    async def sizes(self) -> Mapping[str, int]:
        """Every key with the bytes of its value."""
        return {key: len(entry.value) for key, entry in self._entries.items()}

    async def close(self) -> None:
        """Nothing is kept any more."""
        self._entries.clear()
        self._bytes = 0

    def _named(self, key: str) -> Iterator[str]:
        if not key.endswith("*"):
            return iter((key,))
        return (one for one in self._entries if one.startswith(key[:-1]))

    def _take(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is None:
            return False
        self._bytes -= _weight(key, found)
        return True


_CLAIM = Script(
    """redis.call('HSET', KEYS[1], 'lease', ARGV[1])
       if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
       return 1"""
)
_PUT = Script(
    """if redis.call('HGET', KEYS[1], 'lease') ~= ARGV[1] then return 0 end
       redis.call('DEL', KEYS[1])
       redis.call('HSET', KEYS[1], 'entry', ARGV[2])
       redis.call('PEXPIRE', KEYS[1], ARGV[3])
       return 1"""
)


class InRedis:
    """Entries as hashes with the member `entry`, under their documented keys, for every process that asks this Redis.

    A value is put with the lease that was taken before it was read. Whatever deletes the key (a change, an operator,
    Redis for want of memory) ends the lease with it, so that no older value comes after.
    """

    kind = "redis"
    is_shared = True

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, key: str) -> Entry | None:
        """The entry; Away."""
        found = await self._redis.ask("HGET", self._redis.key(key), "entry")
        return None if found is None else unpacked(found)

    async def claim(self, key: str) -> str:
        """The lease, good for a minute; Away."""
        lease = secrets.token_hex(8)
        await self._redis.run(_CLAIM, [key], [lease, LEASE_MS])
        return lease

    async def put(self, key: str, entry: Entry, lease: str, ttl_seconds: float) -> None:
        """The entry is kept where the lease still stands and the value has up to 256 KiB; Away."""
        if len(entry.value) <= MOST_VALUE_BYTES:
            data: Any = entry.packed()
            await self._redis.run(_PUT, [key], [lease, data, max(1, round(ttl_seconds * 1000))])

    async def drop(self, keys: Sequence[str]) -> int:
        """They are gone in every process; how many there were; Away."""
        dropped = 0
        for key in keys:
            if key.endswith("*"):
                async for some in self._scan(key):
                    dropped += int(await self._redis.ask("UNLINK", *some))
            else:
                dropped += int(await self._redis.ask("DEL", self._redis.key(key)))
        return dropped

    async def expire(self, now: float) -> None:
        """Redis does that by itself."""

    async def sizes(self) -> Mapping[str, int]:
        """Every key with the bytes of its entry, of those that a look through a million keys finds; Away."""
        found: dict[str, int] = {}
        async for some in self._scan("cache:*"):
            for one in some:
                size = int(await self._redis.ask("HSTRLEN", one, "entry"))
                if size:
                    found[one.decode().removeprefix(self._redis.prefix)] = size
        return found

    async def close(self) -> None:
        """Every connection is closed; entries stay."""
        await self._redis.close()

    async def _scan(self, pattern: str) -> Any:
        cursor = b"0"
        for _ in range(_MOST_SCANS):
            cursor, some = await self._redis.ask("SCAN", cursor, "MATCH", self._redis.key(pattern), "COUNT", _SCAN)
            if some:
                yield some
            if cursor == b"0":
                return


def _weight(key: str, entry: Entry) -> int:
    return len(key) + sys.getsizeof(entry.value) + len(entry.scope) + 200
