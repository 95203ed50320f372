"""Steps as a handler takes them: done once and remembered; a step that has to wait stops the handler where it is."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from mainstay.functions import expressions
from mainstay.functions.committing import Committer, Lost, Result
from mainstay.functions.declaring import Received, condition_of
from mainstay.functions.errors import AppError, FunctionError, StepError
from mainstay.functions.failures import error_of, is_final, step_error
from mainstay.functions.pending import Invocation, Invoked, Known, Pending, Wait
from mainstay.functions.queries import steps as rows
from mainstay.functions.registry import INVOKED, plain_name
from mainstay.functions.routing import value_at
from mainstay.functions.sending import MAX_NAME_CHARACTERS, check, send
from mainstay.functions.starting import received
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.work import Hold, Retry, Snooze

MAX_STEPS = 1_000
MAX_STEP_BYTES = 4_000_000
MAX_RUN_BYTES = 32_000_000
MAX_STEP_ID = 200
_TICKS = 25
_LONGEST = timedelta(days=366)


class Steps:
    """The steps of one invocation of a run, as its handler sees them.

    Steps are told apart by their ids, and equal ids by their order. Work outside steps is done again whenever the run
    goes on, so what must not be repeated belongs in a step.
    """

    def __init__(self, invoked: Invoked, db: Database, committer: Committer) -> None:
        self._invoked = invoked
        self._db = db
        self._committer = committer
        self._started = time.monotonic()
        self._used: set[str] = set()
        self._bytes = sum(len(one.output or "") for one in invoked.known.values())
        self._ended: dict[str, Known] = {}
        self._flying = 0
        self._blocked: list[asyncio.Future[None]] = []
        self._is_closed = False
        self.pending = Pending()
        self.is_stuck: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def run_id(self) -> str:
        """The id of the run, which is the same in each of its invocations."""
        return self._invoked.run_id

    @property
    def events(self) -> Sequence[Received]:
        """The events of a batch; otherwise the one that started the run."""
        return self._invoked.events

    async def run(self, step_id: str, body: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """What `body(*args, **more)` gave, as JSON has it; it is not called again once that has been committed.

        After its last attempt StepError. `Discard` raised in it is its last attempt, `Retry(after=…)` says when the
        next one is.
        """
        key, known = self._next(step_id)
        if known is not None and known.state in ("done", "failed"):
            return _given(key, known)
        attempt = 1 if known is None else known.attempt + 1
        place, started = await self._begin(key)
        with self.under_way():
            try:
                async with asyncio.timeout(self._invoked.function.timeout.total_seconds()):
                    given = body(*args, **more)
                    if inspect.isawaitable(given):
                        given = await given
                output = _encoded(key, given)
            except Exception as error:
                result = self._result(key, place, "run", "failed", attempt, started, None, error_of(error))
                await self._failed(result, error)
            else:
                await self._commit(self._result(key, place, "run", "done", attempt, started, output, None))
                telemetry.FUNCTION_STEPS.labels(self._invoked.function.id, "done").inc()
                return orjson.loads(output)
        return await self._block()

    async def sleep(self, step_id: str, duration: timedelta) -> None:
        """So much time has passed since the step was first reached; at most 366 days."""
        if duration > _LONGEST:
            raise FunctionError(f"a sleep is at most {_LONGEST.days} days")
        key, known = self._next(step_id)
        await self._wait_for(key, known, Wait(key, 0, "sleep", None, max(duration, timedelta(0))))

    async def sleep_until(self, step_id: str, moment: datetime) -> None:
        """The moment has come; it is at most 366 days off."""
        key, known = self._next(step_id)
        if known is None and moment.astimezone(UTC) - self._invoked.now > _LONGEST:
            raise FunctionError(f"a sleep is at most {_LONGEST.days} days")
        await self._wait_for(key, known, Wait(key, 0, "sleep", moment.astimezone(UTC), None))

    async def wait_for_event(
        self,
        step_id: str,
        name: str,
        *,
        timeout: timedelta,  # noqa: ASYNC109 (the run waits, not this call)
        match: str | None = None,
        if_: str | None = None,
    ) -> Received | None:
        """The first event of that name sent after the wait was begun that is meant; None if there is none in time.

        `match` is a path that must be the same in the run's event and the arriving one, such as `data.userId`; `if_`
        an expression over `event` (the run's) and `async` (the arriving one).
        """
        key, known = self._next(step_id)
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or "\0" in name:
            raise FunctionError(f"an event's name has 1 to {MAX_NAME_CHARACTERS} characters and no NUL")
        if if_ is not None:
            expressions.parse(if_)
        value = value_at(match or "", self._invoked.events[0].shown)
        condition = if_ if value is not None else condition_of(if_, match)
        found = await self._wait_for(
            key,
            known,
            Wait(key, 0, "wait", None, min(timeout, _LONGEST), plain_name(name), match or "", value or "", condition),
        )
        return None if found is None else received(found)

    async def send_event(self, step_id: str, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[str]:
        """The events are sent, once, with the commit of this step; their ids."""
        key, known = self._next(step_id)
        if known is not None and known.state == "done":
            return list(_given(key, known))
        several = [events] if isinstance(events, Mapping) else list(events)
        place, started = await self._begin(key)
        with self.under_way():
            async with self._db.begin() as tx:
                ids = await send(tx, several, company_id=self._invoked.events[0].company_id)
                output = orjson.dumps(ids).decode()
                result = self._result(key, place, "send", "done", 1, started, output, None)
                is_kept = bool(await rows.commit_steps_everywhere(tx, [result]))
                if not is_kept:
                    self.pending.is_lost = True
                    raise Lost
            return ids

    async def invoke(
        self,
        step_id: str,
        function_id: str,
        data: Mapping[str, Any] | None = None,
        *,
        timeout: timedelta = _LONGEST,  # noqa: ASYNC109 (the run waits, not this call)
    ) -> Any:
        """The output of a run of another function, started once; StepError if it fails or takes longer."""
        key, known = self._next(step_id)
        if known is None:
            given = dict(data or {})
            check([{"name": INVOKED, "data": given}])
            self.pending.invocations.append(Invocation(key, function_id, given))
        found = await self._wait_for(key, known, Wait(key, 0, "invoke", None, min(timeout, _LONGEST)), is_given=True)
        return found

    def close(self) -> None:
        """No step begins any more, and those that wait end with the handler."""
        self._is_closed = True
        for blocked in self._blocked:
            blocked.cancel()

    def _next(self, step_id: str) -> tuple[str, Known | None]:
        if not 0 < len(step_id) <= MAX_STEP_ID or "\0" in step_id:
            raise FunctionError(f"the id of a step has 1 to {MAX_STEP_ID} characters and no NUL")
        if self._is_closed:
            raise asyncio.CancelledError
        key, count = step_id, 0
        while key in self._used:
            count += 1
            key = f"{step_id}:{count}"
        self._used.add(key)
        return key, self._invoked.known.get(key)

    async def _begin(self, key: str) -> tuple[int, float]:
        """The step's place, and when it began; no step begins in a run that has come to its bounds."""
        place = self._place_of(key)
        if self.pending.fatal is not None:
            await self._block()
        return place, time.monotonic()

    def _place_of(self, key: str) -> int:
        """The step's place in the run, which the timeline is ordered by."""
        place = len(self._used)
        if place > MAX_STEPS:
            self.pending.fatal = StepError(key, "TooManySteps", f"a run has at most {MAX_STEPS} steps")
        elif self._bytes > MAX_RUN_BYTES:
            message = f"what the steps of a run gave is at most {MAX_RUN_BYTES} bytes"
            self.pending.fatal = StepError(key, "RunTooLarge", message)
        return min(place, MAX_STEPS + 1)

    def _result(self, key: str, place: int, kind: str, state: str, attempt: int, started: float, *given: Any) -> Result:
        seconds = time.monotonic() - started
        output, error = given
        return Result(self.run_id, self._invoked.epoch, key, place, kind, state, attempt, seconds, output, error)

    async def _commit(self, result: Result) -> None:
        try:
            await self._committer.commit(result)
        except Lost:
            self.pending.is_lost = True
            await self._block(is_landing=True)
        except Unavailable:
            self.pending.is_away = True
            await self._block(is_landing=True)
        except Exception as error:
            self.pending.fatal = StepError(result.step_id, type(error).__name__, f"it could not be kept: {error}")
            await self._block(is_landing=True)
        self._bytes += len(result.output or "")
        self._ended[result.step_id] = Known(
            result.kind, result.state, result.attempt, result.output, result.error, None
        )

    async def _failed(self, result: Result, error: Exception) -> None:
        """The step is to be tried again; StepError after its last attempt."""
        function = self._invoked.function
        if isinstance(error, Snooze | Hold):
            self.pending.snooze_after = _sooner(self.pending.snooze_after, error.after)
            return
        telemetry.FUNCTION_STEPS.labels(function.id, "failed").inc()
        if result.attempt >= function.attempts or is_final(error):
            await self._commit(result)
            raise step_error(result.step_id, result.error) from error
        after = error.after if isinstance(error, Retry | AppError) and error.after is not None else None
        after = function.backoff.after(result.attempt) if after is None else after
        self.pending.retries.append(result._replace(state="retrying"))
        self.pending.retry_after = _sooner(self.pending.retry_after, after)
        self.pending.retry_reason = f"step {result.step_id!r}: {type(error).__name__}: {error}"

    async def _wait_for(self, key: str, known: Known | None, wait: Wait, *, is_given: bool = False) -> Any:
        if known is not None and known.state in ("done", "failed"):
            if is_given and known.state == "done" and known.output is None:
                raise StepError(key, "TimeoutError", "the invoked function did not end in time")
            return _given(key, known)
        if known is None:
            self.pending.waits.append(wait._replace(place=self._place_of(key)))
            now = self._invoked.now + timedelta(seconds=time.monotonic() - self._started)
            after = wait.after if wait.at is None else wait.at - now
        else:
            after = timedelta(seconds=known.wait_seconds or 0.0)
        self.pending.wake_after = _sooner(self.pending.wake_after, after or timedelta(0))
        return await self._block()

    @property
    def attempt(self) -> int:
        """How many attempts failed at what is being tried now."""
        retrying = [one.attempt for one in self._invoked.known.values() if one.state == "retrying"]
        return max([self._invoked.failures, *retrying])

    def remembered(self) -> dict[str, Known]:
        """Every step that has ended, in this invocation or before."""
        known = {key: one for key, one in self._invoked.known.items() if one.state in ("done", "failed")}
        return {**known, **self._ended}

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A step is under way: until it ends the handler is not stopped for others that wait."""
        self._flying += 1
        try:
            yield
        finally:
            self._flying -= 1
            if self._blocked:
                self._look(_TICKS)

    async def _block(self, *, is_landing: bool = False) -> Any:
        """Waits until the handler is stopped, which is once nothing of it can go on."""
        blocked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._blocked.append(blocked)
        self._flying -= is_landing
        self._look(_TICKS)
        try:
            await blocked
        finally:
            self._flying += is_landing

    def _look(self, ticks: int) -> None:
        """What was woken by the same event may begin a step yet, so it is looked at again a few ticks later."""
        if self._flying or self.is_stuck.done():
            return
        if ticks:
            asyncio.get_running_loop().call_soon(self._look, ticks - 1)
        else:
            self.is_stuck.set_result(None)


def _given(key: str, known: Known) -> Any:
    if known.state == "failed":
        raise step_error(key, known.error)
    return None if known.output is None else orjson.loads(known.output)


def _encoded(key: str, given: Any) -> str:
    output = orjson.dumps(given)
    if len(output) > MAX_STEP_BYTES:
        message = f"it gave {len(output)} bytes; at most {MAX_STEP_BYTES} are kept"
        raise StepError(key, "StepTooLarge", message)
    return output.decode()


def _sooner(one: timedelta | None, other: timedelta) -> timedelta:
    return other if one is None else min(one, other)
