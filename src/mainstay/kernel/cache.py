"""What is read often and changes seldom, kept for a while: one load at a time, and gone once a change is committed.

    nothing --load--> kept --ttl, or least recently used--> nothing        kept, or being loaded --cleared--> nothing

A change names what it makes old with `clear_later` in its transaction. The commit tells every process that listens;
the one that committed has dropped it before its caller goes on. Nothing that decides who may do what is read from here.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from prometheus_client import Counter, Gauge

from mainstay.kernel import outbox, telemetry
from mainstay.kernel.cache_stores import Entry, InRedis, Memory, Store
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.db import Sql, Tx
from mainstay.kernel.hearing import Hearing
from mainstay.kernel.outbox import Actor
from mainstay.kernel.redis import Away, Redis
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings

CHANNEL: Final = "mainstay_cache"
EVERYTHING: Final = "cache:*"
UNHEARD_SECONDS: Final = 1.0
"""How long an entry is served by a process that cannot know of every change."""
_SKEW_SECONDS = 1.0
_MOST_OWED = 1_000
_MOST_PAYLOAD = 7_500
_PREFIX = re.compile(r"cache:[a-z0-9:-]{0,200}")
_NOTIFY = Sql("cache.clear", "select pg_notify($1, $2)")

REQUESTS = Counter(
    "cache_requests_total",
    "Reads: hit, miss (loaded), shared (waited for a load under way), bypass (Redis away)",
    ["family", "outcome"],
    registry=telemetry.REGISTRY,
)
ENTRIES = Gauge("cache_entries", "Entries that this process keeps", ["family"], registry=telemetry.REGISTRY)
HEARS = Gauge("cache_hears", "Whether this process hears what others clear", registry=telemetry.REGISTRY)

Load = Callable[[], Awaitable[bytes]]
OUTCOMES: Final = ("hit", "miss", "shared", "bypass")


@dataclass(frozen=True, slots=True)
class Family:
    """Entries of one kind: `cache:<subject>:<id>:<what>`, each kept for as long."""

    subject: str
    what: str
    ttl: timedelta

    @property
    def name(self) -> str:
        """As metrics name it."""
        return f"{self.subject}_{self.what}"

    def key(self, identifier: str) -> str:
        """The key of one entry."""
        return f"cache:{self.subject}:{identifier.lower()}:{self.what}"

    def has(self, key: str) -> bool:
        """Whether the key is one of the family's."""
        return key.startswith(f"cache:{self.subject}:") and key.endswith(f":{self.what}")


