"""Everything that is stored about one person, stored and archived, gathered into a file for them."""

import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from mainstay import archive, jobs
from mainstay.erasure import company_jobs, subjects
from mainstay.erasure.errors import TooMany
from mainstay.erasure.ground import Ground
from mainstay.erasure.queries import company_jobs as queries
from mainstay.erasure.schemas import GdprExportIn
from mainstay.kernel import ids, outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.objects import ObjectNotFound
from mainstay.kernel.work import Job, Outcome, Retry
from mainstay.web.callers import Caller

KIND = "gdpr_export"
RUN = "erasure.gather"
QUEUE = "mainstay:archive"
MOST_UNDER_WAY = 10
_STEP = 2_000
_DAYS = 100


async def request(db: Database, keyring: Keyring, caller: Caller, wanted: GdprExportIn) -> dict[str, Any]:
    """A job will gather the person's events of all workspaces; `person.gathered` when it has. TooMany over 10."""
    person = subjects.named(wanted.actorId, wanted.actorEmail)
    job_id, company_id = ids.new_id(), caller.company_id
    async with db.begin() as tx:
        if await queries.count_under_way(tx, company_id) >= MOST_UNDER_WAY:
            raise TooMany(f"{MOST_UNDER_WAY} jobs are under way.")
        by = msgspec.json.encode(caller.actor).decode()
        kept = subjects.sealed(keyring, job_id, person)
        values = (KIND, caller.region, kept, company_jobs.prefix_of(company_id, job_id), by)
        await queries.add(tx, company_id, job_id, values, kept=company_jobs.KEPT)
        payload = {"companyId": company_id, "jobId": job_id}
        await jobs.enqueue(
            tx, RUN, payload, queue=QUEUE, lane=company_id, company_id=company_id, dedupe_key=f"gather {job_id}"
        )
        data = {"jobId": job_id, "subjectDigest": subjects.digest(keyring, person).hex()}
        await outbox.announce(tx, "person.export_requested", company_id=company_id, actor=caller.actor, data=data)
    return await company_jobs.read(db, company_id, job_id)


async def run(ground: Ground, db: Database, job: Job) -> Outcome:
    """The job's file holds every event of the person that was stored when it was asked for, an event a line."""
    company_id, job_id = job.payload["companyId"], job.payload["jobId"]
    async with db.begin() as tx:
        await jobs.confirm(tx, job)
        row = await queries.start(tx, company_id, job_id)
    if row is None:
        return None
    try:
        is_done = await _gather(Gathering(ground, db, row), job)
    except (MainstayError, archive.Damaged) as error:
        await queries.fail(db, company_id, job_id, row["run"], str(error))
        return Retry(str(error))
    return None if is_done else Retry("an erasure came between")


class Gathering:
    """One run: what it found so far, and how far it is."""

    def __init__(self, ground: Ground, db: Database, row: Record) -> None:
        self.ground = ground
        self.db = db
        self.row = row
        self.company_id, self.job_id, self.run = str(row["company_id"]), str(row["id"]), int(row["run"])
        self.person = subjects.opened(ground.keyring, self.job_id, row["subject_sealed"])
        self.rows = 0
        self._looked_at = 0
        self._told = 0

    async def packed(self) -> AsyncIterator[bytes]:
        """Yields the lines, compressed."""
        packing = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        async for lines in self._lines():
            self.rows += len(lines)
            if piece := packing.compress(b"".join(line + b"\n" for line in lines)):
                yield piece
        yield packing.flush()

    async def _lines(self) -> AsyncIterator[list[bytes]]:
        heads = [
            (db, head) for _, db in self.ground.regions.all() for head in await self.person.heads(db, self.company_id)
        ]
        total = sum(head["seq"] for _, head in heads)
        for db, head in heads:
            workspace_id = str(head["workspace_id"])
            if head["cut"]:
                async for lines in self._archived(db, workspace_id, head["cut"]):
                    yield lines
            after = head["cut"]
            while after < head["seq"]:
                until = min(after + _STEP, head["seq"])
                lines, seen = await self.person.rows(db, self.company_id, workspace_id, after=after, until=until)
                yield lines
                await self._tell(seen - after, total)
                after = seen

    async def _archived(self, db: Database, workspace_id: str, cut: int) -> AsyncIterator[list[bytes]]:
        """The events that left the table, oldest first."""
        ground = self.ground.archive_of(db)
        days: list[archive.ArchiveDay] = []
        before = None
        while found := await archive.list_days(
            db, self.company_id, workspace_id=workspace_id, archived_only=True, before=before, limit=_DAYS
        ):
            days += found
            before = (found[-1].day, workspace_id)
        for one in reversed(days):
            day = archive.Day(self.company_id, workspace_id, one.day)
            try:
                async for lines in archive.read_day(ground, day):
                    yield self.person.matching(lines, until=cut)
            except ObjectNotFound:
                raise MainstayError(
                    f"the archive of {one.day} is missing, so that the file would not be whole"
                ) from None

    async def _tell(self, looked_at: int, total: int) -> None:
        self._looked_at += looked_at
        percent = min(99, self._looked_at * 100 // max(total, 1))
        if percent >= self._told + 5:
            self._told = percent
            await queries.set_progress(self.db, self.company_id, self.job_id, self.run, percent)


async def _gather(gathering: Gathering, job: Job) -> bool:
    row, ground = gathering.row, gathering.ground
    store = ground.stores.get(row["data_region"])
    await company_jobs.clear(store, row["object"])
    name = company_jobs.name_of(row, gathering.run)
    await store.put(name, gathering.packed())
    async with gathering.db.begin() as tx:
        await jobs.confirm(tx, job)
        is_done = await queries.complete(
            tx, gathering.company_id, gathering.job_id, gathering.run, rows=gathering.rows, kept=company_jobs.KEPT
        )
        if is_done:
            await _tell_gathered(tx, gathering)
    if not is_done:
        await store.delete(name)
    return is_done


async def _tell_gathered(tx: Tx, gathering: Gathering) -> None:
    row = gathering.row
    actor = msgspec.json.decode(row["created_by"], type=outbox.Actor)
    data = {"jobId": gathering.job_id, "rows": gathering.rows}
    await outbox.announce(tx, "person.gathered", company_id=gathering.company_id, actor=actor, data=data)
