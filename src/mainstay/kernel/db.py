"""PostgreSQL: one pool, named statements, one type of transaction, and errors that say when to try again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import asyncpg
from sqlalchemy import Dialect, MetaData
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.sql import ClauseElement, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

from mainstay.kernel import telemetry
from mainstay.kernel.errors import Unavailable

metadata = MetaData(
    schema="mainstay",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)
"""The tables of every room, as their `tables.py` declare them; migrations are checked against it."""

Record: TypeAlias = asyncpg.Record
_DIALECT: Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_COMPILED: Any = LRUCache(512)

GONE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
)
"""What asyncpg raises while the database is away, starting, stopping or failing over."""

RACED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
"""What a transaction may meet that succeeds when it is run again from its start."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement with the name that it has in metrics (`room.what_it_does`)."""

    name: str
    text: str


def compose(name: str, statement: ClauseElement) -> tuple[Any, ...]:
    """A SQLAlchemy Core statement as (Sql, *arguments) for the four verbs; values go to the driver as they are.

    A query that differs from an earlier one in values alone takes its text over: writing it anew takes milliseconds.
    """
    given = None
    compiled: Any = None
    if isinstance(statement, Select):
        compiled, given = statement._compile_w_cache(_DIALECT, compiled_cache=_COMPILED, column_keys=[])[:2]
    if compiled is None or compiled.post_compile_params:
        compiled, given = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True}), None
    assert isinstance(compiled, SQLCompiler)
    values = compiled.construct_params(extracted_parameters=given)
    return (Sql(name, str(compiled)), *(values[key] for key in compiled.positiontup or ()))


class Connection(Protocol):
    """The four verbs, inside a transaction (Tx) or each in its own (Database)."""

    async def rows(self, sql: Sql, *args: Any) -> list[Record]: ...

    async def row(self, sql: Sql, *args: Any) -> Record | None: ...

    async def value(self, sql: Sql, *args: Any) -> Any: ...

    async def run(self, sql: Sql, *args: Any) -> str: ...


class Tx:
    """An explicitly begun transaction; who opened it commits it. `cleared` are keys of the cache that it makes old."""

    __slots__ = ("cleared", "connection")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.cleared: list[str] = []

    async def rows(self, sql: Sql, *args: Any) -> list[Record]:
        """All rows."""
        started = time.perf_counter()
        found: list[Record] = await self.connection.fetch(sql.text, *args)
        telemetry.observe_query(sql.name, time.perf_counter() - started)
        return found

    async def row(self, sql: Sql, *args: Any) -> Record | None:
        """The first row, or None."""
        started = time.perf_counter()
        found: Record | None = await self.connection.fetchrow(sql.text, *args)
        telemetry.observe_query(sql.name, time.perf_counter() - started)
        return found

    async def value(self, sql: Sql, *args: Any) -> Any:
        """The first column of the first row, or None."""
        found = await self.row(sql, *args)
        return None if found is None else found[0]

    async def run(self, sql: Sql, *args: Any) -> str:
        """The command's tag, such as `UPDATE 3`."""
        started = time.perf_counter()
        tag: str = await self.connection.execute(sql.text, *args)
        telemetry.observe_query(sql.name, time.perf_counter() - started)
        return tag

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator["Tx"]:
        """A part that can fail alone: on an exception only its own writes are undone."""
        async with self.connection.transaction():
            yield self


class Database:
    """A pool of connections to one PostgreSQL; connects when first used and again after every loss."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 10,
        statement_cache: int = 512,
        name: str = "mainstay",
        acquire_seconds: float = 5.0,
    ) -> None:
        self.dsn = dsn
        self.size = size
        self._statement_cache = statement_cache
        self._name = name
        self._acquire_seconds = acquire_seconds
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self.on_cleared: Callable[[Sequence[str]], Awaitable[object]] | None = None

    async def open(self) -> None:
        """The pool exists and has one live connection; Unavailable where the database does not answer."""
        await self._opened()

    async def _opened(self) -> asyncpg.Pool:
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._pool is None:
                try:
                    self._pool = await asyncpg.create_pool(
                        self.dsn,
                        min_size=1,
                        max_size=self.size,
                        timeout=self._acquire_seconds,
                        command_timeout=60,
                        statement_cache_size=self._statement_cache,
                        max_inactive_connection_lifetime=300,
                        server_settings={"application_name": self._name} if self._statement_cache else None,
                        reset=_reset,
                    )
                except GONE as error:
                    raise Unavailable from error
        return self._pool

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Every connection is closed, in time or by force."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), timeout_seconds)
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A raw driver connection from the pool, outside any transaction."""
        pool = await self._opened()
        try:
            async with pool.acquire(timeout=self._acquire_seconds) as connection:
                yield connection
        except GONE as error:
            raise Unavailable from error
        finally:
            telemetry.POOL_SIZE.set(pool.get_size())

    @asynccontextmanager
    async def begin(self, *, isolation: str | None = None, readonly: bool = False) -> AsyncIterator[Tx]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Once it has committed, what it cleared is dropped from the cache of this process, before the caller goes on.
        """
        async with self.connection() as connection:
            tx = Tx(connection)
            async with connection.transaction(isolation=isolation, readonly=readonly):
                yield tx
        if tx.cleared and self.on_cleared is not None:
            await asyncio.shield(self.on_cleared(tx.cleared))

    async def rows(self, sql: Sql, *args: Any) -> list[Record]:
        """All rows of one statement in a transaction of its own."""
        async with self.connection() as connection:
            return await Tx(connection).rows(sql, *args)

    async def row(self, sql: Sql, *args: Any) -> Record | None:
        """The first row of one statement, or None."""
        async with self.connection() as connection:
            return await Tx(connection).row(sql, *args)

    async def value(self, sql: Sql, *args: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            return await Tx(connection).value(sql, *args)

    async def run(self, sql: Sql, *args: Any) -> str:
        """One statement in a transaction of its own; its tag."""
        async with self.connection() as connection:
            return await Tx(connection).run(sql, *args)


async def _reset(connection: Any) -> None:
    """Nothing here keeps session state, so a connection goes back as it is, unless a transaction was cut off."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


def count_of(tag: str) -> int:
    """How many rows a command's tag speaks of (`UPDATE 3` is 3)."""
    return int(tag.rpartition(" ")[2])
