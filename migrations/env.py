"""Runs migrations in one session under an advisory lock, with bounded waits for locks and statements."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_ADVISORY_KEY = 0x6D61696E_00000002


def _run(connection: Connection) -> None:
    connection.execute(text("set lock_timeout = '5s'"))
    connection.execute(text("set statement_timeout = '10min'"))
    connection.execute(text(f"select pg_advisory_lock({_ADVISORY_KEY})"))
    connection.execute(text("create schema if not exists mainstay"))
    connection.commit()
    context.configure(
        connection=connection,
        version_table="migrations",
        version_table_schema="mainstay",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text(f"select pg_advisory_unlock({_ADVISORY_KEY})"))


async def _main() -> None:
    url = context.config.attributes["url"].replace("postgres://", "postgresql://", 1)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())
