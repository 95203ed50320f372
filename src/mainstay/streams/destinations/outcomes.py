"""What can become of a batch, and what an HTTP answer says of it: pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from mainstay.kernel.outbound import Answer
from mainstay.streams.forms import Batch

_TRANSIENT: Final = frozenset({408, 425, 429})
OF_EVENTS: Final = frozenset({400, 413, 422})
"""Answers that speak of what was sent, not of who sent it or where to."""
_RETRY_AFTER_AT_MOST: Final = timedelta(minutes=15)
_SHOWN_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the destination has the batch; if not why, whether trying again soon could help, and whether it is what
    the events hold that was refused."""

    ok: bool
    reason: str = ""
    is_permanent: bool = False
    retry_after: timedelta | None = None
    is_of_events: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much goes into one batch: events, bytes as they are stored (but at least one event), and the least gap."""

    events: int
    bytes: int
    gap: timedelta = timedelta(0)


class Sender(Protocol):
    """Carries batches to one destination."""

    @property
    def bounds(self) -> Bounds: ...

    async def send(self, batch: Batch) -> Outcome: ...


class Unopened:
    """Stands for a destination whose secrets cannot be opened; takes nothing."""

    bounds = Bounds(1, 1)

    async def send(self, batch: Batch) -> Outcome:
        """Refused, until the destination is given again or the old master secret is."""
        return Outcome(False, "its secrets were sealed under a master secret that is not here any more", True)


TAKEN: Final = Outcome(True)


def judge(answer: Answer, *, secrets: Sequence[str] = (), of_events: Collection[int] = ()) -> Outcome:
    """What an answer says: 2xx has it, 408, 425, 429, 5xx and silence may have it later, all else refuses it.

    `of_events` are the statuses by which the destination refuses what events hold.
    """
    if answer.status is None:
        reason = f"no answer: {answer.error} ({answer.error_detail})"
        return Outcome(False, reason, is_permanent=answer.error == "refused_address")
    if 200 <= answer.status < 300:
        return TAKEN
    said = answer.body.decode("utf-8", "replace")
    # Before it is cut: the beginning of a secret is no more to be shown than the whole.
    for secret in secrets:
        said = said.replace(secret, "(secret)")
    said = "".join(c if c.isprintable() else " " for c in said[:_SHOWN_CHARACTERS])
    is_transient = answer.status >= 500 or answer.status in _TRANSIENT
    return Outcome(
        False,
        f"answered {answer.status}{': ' + said if said else ''}",
        is_permanent=not is_transient,
        retry_after=_retry_after(answer.headers.get("retry-after")) if is_transient else None,
        is_of_events=answer.status in of_events,
    )


def _retry_after(text: str | None) -> timedelta | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return min(timedelta(seconds=int(text)), _RETRY_AFTER_AT_MOST)
