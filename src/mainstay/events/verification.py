"""Proof of a live workspace: its rows against their hashes, its head, and its newest signed checkpoint."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mainstay.events import shape
from mainstay.events.chain import GENESIS
from mainstay.events.checkpoints import BadCheckpoint, Checkpoint, verify_note
from mainstay.events.proof import Finding, Verdict, verify_events
from mainstay.events.queries import chains as queries
from mainstay.events.queries import retiring
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import NotFound

_CHUNK = 500
_CHUNK_BYTES = 8 * 1024 * 1024
_NEWEST = 2**62


async def verify_workspace(
    db: Database,
    company_id: str,
    workspace_id: str,
    *,
    public_keys: Mapping[str, Ed25519PublicKey],
    checkpoint: Checkpoint | None = None,
) -> Verdict:
    """The verdict over every stored event, the chain's head and a checkpoint (the newest kept one unless given).

    Where events were cut, the chain begins behind them, if a signed checkpoint says so. Reads in chunks with flat
    memory; events that arrive meanwhile are left for the next time. NotFound for an unknown workspace.
    """
    head = await queries.head_of(db, company_id, workspace_id)
    if head is None:
        raise NotFound("There is no such workspace.")
    if checkpoint is None:
        kept = await queries.checkpoints_of(db, company_id, workspace_id, before=_NEWEST, limit=1)
        checkpoint = verify_note(kept[0]["note"], public_keys) if kept else None
    until = max(head["seq"], checkpoint.seq if checkpoint else 0)
    start = await _start_of(db, company_id, workspace_id, public_keys)
    if isinstance(start, Finding):
        return Verdict(False, 0, start, (0, GENESIS))
    verdict = Verdict(True, 0, None, start)
    compared = start[0] if checkpoint is not None and (checkpoint.seq, checkpoint.hash) == start else None
    while True:
        rows = await _chunk(db, company_id, workspace_id, after=verdict.head[0], until=until)
        if not rows:
            break
        last_seq = rows[-1]["seq"]
        due = checkpoint if checkpoint and verdict.head[0] < checkpoint.seq <= last_seq else None
        step = verify_events(_flat(rows), checkpoint=due, start=verdict.head)
        compared = checkpoint.seq if due and checkpoint else compared
        checked = verdict.checked + step.checked
        step = replace(step, erased=verdict.erased + step.erased)
        if step.first_bad is not None:
            line = verdict.checked + step.first_bad.line
            return replace(step, checked=checked, first_bad=replace(step.first_bad, line=line), checkpoint_seq=compared)
        verdict = replace(step, checked=checked, checkpoint_seq=compared)
    verdict = _against_ends(verdict, head, checkpoint)
    stray = await queries.find_stray(db, company_id, workspace_id) if verdict.ok else None
    return verdict if stray is None else _with_stray(verdict, stray)


async def _start_of(
    db: Database, company_id: str, workspace_id: str, public_keys: Mapping[str, Ed25519PublicKey]
) -> tuple[int, bytes] | Finding:
    """Where the stored part of the chain begins: behind what was cut, if a signed checkpoint says the same."""
    cut = await retiring.start_of(db, company_id, workspace_id)
    if cut is None:
        return 0, GENESIS
    note = await queries.checkpoint_at(db, company_id, workspace_id, cut["seq"])
    signed = None
    if note is not None:
        with suppress(BadCheckpoint):
            signed = verify_note(note, public_keys)
    if signed is None or (signed.workspace_id, signed.seq) != (workspace_id, cut["seq"]):
        detail = f"seqs 1 to {cut['seq']} are missing, and no signed checkpoint stands at their end"
        return Finding(1, None, 1, "deleted", detail)
    if signed.hash != bytes(cut["hash"]):
        return Finding(cut["seq"], None, 1, "forked", f"another hash was signed for seq {cut['seq']}")
    return signed.seq, signed.hash


async def _chunk(db: Database, company_id: str, workspace_id: str, *, after: int, until: int) -> list[Record]:
    """The next events up to 500 and about 8 MiB, never ending between two rows of one seq; none at the end."""
    rows = await queries.chain_of(
        db, company_id, workspace_id, after=after, until=until, limit=_CHUNK, most_bytes=_CHUNK_BYTES
    )
    is_last = not rows or (rows[-1]["seq"] == until and len(rows) < _CHUNK and rows[-1]["bytes_until"] < _CHUNK_BYTES)
    if is_last or rows[0]["seq"] == rows[-1]["seq"]:
        return rows
    return [row for row in rows if row["seq"] < rows[-1]["seq"]]


def _with_stray(verdict: Verdict, stray: Record) -> Verdict:
    """An event outside the chain: nothing that the head answers for, and nothing that could have been stored there."""
    detail = f"stands outside the chain, whose head is at seq {stray['head']}"
    found = Finding(stray["seq"], str(stray["id"]), verdict.checked + 1, "forked", detail)
    return replace(verdict, ok=False, first_bad=found)


def _flat(rows: Iterable[Record]) -> Iterable[dict[str, Any]]:
    for row in rows:
        yield orjson.loads(shape.flat(row, with_proof=True))


def _against_ends(verdict: Verdict, head: Record, checkpoint: Checkpoint | None) -> Verdict:
    seq, seen_hash = verdict.head
    line = verdict.checked + 1
    if checkpoint is not None and checkpoint.seq > seq:
        detail = f"ends at seq {seq}, but seq {checkpoint.seq} was signed"
        return replace(verdict, ok=False, first_bad=Finding(seq + 1, None, line, "truncated", detail))
    if head["seq"] > seq:
        detail = f"ends at seq {seq}, but the chain's head is at seq {head['seq']}"
        return replace(verdict, ok=False, first_bad=Finding(seq + 1, None, line, "truncated", detail))
    if bytes(head["hash"]) != seen_hash:
        detail = f"the chain's head at seq {seq} has another hash than the event there"
        return replace(verdict, ok=False, first_bad=Finding(seq, None, line, "forked", detail))
    return verdict
