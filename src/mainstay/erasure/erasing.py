"""The run of an erasure: stored events, archived days, copies elsewhere; in short steps, each known when it is done."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import orjson

from mainstay import archive, events, jobs
from mainstay.erasure import company_jobs, erasures, holds, subjects
from mainstay.erasure.ground import Ground
from mainstay.erasure.queries import copies
from mainstay.erasure.queries import erasures as queries
from mainstay.erasure.tables import COUNTS
from mainstay.kernel import outbox
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.objects import ObjectNotFound
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job, Outcome, Retry, Snooze

STEP = 2_000
"""Events that one transaction looks at; it ends sooner where 200 of them hold the person's texts."""
_ELSEWHERE_EVERY = timedelta(seconds=2)
_ELSEWHERE_AT_MOST = timedelta(minutes=5)
_WALKS_AT_MOST = 4
_PLURALS = dict(zip(events.PARTS, COUNTS[1:6], strict=True))
Fence = Callable[[Tx], Awaitable[None]]


class Stopped(Exception):
    """A legal hold is in the way."""

    def __init__(self, hold_id: str) -> None:
        super().__init__(hold_id)
        self.hold_id = hold_id


@dataclass(frozen=True, slots=True)
class Run:
    """One erasure on one database, as its job carries it out."""

    ground: Ground
    db: Database
    row: Record
    eraser: events.Eraser
    fence: Fence

    @property
    def ids(self) -> tuple[str, str]:
        """Company and erasure."""
        return str(self.row["company_id"]), str(self.row["id"])

    @property
    def is_dry(self) -> bool:
        """Whether it only counts."""
        return bool(self.row["is_dry_run"])

    async def check(self, tx: Tx, found: Sequence[Any] = ()) -> None:
        """The job is still ours, and no hold is in the way of what was found; none is set before the commit."""
        company_id, _ = self.ids
        await self.fence(tx)
        await holds.share(tx, company_id)
        if self.is_dry:
            return
        hold = await holds.blocking(tx, self.ground.keyring, company_id, self.eraser)
        if hold is not None:
            raise Stopped(str(hold["id"]))
        for hold_id, person in await holds.held_people(tx, self.ground.keyring, company_id):
            if any(person.subject.is_in(one) for one in found):
                raise Stopped(hold_id)


async def run(ground: Ground, db: Database, job: Job) -> Outcome:
    """The erasure is completed, held, or to be tried again from where it came to."""
    company_id, erasure_id = job.payload["companyId"], job.payload["erasureId"]

    async def fence(tx: Tx) -> None:
        await jobs.confirm(tx, job)

    async with db.begin() as tx:
        await fence(tx)
        if not await queries.start(tx, company_id, erasure_id):
            return None
    row = await queries.find(db, company_id, erasure_id)
    assert row is not None
    one = Run(ground, db, row, subjects.opened(ground.keyring, erasure_id, row["subject_sealed"], row["parts"]), fence)
    try:
        return await _carry_out(one, leads=job.payload["leads"])
    except Stopped as stopped:
        await _tell_held(one, stopped.hold_id)
        return None
    except (MainstayError, archive.Damaged, events.Unproven) as error:
        await queries.set_state(db, company_id, erasure_id, "failed", failure=str(error))
        return Retry(str(error))


async def _carry_out(one: Run, *, leads: bool) -> Outcome:
    company_id, erasure_id = one.ids
    others = await erasures.spread(one.ground.regions, one.ground.keyring, one.db, one.row) if leads else []
    while (step := await queries.next_step(one.db, company_id, erasure_id)) is not None:
        if step["seq"] < step["last_seq"]:
            await _erase_stored(one, step)
        else:
            await _erase_archived(one, step)
    began = time.monotonic()
    if not one.is_dry:
        await _erase_copies(one)
        await company_jobs.forget_files(one.db, one.ground.stores, company_id)
    for other in others:
        theirs = await queries.find(other, company_id, erasure_id)
        if theirs is None or theirs["state"] != "completed":
            return Snooze(rest_after(time.monotonic() - began), "another database is not done yet")
    await _complete(one, leads=leads)
    return None


