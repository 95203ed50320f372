"""Limits as routes see them: what a call is held to, what refuses it, and the fields that tell of it.

A route without identity takes `dependencies=[Depends(Limited("login"))]`; guards of people and keys hold callers to
theirs by themselves. The limits room fulfils `Limiter`; `main` puts it into the application's state.
"""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from fastapi import Depends, Request

from mainstay.kernel.errors import TooManyRequests, Unauthenticated
from mainstay.web.asgi import Headers, Scope
from mainstay.web.forwarded import counted_as

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_MOST_SECONDS = 86_400 * 366
_NOTED = "mainstay.limits"
SetBy = Literal["default", "setting", "operator"]
HeaderStyle = Literal["draft", "legacy", "both", "none"]


@dataclass(frozen=True, slots=True)
class Whose:
    """What a call may be counted for; without a company or a person these are empty."""

    address: str
    route: str
    company_id: str = ""
    user_id: str = ""


class Verdict(NamedTuple):
    """What one policy says of one call, and who set its figures; `until` is set where they hold for a time only."""

    policy: str
    allowed: bool
    allowance: int
    window_seconds: int
    remaining: int
    frees_in_seconds: float
    set_by: SetBy = "default"
    of_company: bool = False
    until: str | None = None


class Limiter(Protocol):
    """Counts calls; None where nothing holds the call at present (no such limit, or nobody who could count)."""

    async def take(self, policy: str, whose: Whose) -> Verdict | None: ...

    async def give_back(self, policy: str, whose: Whose, *, held_seconds: float) -> None: ...

    def replaces_general(self, policy: str) -> bool: ...


class KeyRates(Protocol):
    """Counts calls of API keys from tokens that this process holds; `lease` fetches more where it has none."""

    def spend(self, key_id: str) -> Verdict | Literal["lease"] | None: ...

    async def lease(self, key_id: str, company_id: str) -> Verdict | None: ...


class Unlimited:
    """Holds nobody to anything."""

    async def take(self, policy: str, whose: Whose) -> Verdict | None:
        """As `Limiter.take`."""
        return None

    async def give_back(self, policy: str, whose: Whose, *, held_seconds: float) -> None:
        """As `Limiter.give_back`."""

    def replaces_general(self, policy: str) -> bool:
        """As `Limiter.replaces_general`."""
        return True

    def spend(self, key_id: str) -> Verdict | Literal["lease"] | None:
        """As `KeyRates.spend`."""
        return None

    async def lease(self, key_id: str, company_id: str) -> Verdict | None:
        """As `KeyRates.lease`."""
        return None


class RateLimitExceeded(TooManyRequests):
    """Rate limit exceeded"""

    def __init__(self, verdict: Verdict) -> None:
        seconds = whole_seconds(verdict.frees_in_seconds)
        super().__init__(
            f"Rate limit exceeded: '{verdict.policy}' lets {verdict.allowance} calls pass in "
            f"{verdict.window_seconds} s ({_origin(verdict)}). Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
            extra={
                "type": QUOTA_EXCEEDED,
                "violated-policies": [verdict.policy],
                "policy": {
                    "name": verdict.policy,
                    "allowance": verdict.allowance,
                    "windowSeconds": verdict.window_seconds,
                    "setBy": verdict.set_by,
                    "of": "company" if verdict.of_company else "everybody",
                    "until": verdict.until,
                },
                "retryAfterSeconds": seconds,
            },
        )


class Limited:
    """Holds calls of a route without identity to a policy, before anything else is looked at."""

    def __init__(self, policy: str) -> None:
        self.policy = policy

    async def __call__(self, request: Request) -> None:
        await hold(request, self.policy)


class Failing:
    """Holds to a policy that counts only calls refused with 401. Take it with `scope="function"`."""

    def __init__(self, policy: str) -> None:
        self.policy = policy

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        async with failing(request, self.policy):
            yield


@asynccontextmanager
async def failing(request: Request, policy: str) -> AsyncIterator[None]:
    """What happens inside is counted before it begins, so that simultaneous guesses cannot slip through, and counts no
    longer once it ends otherwise than by Unauthenticated; RateLimitExceeded."""
    started = time.monotonic()
    await hold(request, policy)
    try:
        yield
    except Unauthenticated:
        raise
    except BaseException:
        await give_back(request, policy, since=started)
        raise
    await give_back(request, policy, since=started)


FAILED_LOGINS: Any = Depends(Failing("login_failures"), scope="function")
"""What login routes depend on beside `Limited("login")` (C-18)."""


