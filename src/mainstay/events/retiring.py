"""Events that grow old: marked by retention, handed over proven and with signed ends, cut where a signature holds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import orjson

from mainstay.events import shape
from mainstay.events.canonical import NotCanonical, read_json
from mainstay.events.chain import GENESIS
from mainstay.events.checkpoints import BadCheckpoint, verify_note
from mainstay.events.exported import Malformed
from mainstay.events.proof import Finding, verify_events
from mainstay.events.queries import chains, lists
from mainstay.events.queries import retiring as queries
from mainstay.events.sealing import Sealer, public_keys
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Record, Tx

CHUNK = 500
CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events of one workspace with nothing missing between: from one seq to another, both included."""

    company_id: str
    workspace_id: str
    first_seq: int
    last_seq: int


class Unproven(Exception):
    """Events are not what was written; `finding` names the first bad one."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"seq {finding.seq}: {finding.kind}, {finding.detail}")
        self.finding = finding


class StretchProof:
    """Judges lines of a stretch as they pass: each against its hash, its place, its neighbours and what was signed."""

    def __init__(self, stretch: Stretch, start: tuple[int, bytes], signed: Mapping[int, bytes]) -> None:
        self._stretch = stretch
        self._signed = signed
        self.head = start
        self.checked = 0

    def take(self, lines: Sequence[bytes]) -> Finding | None:
        """The next lines are proven, or the first bad one of them is named."""
        given = [_read(line) for line in lines]
        verdict = verify_events(given, start=self.head)
        found = verdict.first_bad
        if found is None:
            found = next(filter(None, (self._against_what_is_known(n, one) for n, one in enumerate(given, 1))), None)
        if found is not None:
            return replace(found, line=self.checked + found.line)
        self.head = verdict.head
        self.checked += len(lines)
        return None

    def end(self) -> Finding | None:
        """What is missing behind the last line."""
        seq = self.head[0]
        if seq == self._stretch.last_seq:
            return None
        detail = f"ends at seq {seq}, but reaches to seq {self._stretch.last_seq}"
        return Finding(seq + 1, None, self.checked + 1, "truncated", detail)

    def _against_what_is_known(self, number: int, event: Mapping[str, Any]) -> Finding | None:
        seq, event_id = event["seq"], event["id"]
        if (event["companyId"], event["workspaceId"]) != (self._stretch.company_id, self._stretch.workspace_id):
            return Finding(seq, event_id, number, "foreign", f"belongs to workspace {event['workspaceId']}")
        if seq > self._stretch.last_seq:
            return Finding(
                seq, event_id, number, "forked", f"stands behind the last event, seq {self._stretch.last_seq}"
            )
        signed = self._signed.get(seq)
        if signed is not None and signed.hex() != event["hash"]:
            return Finding(seq, event_id, number, "forked", f"another hash was signed for seq {seq}")
        return None


class Retirement:
    """What the archive and retention do with events of one database."""

    def __init__(self, db: Database, sealer: Sealer) -> None:
        self.db = db
        self._sealer = sealer

    async def heads(self, *, after: str | None, limit: int) -> list[Record]:
        """Chains that have events: workspace_id, company_id, seq, and may_leave."""
        return await queries.heads_everywhere(self.db, after=after, limit=limit)

    async def first_seq_from(self, company_id: str, workspace_id: str, moment: datetime) -> int:
        """The seq of the first event stored at that moment or later; the next free one where there is none."""
        return await lists.first_seq_from(self.db, company_id, workspace_id, moment)

    async def mark(self, tx: Tx, company_id: str, workspace_id: str, *, after: int, until: int) -> list[Record]:
        """Events after one seq and up to another are candidates: day, data_region, first_seq, last_seq of each day."""
        return await queries.mark_candidates(tx, company_id, workspace_id, after=after, until=until)

    async def flag(self, tx: Tx, company_id: str, workspace_id: str, *, after: int, until: int) -> int:
        """Events after one seq and up to another are marked as archived; how many were not before."""
        return await queries.mark_archived(tx, company_id, workspace_id, after=after, until=until)

    async def day_of(self, company_id: str, workspace_id: str, seq: int) -> date | None:
        """The day on which the event of that seq was stored, where the table has it."""
        found = await queries.event_at(self.db, company_id, workspace_id, seq)
        return None if found is None else found["day"]

    async def stored_from(self, company_id: str, workspace_id: str) -> int:
        """The lowest seq that the table has not cut."""
        start = await queries.start_of(self.db, company_id, workspace_id)
        return 1 if start is None else start["seq"] + 1

    async def proven_lines(
        self, stretch: Stretch, earlier: AsyncIterator[list[bytes]] | None = None
    ) -> AsyncIterator[list[bytes]]:
        """Yields the events of the stretch as JSON with proof, marked as archived, a few hundred at a time.

        What the table has cut comes from `earlier`. Each is proven before it is yielded, and the first and last carry
        the signed checkpoints of where the stretch begins and ends; Unproven names the first bad one.
        """
        proof = await self.proof_of(stretch)
        stored_from = await self.stored_from(stretch.company_id, stretch.workspace_id)
        opening = await self._note_before(stretch, proof.head)
        held: list[bytes] = []
        async for lines in self._lines(stretch, stored_from, earlier):
            if held:
                yield held
            if (found := await asyncio.to_thread(proof.take, lines)) is not None:
                raise Unproven(found)
            held = lines
            if opening is not None:
                held, opening = [_with_note(lines[0], "before", opening), *lines[1:]], None
        if (found := proof.end()) is not None:
            raise Unproven(found)
        received_at = orjson.loads(held[-1])["receivedAt"]
        note = await self._note_at(stretch, proof.head, received_at)
        yield [*held[:-1], _with_note(held[-1], "checkpoint", note)]

    async def proven_changes(
        self, stretch: Stretch, lines: AsyncIterator[list[bytes]], change: Callable[[bytes], bytes]
    ) -> AsyncIterator[list[bytes]]:
        """Yields archived lines as `change` gives them, each proven anew; Unproven names the first bad one."""
        proof = await self.proof_of(stretch)
        async for given in lines:
            changed = [change(line) for line in given]
            if (found := await asyncio.to_thread(proof.take, changed)) is not None:
                raise Unproven(found)
            yield changed
        if (found := proof.end()) is not None:
            raise Unproven(found)

    async def _lines(
        self, stretch: Stretch, stored_from: int, earlier: AsyncIterator[list[bytes]] | None
    ) -> AsyncIterator[list[bytes]]:
        after = stretch.first_seq - 1
        if stored_from > stretch.first_seq and earlier is not None:
            async for lines in earlier:
                if kept := lines[: max(0, stored_from - 1 - after)]:
                    yield kept
                    after += len(kept)
        while after < stretch.last_seq:
            rows = await chains.chain_of(
                self.db,
                stretch.company_id,
                stretch.workspace_id,
                after=after,
                until=stretch.last_seq,
                limit=CHUNK,
                most_bytes=CHUNK_BYTES,
            )
            if not rows:
                return
            marked = {"archived": True, "archival_candidate": True}
            yield [shape.flat({**row, **marked}, with_proof=True) for row in rows]
            after = rows[-1]["seq"]

    async def proof_of(self, stretch: Stretch) -> StretchProof:
        """A proof of the stretch from what this database knows: where it begins, and what was signed along it."""
        before = stretch.first_seq - 1
        kept = await queries.checkpoints_between(
            self.db, stretch.company_id, stretch.workspace_id, first=before, last=stretch.last_seq
        )
        # Read after the notes: the key of a note that is there is there, too.
        keys = await public_keys(self.db)
        signed = {}
        for row in kept:
            try:
                signed[row["seq"]] = verify_note(row["note"], keys).hash
            except BadCheckpoint:
                # A note that nobody signed proves nothing, and no event can agree with it.
                signed[row["seq"]] = b""
        start = signed.get(before) or (await self._hash_at(stretch, before) if before else GENESIS)
        return StretchProof(stretch, (before, start), signed)

    async def cut(self, stretch: Stretch, *, batch: int, told: Callable[[Tx], Awaitable[None]]) -> bool:
        """The stretch and all before it are gone from the table, and `told` ran in the transaction that decided so.

        False, and nothing is gone, where something keeps the events. The end is signed first, so that the rest of the
        chain is proven without them.
        """
        start = await queries.start_of(self.db, stretch.company_id, stretch.workspace_id)
        if start is None or start["seq"] < stretch.last_seq:
            await self._sign(stretch, stretch.last_seq)
            async with self.db.begin() as tx:
                last = await queries.event_at(tx, stretch.company_id, stretch.workspace_id, stretch.last_seq)
                if last is None or not await self._begin_behind(tx, stretch, last):
                    return False
                await told(tx)
        await self._delete(stretch.company_id, stretch.workspace_id, batch)
        return True

    async def end_cuts(self, *, batch: int) -> None:
        """What cuts that were broken off left before the beginning of a chain is gone."""
        for row in await queries.left_behind_everywhere(self.db):
            await self._delete(str(row["company_id"]), str(row["workspace_id"]), batch)

    async def _delete(self, company_id: str, workspace_id: str, batch: int) -> None:
        gone = batch
        while gone == batch:
            async with self.db.begin() as tx:
                gone = await queries.delete_before_start(tx, company_id, workspace_id, limit=batch)

    async def droppable(self, due: Mapping[str, int], partition: str) -> list[Record] | None:
        """The last event of each workspace in the partition where all of them are due by seq; None where one is not."""
        tops = await queries.tops_everywhere(self.db, partition)
        return tops if all(due.get(str(top["workspace_id"]), 0) >= top["seq"] for top in tops) else None

    async def partitions(self) -> list[str]:
        """The partitions of the events, oldest first."""
        return await queries.partitions_everywhere(self.db)

    async def drop(self, tx: Tx, due: Mapping[str, int], partition: str) -> list[Record] | None:
        """The partition is gone once the caller commits, each chain beginning behind it; None where it has to stay.

        The last events are those that `droppable` gave, signed by `sign_ends` before: the lock is held for moments.
        """
        await queries.lock_everywhere(tx, partition)
        tops = await queries.tops_everywhere(tx, partition)
        for top in tops:
            stretch = Stretch(str(top["company_id"]), str(top["workspace_id"]), 1, top["seq"])
            if due.get(stretch.workspace_id, 0) < top["seq"]:
                return None
            known = await queries.start_of(tx, stretch.company_id, stretch.workspace_id)
            if (known is None or known["seq"] < top["seq"]) and not await self._begin_behind(tx, stretch, top):
                return None
        await queries.drop_everywhere(tx, partition)
        return tops

    async def sign_ends(self, tops: Sequence[Record]) -> None:
        """The last events of a partition are signed."""
        for top in tops:
            stretch = Stretch(str(top["company_id"]), str(top["workspace_id"]), 1, top["seq"])
            await self._sign(stretch, top["seq"])

    async def _begin_behind(self, tx: Tx, stretch: Stretch, last: Record) -> bool:
        kept = await chains.checkpoint_at(tx, stretch.company_id, stretch.workspace_id, last["seq"])
        return kept is not None and await queries.move_start(
            tx, stretch.company_id, stretch.workspace_id, seq=last["seq"], event_hash=bytes(last["hash"])
        )

    async def _sign(self, stretch: Stretch, seq: int) -> str:
        event = await queries.event_at(self.db, stretch.company_id, stretch.workspace_id, seq)
        if event is None:
            raise LookupError(f"seq {seq} is neither stored nor signed")
        return await self._note_at(stretch, (seq, bytes(event["hash"])), iso(event["received_at"]))

    async def _note_before(self, stretch: Stretch, head: tuple[int, bytes]) -> str | None:
        if head[0] == 0:
            return None
        kept = await chains.checkpoint_at(self.db, stretch.company_id, stretch.workspace_id, head[0])
        return kept or await self._sign(stretch, head[0])

    async def _note_at(self, stretch: Stretch, head: tuple[int, bytes], received_at: str) -> str:
        async with self.db.begin() as tx:
            return await self._sealer.seal_at(tx, stretch.company_id, stretch.workspace_id, head, received_at)

    async def _hash_at(self, stretch: Stretch, seq: int) -> bytes:
        event = await queries.event_at(self.db, stretch.company_id, stretch.workspace_id, seq)
        if event is not None:
            return bytes(event["hash"])
        start = await queries.start_of(self.db, stretch.company_id, stretch.workspace_id)
        return bytes(start["hash"]) if start is not None and start["seq"] == seq else b""


def _with_note(line: bytes, name: str, note: str) -> bytes:
    """The JSON of an event with a signed checkpoint in its proof: `checkpoint` of itself, `before` of its predecessor.

    The proof is the last member of the last member.
    """
    if f'"{name}":'.encode() in line[line.rindex(b'"proof":') :]:
        return line
    return line[:-2] + b',"' + name.encode() + b'":' + orjson.dumps(note) + b"}}"


def _read(line: bytes) -> Any:
    try:
        return read_json(line)
    except NotCanonical as error:
        return Malformed(str(error))
