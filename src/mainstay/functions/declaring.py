"""The words a function is declared in, and what its keys and conditions say of an event."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple, get_args

import orjson

from mainstay.functions import expressions
from mainstay.functions.errors import FunctionError
from mainstay.functions.expressions import NotAnExpression
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Cron

MAX_KEY_CHARACTERS = 200
MAX_LIMIT = 1_000_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")


class Received(NamedTuple):
    """An event as a handler sees it; `ts` is in milliseconds since 1970."""

    name: str
    data: Mapping[str, Any]
    user: Mapping[str, Any]
    id: str
    ts: int
    v: str | None = None
    company_id: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """The event as JSON has it, in Inngest's members."""
        return {"name": self.name, "data": self.data, "user": self.user, "id": self.id, "ts": self.ts, "v": self.v}


Key = str | Callable[[Received], Any]
Scope = Literal["fn", "env", "account"]
"""What tells runs apart: an expression such as `event.data.customerId`, or a function of the event."""

Condition = str | Callable[[Received], bool]
"""Whether an event is meant: an expression such as `event.data.total > 10`, or a function of the event."""

Handler = Callable[[Any, Received], Awaitable[Any]]
"""`async def run(step: Steps, event: Received)`; what it gives is the output of the run."""


@dataclass(frozen=True, slots=True)
class Event:
    """Starts a run for each event of that name that meets the condition."""

    name: str
    if_: Condition | None = None

    def __post_init__(self) -> None:
        _check(self.if_)
        _need(0 < len(self.name) <= MAX_KEY_CHARACTERS, f"an event's name has 1 to {MAX_KEY_CHARACTERS} characters")


@dataclass(frozen=True, slots=True)
class CancelOn:
    """Cancels a run when such an event arrives: `if_` sees the run's `event` and the arriving one as `async`; `match`
    is a path that must be the same in both, such as `data.orderId`."""

    name: str
    if_: str | None = None
    match: str | None = None

    def __post_init__(self) -> None:
        _check(self.if_)
        condition_of(self.if_, self.match)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` runs of a key execute at once, over all workers; `scope` 'fn' counts this function's alone."""

    limit: int
    key: Key | None = None
    scope: Scope = "fn"

    def __post_init__(self) -> None:
        _check(self.key)
        _need_count("a concurrency", self.limit)
        _need(self.scope in get_args(Scope), f"a concurrency's scope is one of {', '.join(get_args(Scope))}")


@dataclass(frozen=True, slots=True)
class Throttle:
    """Runs of a key start `period / limit` apart, `burst` of them at once; those too many start later."""

    limit: int
    period: timedelta
    burst: int = 1
    key: Key | None = None

    def __post_init__(self) -> None:
        _check(self.key)
        _need_count("a throttle's limit", self.limit)
        _need_count("a throttle's burst", self.burst)
        _need(timedelta(seconds=1) <= self.period <= timedelta(days=7), "a throttle's period is 1 s to 7 days")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` runs of a key start in a period that begins with its first; those too many are skipped."""

    limit: int
    period: timedelta
    key: Key | None = None

    def __post_init__(self) -> None:
        _check(self.key)
        _need_count("a rate limit", self.limit)
        _need(timedelta(seconds=1) <= self.period <= timedelta(days=1), "a rate limit's period is 1 s to 24 hours")


@dataclass(frozen=True, slots=True)
class Debounce:
    """A run starts once no event of the key has come for `period`, at the latest `timeout` after the first, with the
    last one."""

    period: timedelta
    key: Key | None = None
    timeout: timedelta | None = None

    def __post_init__(self) -> None:
        _check(self.key)
        _need(timedelta(seconds=1) <= self.period <= timedelta(days=7), "a debounce's period is 1 s to 7 days")


@dataclass(frozen=True, slots=True)
class BatchEvents:
    """A run starts with up to `max_size` events of a key together, at the latest `timeout` after the first; at most
    1 MB of events are gathered for one run."""

    max_size: int
    timeout: timedelta
    key: Key | None = None

    def __post_init__(self) -> None:
        _check(self.key)
        _need(1 <= self.max_size <= 100, "a batch has 1 to 100 events")
        _need(timedelta(seconds=1) <= self.timeout <= timedelta(seconds=60), "a batch waits 1 to 60 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A handler of several steps and what starts it. Its group is the id up to the first dot.

    `attempts` is of each step, and of what the handler does outside steps, with gaps by `backoff`; `timeout` is of one
    step's attempt. `listens` names announcements that the handler waits for, so that they are sent as events, too.
    """

    id: str
    run: Handler
    triggers: Sequence[Event | Cron] = ()
    idempotency: Key | None = None
    concurrency: Sequence[Concurrency] = ()
    throttle: Throttle | None = None
    rate_limit: RateLimit | None = None
    debounce: Debounce | None = None
    batch: BatchEvents | None = None
    cancel_on: Sequence[CancelOn] = ()
    on_failure: Handler | None = None
    listens: Sequence[str] = ()
    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    timeout: timedelta = timedelta(minutes=5)
    priority: int = 5

    def __post_init__(self) -> None:
        _need(_ID.fullmatch(self.id) is not None, f"{self.id!r} is no id: 1 to 80 of letters, digits and . _ : -")
        _check(self.idempotency)
        _need(1 <= self.attempts <= 21, f"{self.id}: attempts are 1 to 21")
        _need(len(self.concurrency) <= 2, f"{self.id}: at most two concurrencies")
        _need(self.debounce is None or self.batch is None, f"{self.id}: either debounce or batch")
        _need(0 <= self.priority <= 10, f"{self.id}: a priority is 0 to 10")
        _need(
            timedelta(0) < self.timeout <= timedelta(hours=2), f"{self.id}: the timeout of a step is at most two hours"
        )

    @property
    def group(self) -> str:
        """Which part of the registry it belongs to: `credit`, `kb`, `admin`."""
        return self.id.partition(".")[0]

    @property
    def keys(self) -> list[Key]:
        """Every key that the function has."""
        steered = (self.throttle, self.rate_limit, self.debounce, self.batch)
        given = [self.idempotency, *(one.key for one in (*self.concurrency, *steered) if one is not None)]
        return [key for key in given if key is not None]


