"""Jobs that a company asks for: how they are shown, their files, and when these go."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson

from mainstay import archive
from mainstay.erasure.errors import JobNotFound, NoFile
from mainstay.erasure.queries import company_jobs as queries
from mainstay.kernel import ids
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.objects import ObjectNotFound, Objects

KEPT = timedelta(days=7)
PATH = "/v1/key/company/jobs"
SHOWN = 50
"""So many jobs are listed, the newest."""
_ROUND = 100


def prefix_of(company_id: str, job_id: str) -> str:
    """Below which a job's files are."""
    return f"gdpr/{company_id}/{job_id}"


def name_of(row: Record, run: int) -> str:
    """The file of one run of a job."""
    return f"{row['object']}/{run}.ndjson.gz"


async def read(db: Connection, company_id: str, job_id: str) -> dict[str, Any]:
    """One job as it is shown; JobNotFound."""
    return _shown(await _get(db, company_id, job_id))


async def read_all(db: Connection, company_id: str) -> list[dict[str, Any]]:
    """The company's jobs, newest first, each with who asked for it."""
    rows = await queries.list_some(db, company_id, limit=SHOWN)
    return [{**_shown(row), "createdBy": orjson.loads(row["created_by"])} for row in rows]


def _shown(row: Record) -> dict[str, Any]:
    result = None
    if row["status"] == "completed":
        has_file = row["object"] is not None
        result = {
            "downloadUrl": f"{PATH}/{row['id']}/file" if has_file else None,
            "rows": row["rows"],
            "expiresAt": iso(row["expires_at"]),
        }
    return {
        "id": str(row["id"]),
        "type": row["type"],
        "status": row["status"],
        "progress": row["progress"],
        "createdAt": iso(row["created_at"]),
        "completedAt": None if row["completed_at"] is None else iso(row["completed_at"]),
        "error": row["failure"],
        "result": result,
    }


async def open_file(
    db: Connection, stores: archive.Stores, company_id: str, job_id: str
) -> tuple[int, AsyncIterator[bytes]]:
    """The size and the bytes of the job's file; NoFile where it has none (any more)."""
    row = await _get(db, company_id, job_id)
    if row["status"] != "completed" or row["object"] is None:
        raise NoFile
    store, name = stores.get(row["data_region"]), name_of(row, row["run"])
    try:
        found = await store.head(name)
    except ObjectNotFound:
        raise NoFile from None
    return found.bytes, store.get(name, etag=found.etag)


async def forget_files(db: Database, stores: archive.Stores, company_id: str) -> int:
    """Every file of the company is gone, and what is being gathered is gathered anew; how many jobs had files."""
    async with db.begin() as tx:
        await queries.run_again(tx, company_id)
    rows = await queries.files_of(db, company_id)
    for row in rows:
        await _forget(db, stores, company_id, row)
    return len(rows)


async def expire(db: Database, stores: archive.Stores) -> int:
    """Files whose time is over are gone; how many jobs had them."""
    gone = 0
    while rows := await queries.expired_everywhere(db, _ROUND):
        for row in rows:
            await _forget(db, stores, str(row["company_id"]), row)
            gone += 1
    return gone


async def clear(store: Objects, prefix: str) -> None:
    """Nothing is left below the prefix."""
    for name in [one.name async for one in store.list(prefix)]:
        await store.delete(name)


async def _forget(db: Database, stores: archive.Stores, company_id: str, row: Record) -> None:
    store = stores.find(row["data_region"])
    if store is not None:
        await clear(store, row["object"])
    await queries.forget(db, company_id, str(row["id"]))


async def _get(db: Connection, company_id: str, job_id: str) -> Record:
    row = await queries.find(db, company_id, job_id) if ids.is_uuid(job_id) else None
    if row is None:
        raise JobNotFound
    return row
