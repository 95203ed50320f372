"""How far an import has come: the lines read so far, their digest, and what became of them, in a small file.

The file stands beside the input, or in the user's state directory where that cannot be written. It belongs to one
input, one kind of mapping and one workspace. Its digest covers every line that was dealt with, so that a file which
changed is noticed and one that grew is continued.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from mainstay.cli.output import USAGE, CommandFailed

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused without being kept."""


class Position(msgspec.Struct):
    """Lines dealt with, the SHA-256 of them, and how many events were stored, found stored before, and refused."""

    lines: int = 0
    sha256: str = hashlib.sha256().hexdigest()
    read: int = 0
    stored: int = 0
    replayed: int = 0
    refused: int = 0


@dataclass(slots=True)
class Lines:
    """The lines of an input, plain or gzip, with the digest of those that were given out."""

    source: IO[bytes]
    raw: IO[bytes]
    number: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """Line numbers from 1 with their bytes; None in place of a line that is too long."""
        try:
            while line := self.source.readline(MAX_LINE_BYTES + 1):
                self.digest.update(line)
                whole = len(line) <= MAX_LINE_BYTES
                while not line.endswith(b"\n") and len(line) > MAX_LINE_BYTES:
                    line = self.source.readline(MAX_LINE_BYTES + 1)
                    self.digest.update(line)
                self.number += 1
                yield self.number, line if whole else None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CommandFailed(
                f"the compressed file is damaged after line {self.number}: {error}", "What came before it is stored."
            ) from None

    def skip(self, position: Position) -> None:
        """The lines of an earlier run are behind us; CommandFailed where they are not the same any more."""
        if position.lines:
            for number, _ in self:
                if number == position.lines:
                    break
        if self.number != position.lines or self.digest.hexdigest() != position.sha256:
            raise CommandFailed(
                "the file is not the one whose import began: its first lines changed",
                "Start again with --no-resume; records stored within the last 24 hours are not stored twice.",
                code=USAGE,
            )

    def close(self) -> None:
        """The file is closed."""
        self.source.close()
        self.raw.close()


def open_lines(path: str, standard_input: IO[bytes]) -> Lines:
    """The lines of a file, or of standard input for `-`; OSError."""
    raw = standard_input if path == "-" else Path(path).open("rb")  # noqa: SIM115 - closed with the lines
    head = raw.peek(2)[:2] if hasattr(raw, "peek") else b""
    source = cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb")) if head == b"\x1f\x8b" else raw
    return Lines(source, raw)


@dataclass(frozen=True, slots=True)
class PositionFile:
    """Where the position of one import is kept."""

    path: Path

    def load(self) -> Position:
        """The position of an earlier run, or the beginning."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Position)
        except FileNotFoundError:
            return Position()
        except (msgspec.DecodeError, OSError) as error:
            raise CommandFailed(
                f"the resume file {self.path} cannot be read: {error}", "Remove it, or use --no-resume.", code=USAGE
            ) from None

    def save(self, position: Position) -> None:
        """The position is on disk, whole, even if the machine stops now."""
        draft = self.path.with_name(self.path.name + ".new")
        with draft.open("wb") as target:
            target.write(msgspec.json.encode(position) + b"\n")
            target.flush()
            os.fsync(target.fileno())
        draft.replace(self.path)


def position_file(path: str, kind: str, workspace_id: str) -> PositionFile:
    """The file for this input, mapping and workspace: beside the input, else in the state directory."""
    whole = Path(path).resolve()
    place = hashlib.sha256(f"{kind}\n{workspace_id}".encode()).hexdigest()[:12]
    beside = whole.with_name(f".{whole.name}.{place}.import")
    if beside.exists() or os.access(whole.parent, os.W_OK):
        return PositionFile(beside)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mainstay" / "imports"
    state.mkdir(parents=True, exist_ok=True)
    named = hashlib.sha256(str(whole).encode()).hexdigest()[:24]
    return PositionFile(state / f"{named}.{place}.import")