@dataclass(slots=True)
class Figures:
    """How one family was read in this process, and what is kept of it."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    entries: int = 0
    bytes: int = 0


class Cache:
    """The cache as one process reads it. Values are bytes, the same for everybody within a scope."""

    def __init__(
        self,
        store: Store,
        families: Sequence[Family],
        *,
        clock: Clock | None = None,
        hearing: Callable[[Callable[[str], None], Clock], Sequence[Hearing]] = lambda *_: (),
    ) -> None:
        self._store = store
        self.families = tuple(families)
        self._clock = clock or SystemClock()
        self._flights: dict[tuple[str, str], asyncio.Task[bytes]] = {}
        self._owed: set[str] = set()
        self._clearing: set[asyncio.Task[int]] = set()
        self._figures = {one.name: Figures() for one in families}
        self._hearing = hearing(self._hear, self._clock)

    @classmethod
    def of(
        cls, settings: Settings, regions: Regions, families: Sequence[Family], clock: Clock | None = None
    ) -> "Cache":
        """The cache that settings ask for; changes committed through these regions clear it, and those of others."""
        store: Store = Memory() if settings.redis_url is None else InRedis(Redis(settings.redis_url, use="cache"))

        def hearing(heard: Callable[[str], None], clock: Clock) -> list[Hearing]:
            return [Hearing(db, settings.direct_url_of(db.dsn), CHANNEL, heard, clock) for _, db in regions.all()]

        cache = cls(store, families, clock=clock, hearing=hearing)
        for _, db in regions.all():
            db.on_cleared = cache.clear
        return cache

    @property
    def kind(self) -> str:
        """Where entries are kept."""
        return self._store.kind

    @property
    def hears(self) -> bool:
        """Whether the process hears what every other one clears."""
        return all(one.since is not None for one in self._hearing)

    async def get(self, family: Family, identifier: str, load: Load, *, scope: str = "") -> bytes:
        """What is kept of it, or what `load` gives, which is kept then; whatever `load` raises is not.

        Of many callers at a time one loads, and all have its value or error. A value is given in the scope (a company's
        id, say) alone in which it was loaded.
        """
        for one in self._hearing:
            one.begin()
        key = family.key(identifier)
        flight = self._flights.get((key, scope))
        if flight is None:
            flight = asyncio.create_task(self._fly(family, key, scope, load))
            self._flights[key, scope] = flight
            flight.add_done_callback(lambda done: self._landed((key, scope), done))
        else:
            self._count(family, "shared")
        return await asyncio.shield(flight)

    async def clear(self, keys: Sequence[str]) -> int:
        """Nothing that was read before is given for these keys any more; a key that ends with `*` is a prefix. How many
        entries went. Where the store is away nothing is read from it until that is done."""
        self._leave(keys)
        try:
            return await self._store.drop(keys)
        except Away:
            self._owed.update(keys)
            if len(self._owed) > _MOST_OWED:
                self._owed = {EVERYTHING}
            return 0
        finally:
            self._leave(keys)  # Those, too, that found the entry while it was being dropped.

    async def figures(self) -> Mapping[str, Figures]:
        """Every family's figures: reads since the process began, entries now (Away where Redis is)."""
        await self._store.expire(self._clock.now().timestamp())
        sizes = await self._store.sizes()
        for family in self.families:
            of_family = [size for key, size in sizes.items() if family.has(key)]
            figures = self._figures[family.name]
            figures.entries, figures.bytes = len(of_family), sum(of_family)
        return self._figures

    async def run(self, stop: asyncio.Event) -> None:
        """Metrics tell what is kept until `stop` is set; then everything is closed."""
        while not stop.is_set():
            await self._tell()
            try:
                await asyncio.wait_for(stop.wait(), 5)
            except TimeoutError:
                continue
        await asyncio.gather(*(one.close() for one in self._hearing))
        await asyncio.gather(*self._clearing, *self._flights.values(), return_exceptions=True)
        await self._store.close()

    async def _tell(self) -> None:
        HEARS.set(self.hears)
        if not self._store.is_shared:
            for name, figures in (await self.figures()).items():
                ENTRIES.labels(name).set(figures.entries)

    async def _fly(self, family: Family, key: str, scope: str, load: Load) -> bytes:
        try:
            await self._pay()
            found = await self._store.find(key)
            if found is not None and self._may_serve(found, scope):
                self._count(family, "hit")
                return found.value
            lease = await self._store.claim(key)
        except Away:
            self._count(family, "bypass")
            return await load()
        self._count(family, "miss")
        made_at = self._clock.now()
        value = await load()
        if self._flights.get((key, scope)) is asyncio.current_task():
            entry = Entry(value, scope, made_at.timestamp(), (made_at + family.ttl).timestamp())
            try:
                await self._store.put(key, entry, lease, family.ttl.total_seconds())
            except Away:
                return value
        return value

    def _landed(self, name: tuple[str, str], flight: asyncio.Task[bytes]) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        if not flight.cancelled():
            flight.exception()  # Whoever asked may have gone.

    def _may_serve(self, entry: Entry, scope: str) -> bool:
        now = self._clock.now().timestamp()
        if entry.scope != scope or not now < entry.ends_at or entry.made_at > now + _SKEW_SECONDS:
            return False
        heard = [one.since for one in self._hearing]
        known = [since.timestamp() for since in heard if since is not None]
        if len(known) < len(heard):
            return entry.made_at > now - UNHEARD_SECONDS
        margin = _SKEW_SECONDS if self._store.is_shared else 0.0
        return all(entry.made_at >= since + margin for since in known)

    def _leave(self, keys: Sequence[str]) -> None:
        """Nobody joins the reads of these keys that are under way, and what they load is not kept."""
        for key, scope in list(self._flights):
            if any(key.startswith(one[:-1]) if one.endswith("*") else key == one for one in keys):
                del self._flights[key, scope]

    async def _pay(self) -> None:
        """What could not be cleared when it should have been is cleared; Away."""
        while self._owed:
            owed = list(self._owed)
            await self._store.drop(owed)
            self._owed.difference_update(owed)

    def _hear(self, text: str) -> None:
        task = asyncio.create_task(self.clear(text.split()))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    def _count(self, family: Family, outcome: str) -> None:
        self._figures[family.name].outcomes[outcome] += 1
        REQUESTS.labels(family.name, outcome).inc()


def is_prefix(text: str) -> bool:
    """Whether the text may name entries to clear by hand."""
    return _PREFIX.fullmatch(text) is not None


async def clear_by_hand(tx: Tx, actor: Actor, prefix: str) -> None:
    """Once this commits no process gives what it kept under keys that begin so, and `cache.cleared` is announced."""
    await clear_later(tx, [prefix + "*"])
    await outbox.announce(tx, "cache.cleared", company_id=None, actor=actor, data={"prefix": prefix})


async def clear_later(tx: Tx, keys: Iterable[str]) -> None:
    """Once the transaction commits, no process gives what it kept under these keys: this one from then on, others as
    soon as they hear of it. A key that ends with `*` stands for all that begin so."""
    keys = list(dict.fromkeys(keys))
    tx.cleared.extend(keys)
    some: list[str] = []
    for key in keys:
        if some and sum(map(len, some)) + len(some) + len(key) > _MOST_PAYLOAD:
            await tx.run(_NOTIFY, CHANNEL, " ".join(some))
            some = []
        some.append(key)
    if some:
        await tx.run(_NOTIFY, CHANNEL, " ".join(some))