def rest_after(walked_seconds: float) -> timedelta:
    """How long it waits for other databases before it walks its copies once more: for ten times as long as that took,
    since another part may be held for months; within 2 s and 5 min."""
    return min(max(_ELSEWHERE_EVERY, timedelta(seconds=10 * walked_seconds)), _ELSEWHERE_AT_MOST)


async def _erase_stored(one: Run, step: Record) -> None:
    company_id, erasure_id = one.ids
    workspace_id, after = str(step["workspace_id"]), step["seq"]
    until = min(after + STEP, step["last_seq"])
    async with one.db.begin() as tx:
        look = one.eraser.find if one.is_dry else one.eraser.lock
        looked = await look(tx, company_id, workspace_id, after=after, until=until)
        within = [each for each in looked.found if each.parts]
        await one.check(tx, [_texts(each.row) for each in within])
        counted = _count([each.parts for each in within])
        counted["kept"] = sum(each.is_kept_elsewhere for each in looked.found)
        counted["unproven"] = sum(not each.is_proven for each in within)
        if not one.is_dry:
            bodies = await one.eraser.erase(tx, company_id, workspace_id, within)
            counted["copies"] = await copies.replace_bodies(tx, company_id, bodies) if bodies else 0
            lost = [(each.row["seq"], str(each.row["id"]), each.parts) for each in within]
            await queries.add_events(tx, company_id, erasure_id, workspace_id, lost)
        await queries.count(tx, company_id, erasure_id, counted)
        await queries.move(tx, company_id, erasure_id, workspace_id, before=after, seq=looked.until)


async def _erase_archived(one: Run, step: Record) -> None:
    """The newest archived day that was not looked at yet, or the end of the workspace."""
    company_id, erasure_id = one.ids
    workspace_id = str(step["workspace_id"])
    before = None if step["day"] is None else (step["day"], workspace_id)
    days = await archive.list_days(one.db, company_id, workspace_id=workspace_id, before=before, limit=1)
    async with one.db.begin() as tx:
        await one.check(tx)
        if not days:
            await queries.end_step(tx, company_id, erasure_id, workspace_id)
            return
    day = archive.Day(company_id, workspace_id, days[0].day)
    ground = one.ground.archive_of(one.db)
    if days[0].archived_events < days[0].events and days[0].state != "deleted" and not one.is_dry:
        await archive.renew_day(ground, day, one.fence)
    found = await _in_archive(one, ground, day, step["last_seq"]) if days[0].archived_events else []
    is_changed = bool(found) or step["rewriting"] == day.day
    if is_changed and not one.is_dry:
        async with one.db.begin() as tx:
            await one.check(tx, [each[3] for each in found])
        await queries.begin_day(one.db, company_id, erasure_id, workspace_id, day.day)
        await archive.rewrite_day(
            ground, day, lambda line: one.eraser.erase_line(line, until=step["last_seq"]), one.fence
        )
    await _count_archived(one, day, found, is_changed=is_changed)


async def _in_archive(one: Run, ground: archive.Ground, day: archive.Day, until: int) -> list[Any]:
    found = []
    try:
        async for lines in archive.read_day(ground, day):
            found += one.eraser.find_in_lines(lines, until=until)
    except ObjectNotFound:
        # The weekly verification tells of it; there is nothing to erase in what is gone.
        return []
    return found


async def _count_archived(one: Run, day: archive.Day, found: Sequence[Any], *, is_changed: bool) -> None:
    """Events that the table has were counted there; of those that were cut, the archive's are the only ones."""
    company_id, erasure_id = one.ids
    async with one.db.begin() as tx:
        await one.fence(tx)
        heads = await one.eraser.heads(tx, company_id)
        cut = next((head["cut"] for head in heads if str(head["workspace_id"]) == day.workspace_id), 0)
        gone = [each for each in found if each[0] <= cut]
        counted = _count([each[2] for each in gone])
        if not one.is_dry:
            lost = [each[:3] for each in found]
            counted["events"] = await queries.add_events(tx, company_id, erasure_id, day.workspace_id, lost)
        counted["objects"] = int(is_changed)
        await queries.count(tx, company_id, erasure_id, counted)
        await queries.end_day(tx, company_id, erasure_id, day.workspace_id, day.day)


