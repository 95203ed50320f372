"""The content of an object: gzip of one JSON array, an event a line, written and read in flat memory."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence

from mainstay.archive.errors import Damaged

MAX_LINE_BYTES = 16 * 1024 * 1024
FIRST_LINE = 2
"""The file's line on which the first event stands; its bracket has the one before."""
_GZIP = zlib.MAX_WBITS | 16
_PIECE_BYTES = 1024 * 1024


class Packed:
    """Lines on their way into an object: their count, and size and digest of the compressed bytes that passed."""

    def __init__(self, lines: AsyncIterator[list[bytes]]) -> None:
        self._lines = lines
        self._digest = hashlib.sha256()
        self.count = 0
        self.bytes = 0

    @property
    def sha256(self) -> bytes:
        """The digest of what passed so far."""
        return self._digest.digest()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields the object's bytes; the same lines always give the same bytes."""
        packing = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        opening = b"[\n"
        async for lines in self._lines:
            text = opening + b",\n".join(lines)
            opening = b",\n"
            self.count += len(lines)
            if piece := await asyncio.to_thread(packing.compress, text):
                yield self._passed(piece)
        yield self._passed(packing.compress(b"\n]\n" if self.count else b"[]\n") + packing.flush())

    def _passed(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        self.bytes += len(piece)
        return piece


async def unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yields the events' lines as they were packed, some at a time; Damaged where the object is not whole."""
    reading = _Lines()
    async for piece in pieces:
        for lines in reading.take(piece):
            yield lines
    reading.end()


class _Lines:
    """Cuts decompressed bytes into lines and sees to it that they are those of one closed array."""

    def __init__(self) -> None:
        self._packed = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._line = 0
        self._closed = False

    def take(self, piece: bytes) -> Iterator[list[bytes]]:
        while piece:
            try:
                text = self._packed.decompress(piece, _PIECE_BYTES)
            except zlib.error as error:
                raise Damaged(self._line + 1, f"the compressed bytes are damaged: {error}") from None
            piece = self._packed.unconsumed_tail
            if self._packed.eof and self._packed.unused_data:
                raise Damaged(self._line + 1, "bytes follow the end of the archive")
            *whole, self._rest = (self._rest + text).split(b"\n")
            if len(self._rest) > MAX_LINE_BYTES:
                raise Damaged(self._line + 1, f"a line is longer than {MAX_LINE_BYTES} bytes")
            if lines := self._events(whole):
                yield lines

    def end(self) -> None:
        if not self._packed.eof:
            raise Damaged(self._line + 1, "the archive ends in the middle of its compressed bytes")
        if not self._closed or self._rest:
            raise Damaged(self._line + 1, "the array of events is not closed")

    def _events(self, whole: Sequence[bytes]) -> list[bytes]:
        events = []
        for text in whole:
            self._line += 1
            if self._closed or (self._line == 1 and text not in (b"[", b"[]")):
                raise Damaged(self._line, "the archive is not one array of events")
            if self._line == 1:
                self._closed = text == b"[]"
            elif text == b"]":
                self._closed = True
            else:
                events.append(text.removesuffix(b","))
        return events
