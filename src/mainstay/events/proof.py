"""Offline proof that exported events are the chain that was written: what fails is named, row by row."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .canonical import NotCanonical
from .chain import GENESIS, core_of, leaf, link
from .checkpoints import MAX_NOTE_BYTES, Checkpoint, verify_note
from .exported import Malformed, check_shape, read_events, read_opening, read_trailer

Kind = Literal["edited", "deleted", "reordered", "duplicated", "truncated", "forked", "malformed", "foreign"]

REMEMBERED_HASHES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """The first bad row: its seq (None where it has none), id, line from 1, kind and what is wrong."""

    seq: int | None
    id: str | None
    line: int
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the events are whole and unchanged, how many are proven, and the head they end at.

    `checkpoint_seq` is None where no signed checkpoint was compared: a missing tail would then go unseen. `erased`
    counts the proven events of which digests stand in place of values that were erased.
    """

    ok: bool
    checked: int
    first_bad: Finding | None
    head: tuple[int, bytes]
    checkpoint_seq: int | None = None
    erased: int = 0


def verify_events(
    events: Iterable[Mapping[str, Any]],
    *,
    checkpoint: Checkpoint | None = None,
    start: tuple[int, bytes] | None = None,
) -> Verdict:
    """Returns the verdict over one workspace's events in order, in flat memory.

    The first event must be seq 1, or the one after `start`, a (seq, hash) that the caller trusts.
    Raises ValueError for a checkpoint before `start`: it could prove nothing.
    """
    return _verify(enumerate(events, 1), checkpoint, start)


def verify_file(
    path: Path | str,
    checkpoint_path: Path | str | None = None,
    public_keys: Mapping[str, Ed25519PublicKey] | None = None,
    *,
    start: tuple[int, bytes] | None = None,
) -> Verdict:
    """Returns the verdict over an export or an archived day, plain or gzip, against a checkpoint file or its own notes.

    Its own notes, of its end and of the event before its first, count only with `public_keys`; that of its end without
    `checkpoint_path`, that of its beginning without `start`. Raises BadCheckpoint for a note that no known key signed
    and OSError for a file that cannot be read.
    """
    keys = public_keys or {}
    note = None
    if checkpoint_path is not None:
        with Path(checkpoint_path).open(encoding="utf-8", errors="replace") as source:
            note = source.read(MAX_NOTE_BYTES + 1)
    elif keys:
        note = read_trailer(Path(path))
    checkpoint = verify_note(note, keys) if note is not None else None
    opening = read_opening(Path(path)) if keys and start is None else None
    if opening is not None:
        before = verify_note(opening, keys)
        start = before.seq, before.hash
    return _verify(read_events(Path(path)), checkpoint, start)


class _Chain:
    """The walk so far: the last proven event and the hashes a little way back."""

    def __init__(self, checkpoint: Checkpoint | None, start: tuple[int, bytes] | None) -> None:
        self.seq, self.hash = start or (0, GENESIS)
        self.first_seq = self.seq + 1
        self.parent: bytes | None = None
        self.last: tuple[str, int] | None = None
        self.checked = 0
        self.erased = 0
        self.line = 0
        self.checkpoint = checkpoint
        self.workspace_id = checkpoint.workspace_id if checkpoint else None
        self.recent: list[bytes] = [b""] * REMEMBERED_HASHES

    def accept(self, event: Mapping[str, Any], line: int, hashed: bytes) -> None:
        self.parent, self.hash, self.seq = self.hash, hashed, event["seq"]
        self.recent[self.seq % REMEMBERED_HASHES] = hashed
        self.last = (event["id"], line)
        self.workspace_id = event["workspaceId"]
        self.checked += 1
        self.erased += bool(event["proof"].get("digests"))

    def verdict(self, first_bad: Finding | None) -> Verdict:
        compared = self.checkpoint.seq if self.checkpoint else None
        return Verdict(first_bad is None, self.checked, first_bad, (self.seq, self.hash), compared, self.erased)


def _verify(
    numbered: Iterable[tuple[int, Any]], checkpoint: Checkpoint | None, start: tuple[int, bytes] | None
) -> Verdict:
    chain = _Chain(checkpoint, start)
    if checkpoint is not None and checkpoint.seq < chain.seq:
        raise ValueError(f"the checkpoint is of seq {checkpoint.seq}, before the start at seq {chain.seq}")
    if (found := _against_checkpoint(chain, None)) is not None:
        return chain.verdict(found)
    rows = iter(numbered)
    for line, event in rows:
        chain.line = line
        found = _judge(chain, line, event)
        if found is None:
            found = _against_checkpoint(chain, event)
        elif found.kind == "deleted" and _comes_later(rows, event["workspaceId"], chain.seq + 1):
            detail = f"seq {event['seq']} stands before seq {chain.seq + 1}"
            found = _finding("reordered", event, line, detail)
        if found is not None:
            return chain.verdict(found)
    if checkpoint is not None and chain.seq < checkpoint.seq:
        detail = f"ends at seq {chain.seq}, but seq {checkpoint.seq} was signed"
        return chain.verdict(Finding(chain.seq + 1, None, chain.line + 1, "truncated", detail))
    return chain.verdict(None)


