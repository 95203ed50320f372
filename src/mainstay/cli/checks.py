"""The checks of `mainstay doctor` of settings and of the database; each gives one finding and changes nothing."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from mainstay import jobs, main
from mainstay.cli import queries
from mainstay.kernel import migrations, partitions
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.parts import EVERYWHERE, PARTS, Part

Verdict = Literal["pass", "fail", "skip"]

SILENT_SECONDS = 10.0
LEAST_RUNWAY = timedelta(days=2)
OVERDUE_SECONDS = 300.0
ANNOUNCEMENT_SECONDS = 60.0
CLOCK_SECONDS = 2.0
LOOK_BACK = timedelta(hours=1)
_QUEUE_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `hint` says what to do where it failed."""

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


def passed(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, "pass", detail)


def failed(name: str, detail: str, hint: str) -> Finding:
    """Somebody has to act."""
    return Finding(name, "fail", detail, hint)


def explain_parts(environment: Mapping[str, str]) -> list[Finding]:
    """For each part of the service: whether it is used, which of its settings are missing, and what these are for."""
    wished = environment.get("PARTS", "").strip() or "operators"
    used = [part.strip() for part in wished.split(",")]
    return [
        *(_explain(name, part, environment, is_used=True) for name, part in EVERYWHERE.items()),
        *(_explain(name, part, environment, is_used=name in used) for name, part in PARTS.items()),
    ]


def _explain(name: str, part: Part, environment: Mapping[str, str], *, is_used: bool) -> Finding:
    missing = {setting: why for setting, why in part.needs.items() if not _has(environment, setting)}
    told = "; ".join(f"{setting} is missing: {why}" for setting, why in missing.items())
    about = f"part {name}"
    if not missing:
        return passed(about, f"{part.title}: complete")
    if not is_used:
        return Finding(about, "skip", f"{part.title}: not in PARTS; {told}")
    if environment.get("PROFILE", "").strip() == "development":
        return Finding(about, "skip", f"{part.title}: {told}; development does without")
    hint = f"Set {'it' if len(missing) == 1 else 'them'}" + (
        ", or take the part out of PARTS." if name in PARTS else "."
    )
    return failed(about, f"{part.title}: {told}", hint)


def _has(environment: Mapping[str, str], setting: str) -> bool:
    stands_in = [env for env in environment if env == "AWS_S3_BUCKET" or env.startswith("OBJECT_STORE_")]
    names = [setting, *(stands_in if setting == "OBJECT_STORE" else ())]
    return any(environment.get(name, "").strip() for name in names)


async def check_database(db: Database) -> Finding:
    """It answers, is of a version and encoding that will do, and takes writes."""
    started = time.perf_counter()
    server = await queries.server_everywhere(db)
    told = f"PostgreSQL {server['version'] // 10_000}, answers in {(time.perf_counter() - started) * 1_000:.0f} ms"
    if server["version"] < migrations.OLDEST_SERVER:
        return failed("database", f"{told}: too old", "Mainstay needs PostgreSQL 15 or newer.")
    if server["encoding"] != "UTF8":
        return failed("database", f"{told}: its encoding is {server['encoding']}", "Use a database with UTF8.")
    if server["is_standby"] or server["is_read_only"]:
        return failed("database", f"{told}: takes no writes", "Point DATABASE_URL at the primary.")
    return passed("database", told)


async def check_schema(db: Database) -> Finding:
    """The tables are those that this code expects."""
    found, wanted = await migrations.revision(db), migrations.newest()
    if found is None:
        return failed("schema", "the database has no tables of Mainstay", "Run 'mainstay migrate'.")
    if found < wanted:
        return failed("schema", f"at {found}, this code expects {wanted}", "Run 'mainstay migrate'.")
    if found > wanted:
        return failed("schema", f"at {found}, newer than this code ({wanted})", "Run the newer version of Mainstay.")
    return passed("schema", f"at {found}")


async def check_partitions(db: Database) -> Finding:
    """New rows have a partition to go to for days to come."""
    async with db.begin(readonly=True) as tx:
        left = {spec.table: await partitions.runway(tx, spec) for spec in main.partitioned()}
    table, least = min(left.items(), key=lambda one: one[1])
    if least < LEAST_RUNWAY:
        return failed(
            "partitions",
            f"{table} has room for {least}",
            "A running worker makes new ones, as 'mainstay migrate' does.",
        )
    return passed("partitions", f"{least.days} days ahead")


