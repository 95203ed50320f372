"""When a delivery is tried again, and when it is given up: pure decisions and their constants."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from mainstay.kernel.pinning import ErrorCode

GAPS: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=6))
"""The wait after the first, second, third and fourth failed try, each counted from that try."""

RETRIES_AT_MOST: Final = len(GAPS)
DEFAULT_RETRIES: Final = RETRIES_AT_MOST
"""`retries` is the number of tries after the first: 4 gives five tries."""

RETRY_AFTER_AT_MOST: Final = timedelta(hours=6)
"""A receiver that asks for more patience than this gets this much."""

_HEEDED: Final = frozenset({429, 503})

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
    """The receiver said that it is gone for good: this delivery fails and the endpoint gets no other."""


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


def after(
    outcome: Outcome, *, status: int | None, attempts_made: int, retries: int, retry_after: str | None, now: datetime
) -> Verdict:
    """What becomes of the delivery once `attempts_made` tries (this one included) were made."""
    if outcome == "delivered":
        return _DELIVERED
    if outcome == "gone":
        return _DISABLE
    if attempts_made > retries:
        return _FAILED
    gap = GAPS[min(attempts_made, RETRIES_AT_MOST) - 1]
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