def _judge(chain: _Chain, line: int, event: Any) -> Finding | None:
    """Accepts the event into the chain, or says what is wrong with it."""
    try:
        check_shape(event)
        core = core_of(event)
    except NotCanonical as error:
        return _finding("malformed" if isinstance(error, Malformed) else "edited", event, line, error.detail)
    except orjson.JSONEncodeError:
        return _finding("malformed", event, line, "a string of it is not Unicode text")
    prev = bytes.fromhex(event["prevHash"])
    hashed = link(prev, leaf(core))
    if hashed.hex() != event["hash"] or event["createdAt"] != event["receivedAt"]:
        return _finding("edited", event, line, _what_was_edited(chain, event, core))
    if chain.workspace_id is not None and event["workspaceId"] != chain.workspace_id:
        return _finding("foreign", event, line, f"belongs to workspace {event['workspaceId']}")
    seq = event["seq"]
    if seq > chain.seq + 1:
        missing = f"seq {chain.seq + 1} is" if seq == chain.seq + 2 else f"seqs {chain.seq + 1} to {seq - 1} are"
        return Finding(chain.seq + 1, None, line, "deleted", f"{missing} missing: the next event is seq {seq}")
    if seq <= chain.seq:
        return _seen_before(chain, line, event, hashed)
    if prev != chain.hash:
        return _broken_link(chain, line, event, prev)
    chain.accept(event, line, hashed)
    return None


def _seen_before(chain: _Chain, line: int, event: Mapping[str, Any], hashed: bytes) -> Finding:
    seq = event["seq"]
    if seq < chain.first_seq:
        return _finding("reordered", event, line, f"seq {seq} lies before the start at seq {chain.first_seq}")
    if chain.seq - seq < REMEMBERED_HASHES and chain.recent[seq % REMEMBERED_HASHES] != hashed:
        return _finding("forked", event, line, f"a second, different event claims seq {seq}")
    return _finding("duplicated", event, line, f"seq {seq} was here before")


def _broken_link(chain: _Chain, line: int, event: Mapping[str, Any], prev: bytes) -> Finding:
    """Two events agree with themselves and not with each other: which of them to blame."""
    seq = event["seq"]
    if prev == chain.parent:
        return _finding("forked", event, line, f"shares its parent with seq {chain.seq}")
    proven = chain.checkpoint is not None and chain.checkpoint.seq == chain.seq
    if chain.last is None or proven:
        origin = "the first event's fixed parent" if chain.seq == 0 else f"the proven hash of seq {chain.seq}"
        return _finding("forked", event, line, f"does not follow {origin}")
    last_id, last_line = chain.last
    detail = f"was written anew: seq {seq} follows another hash than this event's"
    return Finding(chain.seq, last_id, last_line, "edited", detail)


def _what_was_edited(chain: _Chain, event: Mapping[str, Any], core: bytes) -> str:
    """Names the field where one field alone explains the mismatch."""
    prev = bytes.fromhex(event["prevHash"])
    if link(prev, leaf(core)).hex() == event["hash"]:
        return "createdAt differs from receivedAt"
    if link(chain.hash, leaf(core)).hex() == event["hash"]:
        return "prevHash was changed"
    guesses: dict[str, Any] = {"seq": chain.seq + 1, "receivedAt": event["createdAt"]}
    if chain.workspace_id is not None:
        guesses["workspaceId"] = chain.workspace_id
    for field, value in guesses.items():
        if link(prev, leaf(core_of({**event, field: value}))).hex() == event["hash"]:
            return f"{field} was changed"
    if prev == chain.hash and event["seq"] == chain.seq + 1:
        return "the event's content or its hash was changed"
    return "the event does not fit its own hash"


def _against_checkpoint(chain: _Chain, event: Mapping[str, Any] | None) -> Finding | None:
    checkpoint = chain.checkpoint
    if checkpoint is None or checkpoint.seq != chain.seq or checkpoint.hash == chain.hash:
        return None
    event_id = event["id"] if event is not None else None
    return Finding(chain.seq, event_id, chain.line, "forked", f"another hash was signed for seq {checkpoint.seq}")


def _comes_later(rows: Iterator[tuple[int, Any]], workspace_id: str, seq: int) -> bool:
    """Whether the missing event turns up further on (reads to the end, where nothing else is left to judge)."""
    for _, event in rows:
        if isinstance(event, Mapping) and event.get("seq") == seq and event.get("workspaceId") == workspace_id:
            return True
    return False


def _finding(kind: Kind, event: Any, line: int, detail: str) -> Finding:
    seq, event_id = (event.get("seq"), event.get("id")) if isinstance(event, Mapping) else (None, None)
    return Finding(
        seq if type(seq) is int else None, event_id if isinstance(event_id, str) else None, line, kind, detail
    )
