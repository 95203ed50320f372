"""Redis, where there is one: every call ends within 250 ms or is not made, and nothing that matters is kept there."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import Gauge
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError, RedisError, ResponseError

from mainstay.kernel.logs import logger
from mainstay.kernel.telemetry import REGISTRY

_log = logger(__name__)
TIMEOUT_SECONDS = 0.25
REST_SECONDS = 1.0
CONNECTIONS = 16

UP = Gauge("redis_up", "Whether Redis answered when it was last asked", ["use"], registry=REGISTRY)


class Away(Exception):
    """What was asked does not answer, in time or at all."""


class Breaker:
    """Lets nobody ask for a second after a failure, then one alone; everybody again once that one had its answer."""

    def __init__(self, *, rest_seconds: float = REST_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rest_seconds = rest_seconds
        self._monotonic = monotonic
        self._rests_until: float | None = None
        self._is_probing = False

    def enter(self) -> bool:
        """Whether the caller may ask; true must be followed by `succeeded`, `failed` or `left`."""
        if self._rests_until is None:
            return True
        if self._is_probing or self._monotonic() < self._rests_until:
            return False
        self._is_probing = True
        return True

    def succeeded(self) -> None:
        """There was an answer."""
        self._rests_until, self._is_probing = None, False

    def failed(self) -> None:
        """There was none."""
        self._rests_until, self._is_probing = self._monotonic() + self._rest_seconds, False

    def left(self) -> None:
        """The caller was cancelled before it knew."""
        self._is_probing = False


class Script:
    """A Lua script, sent whole once and by its digest from then on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """A client of one Redis; connects when first asked, and again after every loss.

    `use` says in metrics and logs what for. `token` is the password, in place of one in the url.
    """

    def __init__(
        self,
        url: str,
        *,
        use: str,
        token: str | None = None,
        prefix: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        if token is not None:
            pool.connection_kwargs["password"] = token
        self.prefix = prefix
        self._pool = pool
        self._free: list[Any] = []
        self._use = use
        self.timeout_seconds = timeout_seconds
        self._breaker = breaker or Breaker()
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._is_up: bool | None = None

    async def ask(self, *command: str | bytes | int | float) -> Any:
        """The answer to one command; Away unless it comes in time. Keys are given with `key`."""
        return await self._within(lambda: self._converse(*command))

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | int], *, within_seconds: float | None = None
    ) -> Any:
        """The answer of the script, run as one step on those keys (the prefix is put before them); Away as with ask,
        or where it takes longer than told."""
        given = (len(keys), *(self.key(one) for one in keys), *args)
        return await self._within(lambda: self._evaluate(script, given), within_seconds)

    def key(self, name: str) -> str:
        """The key as it stands in Redis."""
        return self.prefix + name

    async def close(self) -> None:
        """Every connection is closed."""
        while self._free:
            await self._free.pop().disconnect()

    async def _evaluate(self, script: Script, given: tuple[str | int, ...]) -> Any:
        try:
            return await self._converse("EVALSHA", script.digest, *given)
        except NoScriptError:
            return await self._converse("EVAL", script.text, *given)

    async def _converse(self, *command: str | bytes | int | float) -> Any:
        """The answer over a connection that nobody else uses meanwhile: what stood idle is tried, then a new one.

        The client's own way from a command to its answer takes three times as long.
        """
        while self._free:
            connection = self._free.pop()
            with suppress(Lost):
                return await self._exchange(connection, command)
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return await self._exchange(connection, command)

    async def _exchange(self, connection: Any, command: tuple[str | bytes | int | float, ...]) -> Any:
        try:
            await connection.send_packed_command(_packed(command), check_health=False)
            answer = await connection.read_response(disable_decoding=True)
        except ResponseError:
            self._free.append(connection)
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._free.append(connection)
        return answer

    async def _within(self, call: Callable[[], Any], seconds: float | None = None) -> Any:
        if not self._breaker.enter():
            raise Away(f"Redis for {self._use} is left alone for a moment")
        try:
            async with asyncio.timeout(self.timeout_seconds if seconds is None else seconds), self._turns:
                answer = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed()
            self._tell(is_up=False, why=type(error).__name__)
            raise Away(f"Redis for {self._use}: {type(error).__name__}") from error
        except BaseException:
            self._breaker.left()
            raise
        self._breaker.succeeded()
        self._tell(is_up=True)
        return answer

    def _tell(self, *, is_up: bool, why: str = "") -> None:
        if is_up is self._is_up:
            return
        UP.labels(self._use).set(is_up)
        if not is_up:
            _log.warning("Redis does not answer", use=self._use, error=why)
        elif self._is_up is False:
            _log.info("Redis answers again", use=self._use)
        self._is_up = is_up


def _packed(command: Sequence[str | bytes | int | float]) -> bytes:
    """The command as it goes over the wire; the client's own way takes four times as long."""
    parts = [b"*%d\r\n" % len(command)]
    for one in command:
        text = one if isinstance(one, bytes) else str(one).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)
