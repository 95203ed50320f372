"""Identifiers: UUID version 7 (time-ordered, RFC 9562) as lower-case text, trace and span ids as W3C writes them."""

import os
import random
import time
from datetime import UTC, datetime
from uuid import UUID

# How far the clock may fall behind the last id before ids follow it back, in 1/4096 of a millisecond.
_STANDSTILL = 1_000 << 12
_last_stamp = 0


def new_id() -> str:
    """A fresh UUIDv7 as text: 48 bits of milliseconds, 12 of their fraction, 62 random.

    Ids of one process rise, unless the clock was set back by more than a second.
    """
    global _last_stamp  # noqa: PLW0603 (what the clock last told is a fact of the process)
    stamp = (time.time_ns() << 12) // 1_000_000
    if stamp <= _last_stamp < stamp + _STANDSTILL:
        stamp = _last_stamp + 1
    _last_stamp = stamp
    tail = (int.from_bytes(os.urandom(8), "big") & 0x3FFFFFFFFFFFFFFF) | 0x8000000000000000
    text = "%012x7%03x%016x" % (stamp >> 12, stamp & 0xFFF, tail)  # noqa: UP031 - faster than an f-string
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_trace_id() -> str:
    """A fresh W3C trace id: 32 lower-case hex digits, never all zero."""
    return os.urandom(16).hex()


def new_span_id() -> str:
    """A fresh W3C span id: 16 lower-case hex digits, never all zero; it tells spans apart and is no secret."""
    return f"{random.getrandbits(64) or 1:016x}"


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its usual form of 36 characters."""
    if len(text) != 36:
        return False
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def time_of(identifier: str) -> datetime:
    """The moment inside a UUIDv7, to the millisecond. Any other UUID gives a meaningless but valid time."""
    ms = min(int(identifier[:8] + identifier[9:13], 16), 4_102_444_800_000)
    return datetime.fromtimestamp(ms / 1000, UTC)


def lowest_id(moment: datetime) -> str:
    """The smallest UUIDv7 of that millisecond: a bound for range partitions and range reads by id."""
    text = f"{int(moment.timestamp() * 1000):012x}" + "0" * 20
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
