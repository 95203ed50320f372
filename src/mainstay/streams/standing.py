"""When a stream that does not get through is called failing, how long it rests, and what becomes of events that are
refused for what they hold: pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final, Literal, TypeAlias

from mainstay.kernel.retry import Backoff

FAILING_AFTER: Final = 5
DISABLED_AFTER: Final = timedelta(days=30)
REST_AT_MOST: Final = timedelta(minutes=5)
REFUSED_TRIES: Final = 3
REFUSED_REST: Final = timedelta(seconds=2)
OnRefusal: TypeAlias = Literal["stop", "skip"]
Step: TypeAlias = Literal["halve", "again", "aside", "stop"]
_BACKOFF: Final = Backoff("exponential", timedelta(seconds=1), jitter=0.5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of the stream after a failure, and how long it rests before it is tried again."""

    state: Literal["active", "failing", "disabled"]
    rest: timedelta


def after_failure(
    state: str,
    failures: int,
    *,
    is_permanent: bool,
    failing_since: datetime | None,
    now: datetime,
    retry_after: timedelta | None = None,
    rng: Random | None = None,
) -> Verdict:
    """What follows from one more failure, of which there were `failures` in a row before.

    A refusal makes the stream failing at once, silence and errors of the receiver after five in a row; it is tried
    again each 5 min at most, and disabled after 30 days without a success.
    """
    if failing_since is not None and now - failing_since >= DISABLED_AFTER:
        return Verdict("disabled", REST_AT_MOST)
    is_failing = state == "failing" or is_permanent or failures + 1 >= FAILING_AFTER
    rest = REST_AT_MOST if is_permanent else min(_BACKOFF.after(failures + 1, rng), REST_AT_MOST)
    return Verdict("failing" if is_failing else "active", max(rest, retry_after or timedelta(0)))


def after_refusal(events: int, tries: int, on_refusal: OnRefusal, *, is_full: bool) -> Step:
    """What follows where a batch of so many events was refused for what they hold.

    Half of it goes out next, until one event stands alone. That one is tried `tries` times before and 3 in all, and is
    put aside where the stream skips, unless as many are put aside as may be (`is_full`); else the stream stops there.
    """
    if events > 1:
        return "halve"
    if on_refusal == "stop" or is_full:
        return "stop"
    return "again" if tries + 1 < REFUSED_TRIES else "aside"
