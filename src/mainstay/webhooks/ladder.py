"""When a delivery is tried again, and when it is given up: pure decisions and their constants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, Literal

from mainstay.kernel.pinning import ErrorCode

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)

GAPS: Final = (_MINUTE, 5 * _MINUTE, 30 * _MINUTE, 6 * _HOUR)
"""The wait after the first, second, third and fourth failed try, each counted from that try."""

Profile = Literal["standard", "three_days"]
"""The documented ladder, or one that outlasts a weekend's outage: 71 h 36 min in ten gaps."""

PROFILES: Final[Mapping[str, tuple[timedelta, ...]]] = {
    "standard": GAPS,
    "three_days": (*GAPS[:3], 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 10 * _HOUR, 14 * _HOUR, 14 * _HOUR, 16 * _HOUR),
}

RETRIES_AT_MOST: Final = len(GAPS)
DEFAULT_RETRIES: Final = RETRIES_AT_MOST
"""`retries` is the number of tries after the first: 4 gives five tries."""

RETRY_AFTER_AT_MOST: Final = timedelta(hours=6)
"""A receiver that asks for more patience than this gets this much."""

_HEEDED: Final = frozenset({429, 503})

WORD_HEADER: Final = "webhook-delivery"
Word = Literal["disable", "abort-message"]
"""What a receiver may ask for by the header `webhook-delivery`: no delivery any more, or no further try at this one."""

Outcome = Literal["delivered", "status", "redirect", "gone", "unsendable"] | ErrorCode
"""How one try ended: `status` is any other answer than 2xx, `unsendable` a try that we could not sign."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """The next try comes after this long."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class Failed:
    """No try is left."""


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """The receiver wants nothing any more: this delivery fails and the endpoint gets no other."""


Verdict = Delivered | RetryAfter | Failed | DisableEndpoint
_DELIVERED = Delivered()
_FAILED = Failed()
_DISABLE = DisableEndpoint()


def outcome_of(status: int | None, error: ErrorCode | None) -> Outcome:
    """The outcome of a try by the answer's status and what went wrong; a broken answer is no success."""
    if error is not None:
        return error
    assert status is not None
    if 200 <= status < 300:
        return "delivered"
    if status == 410:
        return "gone"
    return "redirect" if 300 <= status < 400 else "status"


def word_of(headers: Mapping[str, str]) -> Word | None:
    """What the answer's headers (names in lower case) ask for; None where they ask for nothing that is known."""
    said = headers.get(WORD_HEADER)
    if said is None:
        return None
    words = {word.strip().lower() for word in said.split(",")}
    if "disable" in words:
        return "disable"
    return "abort-message" if "abort-message" in words else None


@lru_cache(maxsize=64)
def gaps_of(profile: str, retries: int) -> tuple[timedelta, ...]:
    """The waits after each of `retries` failed tries; beyond a profile's own length its last one goes on."""
    gaps = PROFILES[profile]
    return gaps[:retries] + gaps[-1:] * (retries - len(gaps))


def after(
    outcome: Outcome,
    *,
    status: int | None,
    attempts_made: int,
    gaps: Sequence[timedelta],
    headers: Mapping[str, str],
    now: datetime,
) -> Verdict:
    """What becomes of the delivery once `attempts_made` tries (this one included) were made.

    `gaps` are the waits that it has in all; `headers` are those of the answer to this try.
    """
    if outcome == "delivered":
        return _DELIVERED
    word = word_of(headers)
    if outcome == "gone" or word == "disable":
        return _DISABLE
    if attempts_made > len(gaps) or word == "abort-message":
        return _FAILED
    gap = gaps[attempts_made - 1]
    retry_after = headers.get("retry-after")
    asked = patience(retry_after, now) if retry_after is not None and status in _HEEDED else None
    return RetryAfter(gap if asked is None else max(gap, asked))


def patience(retry_after: str, now: datetime) -> timedelta | None:
    """How long a `Retry-After` of seconds or of an HTTP date asks to wait, at most 6 h; None where it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return RETRY_AFTER_AT_MOST if len(text) > 6 else min(timedelta(seconds=int(text)), RETRY_AFTER_AT_MOST)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(min(moment - now, RETRY_AFTER_AT_MOST), timedelta(0))