async def check_worker(db: Database) -> Finding:
    """A worker was heard of within the last ten seconds."""
    workers = await queries.live_workers_everywhere(db)
    live = [worker["name"] for worker in workers if worker["silent_seconds"] < SILENT_SECONDS]
    if live:
        return passed("worker", f"{len(live)} alive: {', '.join(live[:_QUEUE_NAMES_SHOWN])}")
    told = f"the last was heard of {workers[0]['silent_seconds']:.0f} s ago" if workers else "none runs"
    return failed("worker", told, "Start one with 'mainstay worker'; without it jobs and deliveries wait.")


async def check_job_store(db: Database) -> Finding:
    """A job can be put in line; the one made for the check is taken back."""
    started = time.perf_counter()
    async with db.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await jobs.enqueue(Tx(connection), "doctor.probe", None, queue=jobs.UPKEEP)
        finally:
            await transaction.rollback()
    return passed("job store", f"takes jobs, in {(time.perf_counter() - started) * 1_000:.0f} ms")


async def check_queues(db: Database) -> Finding:
    """No job of a queue that runs has been due for more than five minutes."""
    stats = await jobs.stats(db)
    overdue = {
        row["queue"]: row["overdue_seconds"]
        for row in await queries.overdue_everywhere(db, sorted(stats))
        if row["overdue_seconds"] > OVERDUE_SECONDS and not stats[row["queue"]].paused
    }
    told = "; ".join(
        f"{name} {one.waiting} waiting, {one.active} active, {one.delayed} delayed, {one.retrying} retrying,"
        f" {one.dead} dead{', PAUSED' if one.paused else ''}"
        for name, one in stats.items()
        if one.paused or one.waiting or one.active or one.delayed or one.retrying or one.dead
    )
    if overdue:
        late = ", ".join(f"{name} by {seconds:.0f} s" for name, seconds in overdue.items())
        return failed("queues", f"late: {late}; {told}", "Start more workers, or see 'logs' for what keeps failing.")
    return passed("queues", told or "all empty")


async def check_trouble(db: Database) -> Finding:
    """No job but a delivery, whose receiver may be at fault, died within the last hour."""
    trouble = await queries.recent_trouble_everywhere(db, LOOK_BACK, [jobs.WEBHOOK])
    told = f"in the last hour {trouble['failed']} attempts failed"
    if trouble["latest"]:
        told += f", the last: {trouble['latest']}"
    if trouble["dead"]:
        return failed("jobs", f"{trouble['dead']} jobs died; {told}", "Mend what they complain of, then redrive them.")
    return passed("jobs", told)


async def check_announcements(db: Database) -> Finding:
    """What rooms announced reaches the audit log within a minute."""
    waiting = await queries.announcements_everywhere(db)
    told = f"{max(waiting['lag_seconds'], 0.0):.0f} s behind, {waiting['stuck']} stuck"
    if waiting["stuck"] or waiting["lag_seconds"] > ANNOUNCEMENT_SECONDS:
        return failed("announcements", told, "A worker relays them: is one alive, and what do its logs say?")
    return passed("announcements", told)


async def check_clock(db: Database) -> Finding:
    """This machine and the database agree on the time to two seconds."""
    await queries.server_everywhere(db)
    before = time.time()
    server = await queries.server_everywhere(db)
    skew = (before + time.time()) / 2 - server["clock_seconds"]
    told = f"this machine is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the database"
    if abs(skew) > CLOCK_SECONDS:
        return failed("clock", told, "Let NTP set both: signatures and access tokens depend on the time.")
    return passed("clock", told)


CHECKS: tuple[tuple[str, Callable[[Database], Awaitable[Finding]]], ...] = (
    ("database", check_database),
    ("schema", check_schema),
    ("partitions", check_partitions),
    ("worker", check_worker),
    ("job store", check_job_store),
    ("queues", check_queues),
    ("jobs", check_trouble),
    ("announcements", check_announcements),
    ("clock", check_clock),
)
