"""How an export begins, what becomes of its rows on their way out, and how it ends so that a cut one shows."""

import re
from dataclasses import dataclass
from typing import Final

import orjson

from mainstay.events.queries.exporting import COLUMNS, ROW_MARK, Form

END_MARK: Final = "#end"
"""The first field of the record that ends a CSV export."""
_STEP_BYTES: Final = 3 * 1024 * 1024
_STEP_SECONDS: Final = 0.5
_MARK: Final = ROW_MARK.encode()
_QUOTED_OR_END: Final = re.compile(rb'("(?:[^"]+|"")*+")|' + _MARK)
MEDIA_TYPES: Final[dict[Form, str]] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
}


@dataclass(frozen=True, slots=True)
class End:
    """What the end of an export tells: its rows, the plan's cap (None for none), and whether that cut it."""

    rows: int
    cap: int | None
    truncated: bool

    def written(self) -> bytes:
        """The same as a JSON object."""
        return orjson.dumps({"rows": self.rows, "cap": self.cap, "truncated": self.truncated})


def beginning(form: Form) -> bytes:
    """What stands before the first row."""
    if form == "csv":
        return ",".join(COLUMNS).encode() + b"\r\n"
    return b'{"data":[' if form == "json" else b""


def marks_in(form: Form, chunk: bytes) -> int:
    """How often the mark that ends a row of CSV occurs: as often as there are rows, unless a field holds it too."""
    return chunk.count(_MARK) if form == "csv" else 0


def on_the_way(form: Form, chunk: bytearray, *, first: bool, plain: bool) -> bytes | bytearray:
    """Whole rows as the database wrote them, as they are sent: `first` for those that begin the export, `plain` where
    no field holds the mark that ends a row."""
    if form != "csv":
        return chunk[1:] if first and form == "json" else chunk
    return chunk.replace(_MARK, b"\r") if plain else _QUOTED_OR_END.sub(lambda found: found[1] or b"\r", chunk)


def ending(form: Form, end: End, *, note: str | None = None, told: bool = False) -> bytes:
    """What stands behind the last row: `note` signs the chain (NDJSON), `told` writes the end into CSV as well."""
    if form == "json":
        return b'],"meta":' + end.written() + b"}\n"
    if form == "csv":
        quoted = end.written().replace(b'"', b'""')
        return END_MARK.encode() + b',"' + quoted + b'"' + b"," * (len(COLUMNS) - 2) + b"\r\n" if told else b""
    checkpoint = b"" if note is None else orjson.dumps({"checkpoint": note}) + b"\n"
    return checkpoint + b'{"end":' + end.written() + b"}\n"


def next_width(width: int, taken_bytes: int, seconds: float, *, most: int) -> int:
    """How far the next step looks: so that it gives about 3 MiB, or half a second; at most 4 times as far."""
    factor = min(_STEP_BYTES / max(taken_bytes, 1), _STEP_SECONDS / max(seconds, 0.001), 4.0)
    return max(1, min(most, int(width * max(factor, 0.1))))
