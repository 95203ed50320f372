"""Where limits are counted, what happens when that does not answer, and the moves between memory and table."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from prometheus_client import Counter, Gauge

from mainstay.kernel import outbox, telemetry
from mainstay.kernel.clock import Clock, SystemClock, iso
from mainstay.kernel.db import Database
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.kernel.redis import TIMEOUT_SECONDS, Away, Redis
from mainstay.kernel.settings import Settings
from mainstay.limits import postgres
from mainstay.limits.errors import StoreAway
from mainstay.limits.memory import Memory
from mainstay.limits.nodes import BEAT, Nodes
from mainstay.limits.policies import closed_of
from mainstay.limits.postgres import PostgreSQL
from mainstay.limits.redis_store import RedisStore
from mainstay.limits.standing import Standing
from mainstay.limits.store import Rule, Store, Taken

_log = logger(__name__)
_CONNECTIONS = 4
_MOVE_SECONDS = 5.0
_MOST_MOVED = 50_000
_MOST_UNTOLD = 20
_ACTOR = Actor(kind="system", id="limits", name="Rate limits")

STORE = Gauge("rate_limit_store", "1 for where limits are counted", ["kind"], registry=telemetry.REGISTRY)
FAIL_OPEN = Counter(
    "rate_limit_fail_open_total",
    "Calls that passed uncounted because the store of limits did not answer",
    ["policy"],
    registry=telemetry.REGISTRY,
)

Kind = Literal["memory", "postgresql", "redis", "by_nodes"]


def kind_wanted(settings: Settings) -> Kind:
    """Where limits are counted: as RATE_LIMIT_STORE says, else in Redis where one is set, else as nodes run (C-19)."""
    if settings.rate_limit_store != "auto":
        return settings.rate_limit_store
    return "redis" if settings.rate_limit_redis_url or settings.redis_url else "by_nodes"


def redis_of(settings: Settings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Redis:
    """The Redis of limits: RATE_LIMIT_REDIS_URL with its token, else REDIS_URL."""
    url, token = settings.rate_limit_redis_url, settings.rate_limit_redis_token
    assert url or settings.redis_url
    return Redis(url or settings.redis_url or "", use="limits", token=token, timeout_seconds=timeout_seconds)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an answer may take, a store must answer before it is back, and a node be alone to leave the table."""

    answer: timedelta = timedelta(seconds=TIMEOUT_SECONDS)
    beat: timedelta = BEAT
    alone: timedelta = timedelta(minutes=1)
    settled: timedelta = timedelta(seconds=5)


