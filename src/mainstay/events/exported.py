"""One exported event: the shape it must have, and how a file of them is read without trusting it."""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from .canonical import NotCanonical, read_json
from .chain import PARTS, VERSION, parts_of

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_SEQ = 2**53 - 1

_TEXTS = (
    *("id", "companyId", "workspaceId", "action", "category", "dataRegion"),
    *("traceId", "occurredAt", "receivedAt", "createdAt", "hash", "prevHash"),
)
_TEXTS_OR_NULL = ("projectId", "actorId", "actorEmail", "actorName", "targetId", "targetType")
_VALUES: tuple[tuple[str, type], ...] = (("payload", dict), ("metadata", dict), ("changes", list))
_BRACKETS = (b"", b"[", b"]", b'{"data":[')
_HASH = re.compile("[0-9a-f]{64}")
_SALT = re.compile("[0-9a-f]{32}")


class Malformed(NotCanonical):
    """The line is not an event."""


def check_shape(event: Any) -> None:
    """Raises Malformed for what is not an event, NotCanonical for a value without what proves it."""
    if isinstance(event, Malformed):
        raise event
    if not isinstance(event, Mapping):
        raise Malformed("not a JSON object")
    try:
        for field in _TEXTS:
            if type(event[field]) is not str:
                raise Malformed(f"{field} is not a string")
        for field in _TEXTS_OR_NULL:
            if (value := event[field]) is not None and type(value) is not str:
                raise Malformed(f"{field} is neither a string nor null")
        for field, kind in _VALUES:
            if (value := event[field]) is not None and type(value) is not kind:
                raise Malformed(f"{field} is not of its type")
        if type(event["seq"]) is not int or not 1 <= event["seq"] <= MAX_SEQ:
            raise Malformed("seq is not a positive integer")
        if _HASH.fullmatch(event["prevHash"]) is None or _HASH.fullmatch(event["hash"]) is None:
            raise Malformed("hash and prevHash are 64 lower-case hex digits")
        _check_proof(event, event["proof"])
    except KeyError as error:
        raise Malformed(f"{error.args[0]} is missing") from None


def read_events(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields line number and event of a file with an event a line, with Malformed in place of a bad line.

    Plain or gzip; NDJSON, or JSON whose brackets have lines of their own, as archives have and what is read from them.
    """
    for line, text in _read_lines(path):
        if isinstance(text, Malformed):
            yield line, text
            continue
        try:
            event = read_json(text)
        except NotCanonical as error:
            yield line, Malformed(str(error))
            continue
        if not _is_trailer(event):
            yield line, event


def read_trailer(path: Path) -> str | None:
    """Returns the note of the last line that is a checkpoint record, or else the one in the last event's proof."""
    note, last = None, b""
    for _, text in _read_lines(path):
        if isinstance(text, Malformed):
            continue
        last = text
        if len(text) < 65536 and text.lstrip().startswith(b'{"checkpoint"'):
            try:
                record = read_json(text)
            except NotCanonical:
                continue
            note = record["checkpoint"] if _is_trailer(record) else note
    return note or _note_in(last, "checkpoint")


def read_opening(path: Path) -> str | None:
    """Returns the note that the first event's proof holds of the event before it."""
    first = next((text for _, text in _read_lines(path)), b"")
    return None if isinstance(first, Malformed) else _note_in(first, "before")


def _note_in(text: bytes, name: str) -> str | None:
    try:
        proof = read_json(text)["proof"]
        note = proof.get(name)
    except (NotCanonical, KeyError, TypeError, AttributeError):
        return None
    return note if isinstance(note, str) else None


def _check_proof(event: Mapping[str, Any], proof: Any) -> None:
    if not isinstance(proof, Mapping):
        raise Malformed("proof is not an object")
    if type(proof["v"]) is not int or proof["v"] != VERSION:
        raise Malformed(f"hash format {proof['v']!r} is not known here")
    salts, digests = proof.get("salts", {}), proof.get("digests", {})
    if not isinstance(salts, Mapping) or not isinstance(digests, Mapping):
        raise Malformed("proof.salts and proof.digests are objects")
    shown = parts_of(event)
    for part in PARTS:
        salt, digest = salts.get(part), digests.get(part)
        if digest is not None:
            if type(digest) is not str or _HASH.fullmatch(digest) is None:
                raise Malformed(f"proof.digests.{part} is not 64 lower-case hex digits")
            if part in shown:
                raise NotCanonical(f"{part} is shown although it was erased")
        elif part in shown and salt is None:
            raise NotCanonical(f"{part} is shown without the salt that proves it")
        if salt is not None and (type(salt) is not str or _SALT.fullmatch(salt) is None):
            raise Malformed(f"proof.salts.{part} is not 32 lower-case hex digits")


def _is_trailer(event: Any) -> bool:
    if not isinstance(event, dict):
        return False
    is_end = event.keys() == {"end"} and isinstance(event["end"], dict)
    return is_end or (event.keys() == {"checkpoint"} and isinstance(event["checkpoint"], str))


def _read_lines(path: Path) -> Iterator[tuple[int, bytes | Malformed]]:
    line = 0
    with _open(path) as source:
        try:
            while text := source.readline(MAX_LINE_BYTES + 1):
                line += 1
                if len(text) > MAX_LINE_BYTES:
                    yield line, Malformed(f"longer than {MAX_LINE_BYTES} bytes")
                    return
                text = text.strip()
                if text not in _BRACKETS and not text.startswith(b'],"meta":'):
                    yield line, text.removesuffix(b",")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield line + 1, Malformed(f"the compressed file is damaged: {error}")


def _open(path: Path) -> IO[bytes]:
    opened = path.open("rb")
    if opened.read(2) != b"\x1f\x8b":
        opened.seek(0)
        return opened
    opened.close()
    return cast(IO[bytes], gzip.open(path, "rb"))
