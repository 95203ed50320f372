"""Statements about applications that serve functions."""

from datetime import datetime

from mainstay.kernel.db import Connection, Record, Sql, Tx

_REGISTER = Sql(
    "functions.register_app",
    """insert into mainstay.function_apps as a (id, url, sdk, functions) values ($1, $2, $3, $4)
       on conflict (id) do update
         set url = excluded.url, sdk = excluded.sdk, functions = excluded.functions, version = excluded.version,
             registered_at = mainstay.now()
         where (a.url, a.sdk, a.functions::text) <> (excluded.url, excluded.sdk, excluded.functions::text)
       returning id""",
)
_NEWER = Sql(
    "functions.newer_apps",
    "select id, url, functions, version from mainstay.function_apps where version > $1 order by version",
)
_LOCK = Sql("functions.lock_apps", "select pg_advisory_xact_lock(hashtext('mainstay.function_apps'))")
_NOW = Sql("functions.cron_now", "select mainstay.now()")


async def register_app_everywhere(tx: Tx, app_id: str, url: str, sdk: str, functions: str) -> bool:
    """The application is on record; whether that changed anything."""
    return await tx.value(_REGISTER, app_id, url, sdk, functions) is not None


async def lock_apps_everywhere(tx: Tx) -> None:
    """Until the transaction ends no other application is registered, so versions are committed in their order."""
    await tx.rows(_LOCK)


async def newer_apps_everywhere(db: Connection, version: int) -> list[Record]:
    """Applications that were registered anew since that version."""
    return await db.rows(_NEWER, version)


async def cron_now_everywhere(tx: Tx) -> datetime:
    """The database's time."""
    now: datetime = await tx.value(_NOW)
    return now