async def _erase_copies(one: Run) -> None:
    """Every table is walked, then again among what was written since, until nothing of the person is found there: a
    row that moves back to what was walked already, or into another table, is a new one."""
    since: str | None = None
    for _ in range(_WALKS_AT_MOST):
        began = await copies.oldest_running_everywhere(one.db)
        taken = 0
        for each in copies.COPIES:
            for leaf in await copies.leaves_everywhere(one.db, each.table):
                block = 0
                # Asked anew each time: a row that is changed meanwhile moves to the end.
                while block <= await copies.blocks_everywhere(one.db, leaf):
                    taken += await _erase_block(one, each, leaf, block, since)
                    block += copies.BLOCKS
        if since is not None and not taken:
            return
        since = began


async def _erase_block(one: Run, each: copies.Copies, leaf: str, block: int, since: str | None) -> int:
    company_id, erasure_id = one.ids
    async with one.db.begin() as tx:
        await one.check(tx)
        taken = 0
        if each.table == "attempts":
            taken += await copies.empty_answers(tx, company_id, erasure_id, leaf, block=block)
        texts = one.eraser.subject.texts
        for row in await copies.lock_with(tx, company_id, each, leaf, block=block, texts=texts, since=since):
            left = _without(one.eraser, row, each)
            if left and each.loses_rows:
                await copies.drop(tx, company_id, each, leaf, row["place"])
            elif left:
                await copies.replace(tx, company_id, each, leaf, row["place"], left)
            taken += bool(left)
        if taken:
            await queries.count(tx, company_id, erasure_id, {"copies": taken})
    return taken


def _without(eraser: events.Eraser, row: Record, each: copies.Copies) -> dict[str, str]:
    """Those columns that hold the person, without them."""
    left = {}
    for name, kind in each.columns.items():
        text = row[name]
        if text is not None:
            cleared = _cleared(eraser, text, is_json=kind in ("json", "jsonb"))
            if cleared != text:
                left[name] = cleared
    return left


def _cleared(eraser: events.Eraser, text: str, *, is_json: bool) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return str(eraser.subject.without(text))
    if not eraser.subject.is_in(value):
        return text
    return orjson.dumps(eraser.subject.without(value)).decode()


async def _complete(one: Run, *, leads: bool) -> None:
    company_id, erasure_id = one.ids
    found = (await erasures.read(one.ground.regions, company_id, erasure_id))["found"]
    async with one.db.begin() as tx:
        await one.check(tx)
        done = await queries.complete(tx, company_id, erasure_id)
        if done is None or not leads:
            return
        actor = msgspec.json.decode(done["requested_by"], type=Actor)
        data = {
            "erasureId": erasure_id,
            "subjectDigest": bytes(done["subject_digest"]).hex(),
            "parts": done["parts"],
            "found": found,
        }
        name = "erasure.counted" if one.is_dry else "person.erased"
        await outbox.announce(tx, name, company_id=company_id, actor=actor, data=data)


async def _tell_held(one: Run, hold_id: str) -> None:
    company_id, erasure_id = one.ids
    async with one.db.begin() as tx:
        await queries.set_state(tx, company_id, erasure_id, "held", hold_id=hold_id)
        row = await queries.find(tx, company_id, erasure_id)
        assert row is not None
        actor = msgspec.json.decode(row["requested_by"], type=Actor)
        data = {"erasureId": erasure_id, "holdId": hold_id, "found": erasures.counts_of(row)}
        await outbox.announce(tx, "erasure.held", company_id=company_id, actor=actor, data=data)


def _count(parts: Sequence[Sequence[str]]) -> dict[str, int]:
    counted = {"events": len(parts)}
    for plural in _PLURALS.values():
        counted[plural] = 0
    for one in parts:
        for part in one:
            counted[_PLURALS[part]] += 1
    return counted


def _texts(row: Record) -> list[Any]:
    named = [row[name] for name in ("actor_id", "actor_email", "actor_name", "target_id", "target_type")]
    parts = [orjson.loads(row[name]) for name in ("payload", "metadata", "changes") if row[name] is not None]
    return [*(text for text in named if text is not None), *parts]