def key_of(key: Key | None, event: Received) -> str:
    """What the key says of the event, as text of at most 200 characters; a longer one stands as its digest."""
    if key is None:
        return ""
    value = expressions.parse(key)({"event": event.shown}) if isinstance(key, str) else key(event)
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
    if len(text) > MAX_KEY_CHARACTERS or "\0" in text:
        return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return text


def is_met(condition: Condition | None, event: Received) -> bool:
    """Whether the event is meant."""
    if condition is None:
        return True
    if isinstance(condition, str):
        return expressions.parse(condition)({"event": event.shown}) is True
    return bool(condition(event))


def condition_of(if_: str | None, match: str | None) -> str | None:
    """The two ways to say which arriving event is meant, as one expression over `event` and `async`."""
    if match is None:
        return if_
    expressions.path_of(match)
    steps = "".join(f"[{orjson.dumps(step).decode()}]" for step in match.split("."))
    same = f"event{steps} == async{steps} && event{steps} != null"
    return same if if_ is None else f"({if_}) && {same}"


def meets(condition: str | None, event: Mapping[str, Any], arriving: Mapping[str, Any]) -> bool:
    """Whether an arriving event is the one that a run with that event speaks of."""
    return condition is None or expressions.parse(condition)({"event": event, "async": arriving}) is True


def _check(said: Key | Condition | None) -> None:
    _need(said is None or isinstance(said, str) or callable(said), f"{said!r} is neither text nor a function")
    if isinstance(said, str):
        try:
            expressions.parse(said)
        except NotAnExpression as error:
            raise FunctionError(f"{said!r}: {error}") from None


def _need_count(what: str, given: int) -> None:
    _need(isinstance(given, int) and 1 <= given <= MAX_LIMIT, f"{what} is a whole number of 1 to {MAX_LIMIT}")


def _need(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise FunctionError(otherwise)