class Limits:
    """Counts calls of one process in the store that settings and the number of nodes ask for."""

    def __init__(
        self, settings: Settings, home: Database, *, clock: Clock | None = None, pace: Pace | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._pace = pace or Pace()
        self._home = home
        # Of its own, so that calls are counted while every connection of the requests is taken.
        self._pool = Database(
            settings.database_url,
            size=_CONNECTIONS,
            statement_cache=settings.database_statement_cache,
            name="mainstay limits",
        )
        self._closed = closed_of(settings)
        self._wanted = kind_wanted(settings)
        self._memory = Memory(monotonic=self._clock.monotonic)
        patience = self._pace.answer.total_seconds()
        self._table = PostgreSQL(self._pool, timeout_seconds=patience)
        self._nodes = Nodes(home) if self._wanted == "by_nodes" else None
        self._store: Store = self._memory
        if self._wanted == "redis":
            self._store = RedisStore(redis_of(settings, timeout_seconds=patience))
        elif self._wanted == "postgresql":
            self._store = self._table
        self._moving: asyncio.Event | None = None
        self._inside = 0
        self._ended = asyncio.Event()
        self._ended.set()
        self._alone_since: float | None = None
        self._away = Standing(self._pace.settled.total_seconds())
        self._untold: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MOST_UNTOLD)
        self._is_beating = True

    @property
    def kind(self) -> str:
        """Where calls are counted now."""
        return self._store.kind

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer, so that calls pass uncounted."""
        return self._away.is_away

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """As `Store.take`; where the store is away the call passes uncounted, or StoreAway for what is closed then."""
        if cost < 1:
            raise ValueError("a call costs 1 or more")
        if self._moving is None and self._store is self._memory:
            return await self._memory.take(key, rule, cost, peek=peek)
        try:
            taken: Taken = await self._ask(lambda store: store.take(key, rule, cost, peek=peek))
        except Away as error:
            return self._passed(rule, error)
        return taken

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """As `Store.give_back`; nothing happens where the store is away."""
        with suppress(Away):
            await self._ask(lambda store: store.give_back(key, rule, cost, held_seconds=held_seconds))

    async def open(self) -> None:
        """The process is among the nodes, where their number matters, and counts where they do."""
        try:
            if self._nodes is not None and await self._nodes.join():
                self._store = self._table
            if self._store is self._table:
                await self._pool.open()
        except Exception as error:
            _log.warning("the database does not answer yet", store=self.kind, error=type(error).__name__)
        self._tell_kind()

    async def run(self, stop: asyncio.Event) -> None:
        """Beats, tells and moves until `stop` is set; then everything is closed."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._pace.beat.total_seconds())
            if not stop.is_set():
                await self._round()
        await self.close()

    async def run_once(self) -> None:
        """The process is known to live and counts where it should; what went away or came back is announced."""
        if self._nodes is not None:
            await self._beat(self._nodes)
        if self._away.is_away:
            with suppress(Away):
                await self._ask(lambda store: store.check())
        await self._announce()

    async def close(self) -> None:
        """The process is no node any more, and holds nothing open."""
        if self._nodes is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._nodes.leave(), 1.0)
        await self._store.close()
        await self._pool.close()

    async def _beat(self, nodes: Nodes) -> None:
        if await nodes.beat(self._store.kind):
            self._alone_since = None
            if self._store is self._memory:
                await self._share()
        elif self._store is self._table:
            now = time.monotonic()
            self._alone_since = self._alone_since or now
            if now - self._alone_since >= self._pace.alone.total_seconds():
                await self._leave_the_table()

    async def _round(self) -> None:
        try:
            await asyncio.wait_for(self.run_once(), 2 * _MOVE_SECONDS)
        except Exception as error:
            telemetry.LOOP_ERRORS.labels("limit_nodes").inc()
            if self._is_beating:
                _log.warning("this process cannot tell the other API nodes that it lives", error=type(error).__name__)
            self._is_beating = False
        else:
            telemetry.LOOP_LAST_RUN.labels("limit_nodes").set_to_current_time()
            self._is_beating = True

    async def _ask(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """What the store answers; Away where it does not, or where a move takes too long."""
        if self._moving is not None:
            try:
                await asyncio.wait_for(self._moving.wait(), self._pace.answer.total_seconds())
            except TimeoutError as error:
                raise Away("counters are being moved") from error
        store = self._store
        self._inside += 1
        self._ended.clear()
        try:
            answer = await call(store)
        except Away as error:
            self._note(error, store)
            raise
        except Exception as error:
            _log.error("the store of limits is broken", store=store.kind, exc_info=True)
            self._note(error, store)
            raise Away(type(error).__name__) from error
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._ended.set()
        self._note(None, store)
        return answer

    def _passed(self, rule: Rule, error: Away) -> Taken:
        if rule.name in self._closed:
            raise StoreAway from error
        FAIL_OPEN.labels(rule.name).inc()
        self._away.passed += 1
        return Taken(True, rule.allowance, rule.allowance, 0.0, 0.0, is_counted=False)

    def _note(self, error: Exception | None, store: Store) -> None:
        change = self._away.after(error is None, time.monotonic())
        if change is None:
            return
        data: dict[str, Any] = {"store": store.kind, "at": iso(self._clock.now())}
        if change == "away":
            data["error"] = str(error)
            _log.error("limits are not counted: their store does not answer", store=store.kind, error=str(error))
        else:
            data["letPass"] = self._away.passed
            _log.warning("limits are counted again", store=store.kind, let_pass=self._away.passed)
            self._away.passed = 0
        self._untold.append((f"limit.store_{change}", data))

    async def _announce(self) -> None:
        while self._untold:
            name, data = told = self._untold.popleft()
            try:
                async with self._home.begin() as tx:
                    await outbox.announce(tx, name, company_id=None, actor=_ACTOR, data=data)
            except BaseException:
                self._untold.appendleft(told)
                raise

    async def _share(self) -> None:
        """What memory counted counts in the table, and so does every call from then on."""
        assert self._nodes is not None
        await self._pool.open()
        async with self._moved(), asyncio.timeout(_MOVE_SECONDS):
            async with self._home.begin() as tx:
                await self._nodes.others_locked(tx)
                await postgres.carry(tx, self._memory.counted(_MOST_MOVED))
                await self._nodes.moved(tx, self._table.kind)
            self._memory.forget()
            self._store = self._table
        self._tell_kind()

    async def _leave_the_table(self) -> None:
        """What the table counted counts in memory, unless another node came or it is too much for a pause."""
        assert self._nodes is not None
        self._alone_since = None
        async with self._moved(), asyncio.timeout(_MOVE_SECONDS):
            await self._ended.wait()
            async with self._home.begin() as tx:
                if await self._nodes.others_locked(tx):
                    return
                counted = await postgres.take_away(tx, _MOST_MOVED)
                if counted is None:
                    return
                await self._nodes.moved(tx, self._memory.kind)
            self._memory.carry(counted)
            self._store = self._memory
        self._tell_kind()

    @asynccontextmanager
    async def _moved(self) -> AsyncIterator[None]:
        """Calls wait while counters are on their way, so that none is missed and none counted twice."""
        self._moving = asyncio.Event()
        try:
            yield
        finally:
            self._moving.set()
            self._moving = None

    def _tell_kind(self) -> None:
        for kind in ("memory", "postgresql", "redis"):
            STORE.labels(kind).set(kind == self.kind)
        _log.info("limits are counted", store=self.kind, wanted=self._wanted)