async def hold(request: Request, policy: str, *, company_id: str = "", user_id: str = "") -> None:
    """The call is counted; RateLimitExceeded past the allowance."""
    limiter: Limiter = request.app.state.limiter
    abide(request.scope, await limiter.take(policy, _whose(request, company_id, user_id)))


async def give_back(request: Request, policy: str, *, since: float, company_id: str = "", user_id: str = "") -> None:
    """What `hold` counted for this call counts no longer; `since` is `time.monotonic()` from before it did."""
    limiter: Limiter = request.app.state.limiter
    held_seconds = time.monotonic() - since
    await limiter.give_back(policy, _whose(request, company_id, user_id), held_seconds=held_seconds)


async def hold_person(request: Request, company_id: str, user_id: str, policy: str | None = None) -> None:
    """The call of somebody who is known is counted under the general limit and, where the route names one, under that
    policy; a policy of routes stands in the general one's place. RateLimitExceeded."""
    limiter: Limiter = request.app.state.limiter
    if policy is None or not limiter.replaces_general(policy):
        await hold(request, "general", company_id=company_id, user_id=user_id)
    if policy is not None:
        await hold(request, policy, company_id=company_id, user_id=user_id)


async def hold_key(scope: Scope, rates: KeyRates, key_id: str, company_id: str) -> None:
    """One more call of an API key is counted; RateLimitExceeded past what its plan lets pass."""
    verdict = rates.spend(key_id)
    if verdict == "lease":
        verdict = await rates.lease(key_id, company_id)
    abide(scope, verdict)


def abide(scope: Scope, verdict: Verdict | None) -> None:
    """The answer will tell of the verdict; RateLimitExceeded where it is a refusal."""
    if verdict is None:
        return
    held = scope.get(_NOTED)
    if held is None:
        scope[_NOTED] = [verdict]
    else:
        held.append(verdict)
    if not verdict.allowed:
        raise RateLimitExceeded(verdict)


def noted(scope: Scope) -> Verdict | None:
    """The last verdict on the request, or None where nothing held it."""
    found: Sequence[Verdict] | None = scope.get(_NOTED)
    return found[-1] if found else None


def fields_of(scope: Scope, style: HeaderStyle) -> Headers:
    """The header fields that tell of every limit which the request was held to."""
    held: Sequence[Verdict] | None = scope.get(_NOTED)
    if not held or style == "none":
        return []
    found: Headers = []
    if style != "legacy":
        found.append(
            (b"ratelimit-policy", b", ".join(_policy_item(v.policy, v.allowance, v.window_seconds) for v in held))
        )
        found.append((b"ratelimit", b", ".join(_limit_item(one) for one in held)))
    if style != "draft":
        tightest = min(held, key=lambda one: (one.allowed, one.remaining))
        found.append((b"ratelimit-limit", b"%d" % tightest.allowance))
        found.append((b"ratelimit-remaining", b"%d" % tightest.remaining))
        found.append((b"ratelimit-reset", b"%d" % whole_seconds(tightest.frees_in_seconds)))
    return found


def whole_seconds(seconds: float) -> int:
    """Seconds to wait, never too few, and at least one."""
    return max(1, math.ceil(min(seconds, _MOST_SECONDS)))


@lru_cache(maxsize=1_024)
def _policy_item(policy: str, allowance: int, window_seconds: int) -> bytes:
    return f'"{policy}";q={allowance};w={window_seconds}'.encode()


def _limit_item(verdict: Verdict) -> bytes:
    return b'"%b";r=%d;t=%d' % (verdict.policy.encode(), verdict.remaining, whole_seconds(verdict.frees_in_seconds))


def _origin(verdict: Verdict) -> str:
    if verdict.set_by == "default":
        return "the default"
    if verdict.set_by == "setting":
        return "set by this service's configuration"
    whom = "for this company" if verdict.of_company else "for everybody"
    return f"set by the operator {whom}" + (f" until {verdict.until}" if verdict.until else "")


def _whose(request: Request, company_id: str, user_id: str) -> Whose:
    client = request.scope.get("client")
    return Whose(counted_as(client[0] if client else ""), route_of(request.scope), company_id, user_id)


def route_of(scope: Scope) -> str:
    """The route as keys of counters have it: its pattern, and the method behind it where it is not GET."""
    pattern: str = getattr(scope.get("route"), "path", None) or "unmatched"
    method = scope["method"]
    return pattern if method in ("GET", "HEAD") else f"{pattern}:{method}"
