"""Erasure: who is meant, in which parts of an event that person occurs, and an event without them, still provable."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from mainstay.events import shape
from mainstay.events.canonical import canonical_parsed, read_json
from mainstay.events.chain import PARTS, SALT_BYTES, core_of, digest, leaf, link, parts_of
from mainstay.events.queries import erasing as queries
from mainstay.kernel.db import Connection, Record, Tx

ERASED = "[erased]"
"""What stands in copies of events, which no proof covers, in place of a person."""
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "actor": ("actorId", "actorEmail", "actorName"),
    "target": ("targetId", "targetType"),
    "payload": ("payload",),
    "metadata": ("metadata",),
    "changes": ("changes",),
}
# A text stands for itself: not as a part of a longer word, id, address or host name.
_BEFORE, _BEHIND = r"(?<![\w@+-])(?<!\w\.)", r"(?![\w@+-]|\.\w)"


@dataclass(frozen=True)
class Subject:
    """A person by the texts that name them: an actor id as it is; an email and other texts, letter case aside."""

    actor_id: str | None = None
    actor_email: str | None = None
    also_known_as: tuple[str, ...] = field(default=())

    @property
    def exact(self) -> list[str]:
        """What is looked for as it is."""
        return [] if self.actor_id is None else [self.actor_id]

    @property
    def folded(self) -> list[str]:
        """What is looked for in any letter case."""
        return [*([] if self.actor_email is None else [self.actor_email]), *self.also_known_as]

    @property
    def texts(self) -> tuple[list[str], list[str]]:
        """Both, also as they stand in JSON."""
        return _with_json(self.exact), _with_json(self.folded)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the person in a text."""
        exact = [re.escape(text) for text in self.exact]
        folded = [f"(?i:{re.escape(text)})" for text in self.folded]
        return re.compile(f"{_BEFORE}(?:{'|'.join([*exact, *folded])}){_BEHIND}")

    def is_in(self, value: Any) -> bool:
        """Whether the person occurs anywhere in a JSON value: in its strings, member names, or as a number."""
        if isinstance(value, str):
            return self.pattern.search(value) is not None
        if isinstance(value, Mapping):
            return any(self.is_in(name) or self.is_in(inner) for name, inner in value.items())
        if isinstance(value, list | tuple):
            return any(self.is_in(inner) for inner in value)
        return type(value) in (int, float) and self.pattern.fullmatch(str(value)) is not None

    def may_be_in(self, text: bytes) -> bool:
        """Whether it is worth to look closely at a JSON text."""
        exact, folded = self.texts
        if any(one.encode() in text for one in exact):
            return True
        low = text.decode(errors="replace").lower()
        return any(one.lower() in low for one in folded)

    def without(self, value: Any) -> Any:
        """The JSON value with `[erased]` wherever the person occurred."""
        if isinstance(value, str):
            return self.pattern.sub(ERASED, value)
        if isinstance(value, Mapping):
            return {self.pattern.sub(ERASED, name): self.without(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.without(inner) for inner in value]
        return ERASED if self.is_in(value) else value


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event in which the person occurs: the row, in which parts, in what no erasure can take away, and whether it
    is what was written."""

    row: Record
    parts: tuple[str, ...]
    is_kept_elsewhere: bool
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at stored events found, and up to which seq it came before there were too many to hold at once."""

    found: list[Occurrence]
    until: int


def occurrence_of(row: Record, subject: Subject, parts: Sequence[str]) -> Occurrence | None:
    """In which of the parts of a stored event the person occurs; None where nowhere in it."""
    event = orjson.loads(shape.flat(row, with_proof=True))
    found = _parts_with(event, subject, parts)
    elsewhere = any(subject.is_in(event[name]) for name in ("action", "category", "projectId") if event[name])
    if not found and not elsewhere:
        return None
    return Occurrence(row, found, elsewhere, _is_proven(event))


def erase_event(event: dict[str, Any], subject: Subject, parts: Sequence[str]) -> tuple[str, ...]:
    """The exported event shows digests in place of those of its parts in which the person occurred; which these are."""
    found = _parts_with(event, subject, parts)
    if not found:
        return ()
    proof = event["proof"]
    shown, salts = parts_of(event), proof["salts"]
    digests = dict(proof.get("digests", {}))
    for part in found:
        digests[part] = digest(bytes.fromhex(salts.pop(part)), canonical_parsed(shown[part]))
        for name in _FIELDS[part]:
            event[name] = None
    proof["digests"] = digests
    return found


@dataclass(frozen=True, slots=True)
class Eraser:
    """Finds one person in some parts of events, and takes them out."""

    subject: Subject
    parts: Sequence[str] = PARTS

    @classmethod
    def of(
        cls,
        *,
        actor_id: str | None = None,
        actor_email: str | None = None,
        also_known_as: Sequence[str] = (),
        parts: Sequence[str] = PARTS,
    ) -> "Eraser":
        """Of the person with that actor id or email, or both, whom the other texts name as well."""
        return cls(Subject(actor_id, actor_email, tuple(also_known_as)), parts)

    async def heads(self, connection: Connection, company_id: str) -> list[Record]:
        """Every chain of the company that has events: workspace_id, seq of its head, up to which seq it was `cut`."""
        return await queries.heads_of(connection, company_id)

    async def find(
        self, connection: Connection, company_id: str, workspace_id: str, *, after: int, until: int
    ) -> Looked:
        """Where the person occurs in the stored events after one seq and up to another, or as far as it came."""
        texts = self.subject.texts
        rows = await queries.find_with(connection, company_id, workspace_id, after=after, until=until, texts=texts)
        return self._judged(rows, until)

    async def lock(self, tx: Tx, company_id: str, workspace_id: str, *, after: int, until: int) -> Looked:
        """The same; nobody changes what was found before the transaction ends."""
        texts = self.subject.texts
        rows = await queries.lock_with(tx, company_id, workspace_id, after=after, until=until, texts=texts)
        return self._judged(rows, until)

    def _judged(self, rows: Sequence[Record], until: int) -> Looked:
        found = [one for row in rows if (one := occurrence_of(row, self.subject, self.parts)) is not None]
        return Looked(found, rows[-1]["seq"] if len(rows) == queries.MOST else until)

    async def erase(self, tx: Tx, company_id: str, workspace_id: str, found: Sequence[Occurrence]) -> dict[str, str]:
        """The values and salts of the parts are gone and their digests stand; each event's JSON then, by its id."""
        rows, after = [], {}
        for one in found:
            event = orjson.loads(shape.flat(one.row, with_proof=True))
            erase_event(event, self.subject, one.parts)
            rows.append(_columns(one, event))
            digests = event.pop("proof")["digests"]
            after[event["id"]] = _body(one.row, event, digests)
        await queries.erase(tx, company_id, workspace_id, rows)
        return after

    def erase_line(self, line: bytes, *, until: int) -> bytes:
        """The JSON of an archived event without the person; the very same bytes where they do not occur.

        Events behind the seq `until` stay as they are.
        """
        if not self.subject.may_be_in(line):
            return line
        event = read_json(line)
        is_changed = event["seq"] <= until and erase_event(event, self.subject, self.parts)
        return orjson.dumps(event) if is_changed else line

    def find_in_lines(self, lines: Sequence[bytes], *, until: int) -> list[tuple[int, str, tuple[str, ...], Any]]:
        """Seq, id, parts and all values of those archived events up to a seq in which the person occurs."""
        near = (read_json(line) for line in lines if self.subject.may_be_in(line))
        found = ((event, _parts_with(event, self.subject, self.parts)) for event in near if event["seq"] <= until)
        return [(event["seq"], event["id"], parts, parts_of(event)) for event, parts in found if parts]

    def matching(self, lines: Sequence[bytes], *, until: int) -> list[bytes]:
        """Those archived events up to a seq in which the person occurs, as they stand."""
        return [line for line in lines if self.find_in_lines([line], until=until)]

    async def rows(
        self, connection: Connection, company_id: str, workspace_id: str, *, after: int, until: int
    ) -> tuple[list[bytes], int]:
        """The JSON with proof of stored events in which the person occurs, after one seq and up to another that is
        given or was reached."""
        looked = await self.find(connection, company_id, workspace_id, after=after, until=until)
        return [shape.flat(one.row, with_proof=True) for one in looked.found if one.parts], looked.until


def _parts_with(event: Mapping[str, Any], subject: Subject, parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part, value in parts_of(event).items() if part in parts and subject.is_in(value))


def _is_proven(event: Mapping[str, Any]) -> bool:
    try:
        hashed = link(bytes.fromhex(event["prevHash"]), leaf(core_of(event)))
    except (KeyError, ValueError):
        return False
    return bool(hashed.hex() == event["hash"])


def _columns(one: Occurrence, event: Mapping[str, Any]) -> tuple[Any, ...]:
    row, salts = one.row, bytearray(one.row["salts"])
    for place, part in enumerate(PARTS):
        if part in one.parts:
            salts[place * SALT_BYTES : (place + 1) * SALT_BYTES] = bytes(SALT_BYTES)
    keeps = ",".join("false" if part in one.parts else "true" for part in PARTS)
    named = (event[name] for name in ("actorId", "actorEmail", "actorName", "targetId", "targetType"))
    digests = orjson.dumps(event["proof"]["digests"]).decode()
    return (row["seq"], row["received_at"], *named, keeps, bytes(salts), digests)


def _body(row: Record, event: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """The event as receivers of webhooks read it, its remaining values as they were written."""
    left = {name: None for part in digests for name in _FIELDS[part]}
    written = {
        name: orjson.Fragment(row[name]) for name in ("payload", "metadata", "changes") if event[name] is not None
    }
    return orjson.dumps({**event, **written, **left}).decode()


def _with_json(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(form for text in texts for form in (text, orjson.dumps(text)[1:-1].decode())))
