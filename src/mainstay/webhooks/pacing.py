"""What is sent, how its owner wants it sent, and when a try that was admitted may start. Pure."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec

from mainstay.webhooks.ladder import Profile

LANE_LIMIT: Final = 10
"""How many tries at one endpoint a worker makes at once, where nothing else is said."""

LATE_AT_MOST_SECONDS: Final = 0.05
"""A try starts within this time after its place in the pace, or not at all.

Places are 1.05 / rate apart (mainstay.admit), so that no second in which they are used sees more starts than the rate.
"""

BREAKER_SECONDS: Final = 1.0
"""Who has to ask again after this long or longer met an open breaker, and sends one job to ask the next time."""


class Policy(msgspec.Struct, frozen=True):
    """What an owner set on an endpoint as far as sending is concerned; the defaults are those of an ordinary one."""

    profile: Profile = "standard"
    signing: Literal["hmac", "ed25519"] = "hmac"
    trace: Literal["propagate", "restart", "off"] = "propagate"
    version: int = 1
    rate: int | None = None
    concurrency: int | None = None

    @property
    def lane_limit(self) -> int:
        """How many tries at the endpoint one worker takes on at once: no more than it can soon start."""
        limit = LANE_LIMIT if self.concurrency is None else min(self.concurrency, LANE_LIMIT)
        return limit if self.rate is None else min(limit, max(1, -(-self.rate // 10)))


ORDINARY: Final = Policy()


@lru_cache(maxsize=1_024)
def policy_of(text: str | None) -> Policy:
    """The policy that the database gave as JSON; None is the ordinary one."""
    return ORDINARY if text is None else msgspec.json.decode(text, type=Policy)


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """One delivery with all that sending it needs; `fault` says why it cannot be sent, `trace_id` None sends none."""

    delivery_id: str
    endpoint_id: str
    url: str
    secrets: tuple[str, ...]
    message_id: str
    event_type: str
    trace_id: str | None
    body: bytes
    attempts_made: int
    retries: int
    accepted_at: float | None
    policy: Policy
    headers: Mapping[str, str] | None
    fault: str | None


class Turn(msgspec.Struct, frozen=True, gc=False):
    """An admitted try: it starts no earlier and no later than these monotonic readings."""

    earliest: float
    latest: float


class Held(msgspec.Struct, frozen=True, gc=False):
    """A try that was not admitted: ask again after this long."""

    seconds: float


class Gated(msgspec.Struct, frozen=True, gc=False):
    """A parcel for an endpoint with a limit or an open breaker, and what was decided on it."""

    parcel: Parcel
    turn: Turn | Held


def turn_of(wait_seconds: float, *, asked: float, answered: float, is_paced: bool) -> Turn:
    """When a try admitted after a wait may start, by monotonic readings from before and after the question.

    The database read its clock somewhere between the two, so the window holds whenever that was. Without a rate there
    is no place in a pace to miss.
    """
    return Turn(answered + wait_seconds, asked + wait_seconds + LATE_AT_MOST_SECONDS if is_paced else math.inf)
