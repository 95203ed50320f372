"""What is looked after every minute: runs whose job is gone, places nobody holds, and what is kept long enough."""

from datetime import timedelta

from mainstay.functions.ending import cancel_runs
from mainstay.functions.limits import hand_on
from mainstay.functions.queries import limits as limit_rows
from mainstay.functions.queries import operating as operating_rows
from mainstay.functions.queries import runs as rows
from mainstay.functions.queries import sending as key_rows
from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Database

KEPT = timedelta(days=30)
_BATCH = 1_000
_NO_ID = "00000000-0000-0000-0000-000000000000"
_ENDED = ("completed", "failed", "cancelled", "skipped")


async def keep(db: Database) -> None:
    """The tables hold what they should: no run without a job, no place without a run, nothing that is too old."""
    await end_orphans(db)
    await hand_on_places(db)
    await prune(db)
    for state, count in (await operating_rows.count_open_everywhere(db)).items():
        telemetry.FUNCTION_OPEN.labels(state).set(count)


async def end_orphans(db: Database) -> int:
    """Runs whose job was cancelled, or died without them, are cancelled; how many."""
    after, count = _NO_ID, 0
    while True:
        async with db.begin() as tx:
            found = await rows.orphans_everywhere(tx, after, _BATCH)
            by_reason: dict[str, list[str]] = {}
            for row in found:
                reason = "its job was cancelled" if row["error"] is None else f"its job died: {row['error'][:300]}"
                by_reason.setdefault(reason, []).append(str(row["id"]))
            for reason, run_ids in by_reason.items():
                count += len(await cancel_runs(tx, run_ids, reason))
        if len(found) < _BATCH:
            return count
        after = str(found[-1]["id"])


async def hand_on_places(db: Database) -> None:
    """Whoever stands in line for a place that is free has it."""
    by_domain: dict[str, list[str]] = {}
    for row in await limit_rows.keys_waited_for_everywhere(db, _BATCH):
        by_domain.setdefault(row["domain"], []).append(row["limit_key"])
    for domain, keys in by_domain.items():
        async with db.begin() as tx:
            await limit_rows.lock_limits_everywhere(tx, [domain])
            await hand_on(tx, keys)


async def prune(db: Database) -> None:
    """Runs that ended over 30 days ago are gone with their steps, and keys that say nothing any more."""
    before = ids.lowest_id(await operating_rows.now_everywhere(db) - KEPT)
    while await rows.prune_runs_everywhere(db, before, _ENDED, _BATCH) == _BATCH:
        pass
    while await key_rows.prune_keys_everywhere(db, _BATCH) == _BATCH:
        pass
    while await limit_rows.prune_paces_everywhere(db, _BATCH) == _BATCH:
        pass
