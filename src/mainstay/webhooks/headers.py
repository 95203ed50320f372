"""What headers of their own an owner may have sent with each try: pure checks."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

HEADERS_AT_MOST: Final = 20
NAME_CHARACTERS: Final = 100
VALUE_CHARACTERS: Final = 1_000

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# What frames a message, steers its connection, or is what this product itself says about a delivery.
_RESERVED: Final = frozenset(
    {"host", "accept", "accept-encoding", "connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer",
     "expect", "user-agent", "date", "x-trace-id", "traceparent", "tracestate"}
)  # fmt: skip
_RESERVED_STARTS: Final = ("content-", "proxy-", "webhook-")


def faults(given: Mapping[str, str], brand: str) -> list[tuple[str, str]]:
    """Everything wrong with these headers, as (JSON pointer, reason); none where they may be sent."""
    found: list[tuple[str, str]] = []
    if len(given) > HEADERS_AT_MOST:
        found.append(("#/headers", f"at most {HEADERS_AT_MOST} headers"))
    seen: set[str] = set()
    for name, value in given.items():
        reason = _fault_of_name(name, brand) or _fault_of_value(value)
        if reason is None and name.lower() in seen:
            reason = "given twice: names of headers are the same in any case of letters"
        seen.add(name.lower())
        if reason is not None:
            found.append((f"#/headers/{name.replace('~', '~0').replace('/', '~1')}", reason))
    return found


def _fault_of_name(name: str, brand: str) -> str | None:
    if not 0 < len(name) <= NAME_CHARACTERS:
        return f"a name has 1 to {NAME_CHARACTERS} characters"
    if not _TOKEN.fullmatch(name):
        return "a name is letters, digits and !#$%&'*+-.^_`|~"
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(_RESERVED_STARTS) or lower.startswith(_branded(brand)):
        return "this header is set by the sender itself"
    return None


def _fault_of_value(value: str) -> str | None:
    if len(value) > VALUE_CHARACTERS:
        return f"a value has at most {VALUE_CHARACTERS:,} characters"
    if not _VALUE.fullmatch(value):
        return "a value is printable ASCII"
    if value != value.strip(" "):
        return "a value does not begin or end with a space"
    return None


@lru_cache(maxsize=16)
def _branded(brand: str) -> str:
    return f"x-{brand.lower()}-"
