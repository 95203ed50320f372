"""Runs as jobs: claimed runs are taken up together, each handler goes as far as it can, and the ends are written with
the acknowledgements."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import orjson

from mainstay.functions import limits
from mainstay.functions.committing import Committer, Result
from mainstay.functions.declaring import Function, key_of
from mainstay.functions.ending import Ended, tell
from mainstay.functions.errors import AppError, FunctionNotFound, StepError
from mainstay.functions.failures import error_text, is_final
from mainstay.functions.gathering import UNKNOWN_AFTER
from mainstay.functions.limits import Limits
from mainstay.functions.pending import Invocation, Invoked, Known, Wait
from mainstay.functions.queries import limits as limit_rows
from mainstay.functions.queries import runs as rows
from mainstay.functions.queries import steps as step_rows
from mainstay.functions.registry import INVOKED, Registry
from mainstay.functions.routing import Refresh
from mainstay.functions.starting import RUN_ATTEMPTS, Start, made_up, received, start
from mainstay.functions.stepping import MAX_RUN_BYTES, Steps
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Discard, Hold, Job, Outcome, Retry, Snooze

_log = logger(__name__)
_IN_LINE = timedelta(days=1)
_AWAY = timedelta(seconds=1)
_STOPPING_SECONDS = 5.0
_GIVEN_UP_AFTER = timedelta(days=7)
_LONGEST_UNKNOWN = timedelta(hours=1)


class Taken(NamedTuple):
    """A run as its claim took it up; `why_not` says why its handler is not to be run."""

    row: Record
    known: Mapping[str, Known]
    limits: Limits | None
    why_not: Literal["", "in line", "lost too often"] = ""


class Left(NamedTuple):
    """How an invocation left its run, which the acknowledgement writes."""

    taken: Taken
    epoch: int
    state: Literal["open", "completed", "failed"] = "open"
    failures: int = 0
    is_retry: bool = False
    is_unknown: bool = False
    output: str | None = None
    error: str | None = None
    waits: Sequence[Wait] = ()
    retries: Sequence[Result] = ()
    invocations: Sequence[Invocation] = ()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.taken.row["id"])


class Runs:
    """What a worker does with claimed runs."""

    def __init__(self, db: Database, registry: Registry, refresh: Refresh | None = None) -> None:
        self._db = db
        self._refresh = refresh
        self._registry = registry
        self._committer = Committer(db)

    async def load(self, jobs: Sequence[Job]) -> Mapping[int, Taken | None]:
        """The runs that these claims may go on with; None for one that is over, or another job's."""
        by_run = {job.payload["run"]: job for job in jobs}
        if self._refresh is not None and any(self._registry.find(job.payload["function"]) is None for job in jobs):
            await self._refresh(self._db)
        async with self._db.begin() as tx:
            found = await rows.take_runs_everywhere(
                tx,
                list(by_run),
                [job.id for job in by_run.values()],
                [job.epoch for job in by_run.values()],
                [job.attempt for job in by_run.values()],
            )
            known = await self._known_of(tx, found)
            limited = {str(row["id"]): one for row in found if (one := Limits.parse(row["limits"])) is not None}
            placed = await limits.take_places(tx, limited) if limited else set()
            taken: dict[int, Taken | None] = {job.id: None for job in jobs}
            for row in found:
                run_id = str(row["id"])
                job, steps = by_run[run_id], known.get(run_id, {})
                is_lost = job.attempt > 1 and await self._is_lost_too_often(tx, row, job, steps)
                why_not: Any = "lost too often" if is_lost else ""
                if run_id in limited and run_id not in placed:
                    why_not = why_not or "in line"
                taken[job.id] = Taken(row, steps, limited.get(run_id), why_not)
        return taken

    async def act(self, job: Job, taken: Taken | None) -> tuple[Outcome, Left | None]:
        """The handler has gone as far as it can now."""
        if taken is None:
            return None, None
        row = taken.row
        function = self._registry.find(row["function_id"])
        if function is None:
            return self._unknown(job, taken)
        if taken.why_not == "in line":
            return Snooze(_IN_LINE, "as many runs of its key are executing as may"), Left(
                taken, job.epoch, failures=row["failures"]
            )
        if taken.why_not:
            return self._fail(job, taken, error_text("WorkerLost", "every worker that ran this step was lost"))
        events = [received(event) for event in orjson.loads(row["input"])]
        invoked = Invoked(
            run_id=str(row["id"]),
            epoch=job.epoch,
            function=function,
            events=events,
            known=taken.known,
            failures=row["failures"],
            now=row["now"],
        )
        steps = Steps(invoked, self._db, self._committer)
        handler = asyncio.ensure_future(function.run(steps, events[0]))
        try:
            await asyncio.wait([handler, steps.is_stuck], return_when=asyncio.FIRST_COMPLETED)
        finally:
            steps.close()
            if not handler.done():
                handler.cancel()
                await asyncio.wait([handler], timeout=_STOPPING_SECONDS)
        return self._left(job, taken, function, steps, handler)

    async def record(self, tx: Tx, results: Sequence[tuple[Job, Left | None, Outcome]]) -> None:
        """How these runs were left stands with the acknowledgement of their jobs."""
        left = sorted((one for _, one, _ in results if one is not None), key=lambda one: one.run_id)
        if not left:
            return
        ended = {
            str(row["id"]): row
            for row in await rows.end_runs_everywhere(
                tx,
                [
                    (
                        one.run_id,
                        one.epoch,
                        one.state,
                        one.failures,
                        int(one.is_retry),
                        one.output,
                        one.error,
                        one.is_unknown,
                    )
                    for one in left
                ],
            )
        }
        kept = [one for one in left if one.run_id in ended]
        await self._go_on_with_what_came(tx, kept)
        await self._write_steps(tx, kept)
        await self._change_places(tx, kept)
        over_again = [one.run_id for one in kept if one.state != "open" and not one.taken.row["is_first"]]
        if over_again:
            await step_rows.cancel_waits_everywhere(tx, over_again)
        over = [
            (
                Ended(
                    one.run_id,
                    one.taken.row["function_id"],
                    one.state,
                    orjson.loads(one.taken.row["input"])[0],
                    None if one.taken.row["company_id"] is None else str(one.taken.row["company_id"]),
                    one.output,
                    one.error,
                ),
                ended[one.run_id],
            )
            for one in kept
            if one.state != "open"
        ]
        await tell(tx, self._registry, over)

    @staticmethod
    async def _go_on_with_what_came(tx: Tx, kept: Sequence[Left]) -> None:
        """Runs of which a step got what it waited for while they were executing are in line again."""
        waited = {
            (one.run_id, step_id)
            for one in kept
            for step_id, known in one.taken.known.items()
            if one.state == "open" and known.state == "waiting"
        }
        if waited:
            still = await step_rows.still_waiting_everywhere(tx, sorted({run_id for run_id, _ in waited}))
            await rows.hasten_runs_everywhere(tx, sorted({run_id for run_id, _ in waited - still}))

    @staticmethod
    async def _known_of(tx: Tx, found: Sequence[Record]) -> dict[str, dict[str, Known]]:
        again = [str(row["id"]) for row in found if not row["is_first"]]
        if not again:
            return {}
        redriven = [str(row["id"]) for row in found if row["is_redriven"]]
        if redriven:
            await step_rows.revive_steps_everywhere(tx, redriven)
        await step_rows.settle_due_everywhere(tx, again)
        known: dict[str, dict[str, Known]] = {}
        for run_id, step_id, *one in await step_rows.read_steps_everywhere(tx, again):
            known.setdefault(str(run_id), {})[step_id] = Known(*one)
        return known

    async def _is_lost_too_often(self, tx: Tx, row: Record, job: Job, steps: Mapping[str, Known]) -> bool:
        """Whether as many workers in a row were lost with the run as a step has attempts, and none got a step done."""
        losses = job.attempt - 1 - row["retries"]
        done = sum(one.state == "done" for one in steps.values())
        if done > row["seen_steps"]:
            await rows.see_progress_everywhere(tx, str(row["id"]), done, losses)
            return False
        function = self._registry.find(row["function_id"])
        return function is not None and losses - row["seen_losses"] >= function.attempts

    def _left(
        self, job: Job, taken: Taken, function: Function, steps: Steps, handler: "asyncio.Future[Any]"
    ) -> tuple[Outcome, Left | None]:
        pending = steps.pending
        if pending.is_lost or pending.is_away:
            return Snooze(_AWAY, "its claim or its database was lost"), None
        if pending.fatal is not None:
            return self._fail(job, taken, error_text(pending.fatal.name, pending.fatal.message))
        if handler.done() and not handler.cancelled():
            error = handler.exception()
            if error is None:
                return self._completed(job, taken, handler.result())
            return self._handler_failed(job, taken, function, error)
        if steps.is_stuck.done():
            return self._suspended(job, taken, steps)
        return self._handler_failed(job, taken, function, RuntimeError("the handler cancelled itself"))

    def _unknown(self, job: Job, taken: Taken) -> tuple[Outcome, Left]:
        """Waits for a worker of the release that knows the function, ever longer; what nobody knew for a week fails."""
        since: timedelta = taken.row["unknown_for"]
        if since >= _GIVEN_UP_AFTER:
            text = error_text("FunctionNotFound", f"nobody has known '{taken.row['function_id']}' for a week")
            return self._fail(job, taken, text)
        after = min(max(UNKNOWN_AFTER, since / 10), _LONGEST_UNKNOWN)
        left = Left(taken, job.epoch, failures=taken.row["failures"], is_unknown=True)
        return Snooze(after, "this process does not know the function"), left

    def _completed(self, job: Job, taken: Taken, given: Any) -> tuple[Outcome, Left]:
        try:
            output = orjson.dumps(given)
        except TypeError as error:
            return self._fail(job, taken, error_text("TypeError", f"what the function gave is not JSON: {error}"))
        if len(output) > MAX_RUN_BYTES:
            return self._fail(job, taken, error_text("RunTooLarge", f"it gave over {MAX_RUN_BYTES} bytes"))
        return None, Left(taken, job.epoch, "completed", taken.row["failures"], output=output.decode())

    def _handler_failed(self, job: Job, taken: Taken, function: Function, error: BaseException) -> tuple[Outcome, Left]:
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        failures = taken.row["failures"] + 1
        name = error.name if isinstance(error, StepError | AppError) else type(error).__name__
        message = str(error)
        text = error_text(name, message)
        if isinstance(error, Snooze | Hold):
            return Snooze(error.after, error.reason), Left(taken, job.epoch, failures=taken.row["failures"])
        is_last = is_final(error) or isinstance(error, FunctionNotFound) or failures >= function.attempts
        if is_last or job.attempt >= RUN_ATTEMPTS:
            return self._fail(job, taken, text, failures)
        after = error.after if isinstance(error, Retry | AppError) and error.after is not None else None
        after = function.backoff.after(failures) if after is None else after
        return Retry(f"{name}: {message}", after=after), Left(
            taken, job.epoch, failures=failures, is_retry=True, error=text
        )

    def _suspended(self, job: Job, taken: Taken, steps: Steps) -> tuple[Outcome, Left]:
        pending = steps.pending
        left = Left(
            taken,
            job.epoch,
            failures=taken.row["failures"],
            waits=pending.waits,
            retries=pending.retries,
            invocations=pending.invocations,
        )
        if pending.retry_after is not None:
            if job.attempt >= RUN_ATTEMPTS:
                return self._fail(job, taken, error_text("TooManyAttempts", "a run has at most 1,000 failed attempts"))
            soonest = min(pending.retry_after, pending.wake_after or pending.retry_after)
            return Retry(pending.retry_reason, after=soonest), left._replace(is_retry=True)
        waits = [after for after in (pending.wake_after, pending.snooze_after) if after is not None]
        return Snooze(min(waits, default=_AWAY), "it waits"), left

    @staticmethod
    def _fail(job: Job, taken: Taken, error: str, failures: int | None = None) -> tuple[Outcome, Left]:
        shown = orjson.loads(error)
        failures = taken.row["failures"] if failures is None else failures
        return Discard(f"{shown['name']}: {shown['message']}"), Left(taken, job.epoch, "failed", failures, error=error)

    async def _write_steps(self, tx: Tx, kept: Sequence[Left]) -> None:
        retries = [result for one in kept for result in one.retries]
        if retries:
            await step_rows.commit_steps_everywhere(tx, retries)
        waits = [(one.run_id, *wait) for one in kept for wait in one.waits]
        if waits:
            await step_rows.wait_steps_everywhere(tx, waits)
        for one in kept:
            for invocation in one.invocations:
                await self._invoke(tx, one, invocation)

    async def _invoke(self, tx: Tx, one: Left, invocation: Invocation) -> None:
        function = self._registry.find(invocation.function_id)
        if function is None:
            error = error_text("FunctionNotFound", f"there is no function {invocation.function_id!r}")
            await self._refuse_invocation(tx, one, invocation, error)
            return
        company_id = one.taken.row["company_id"]
        event = made_up(
            INVOKED,
            dict(invocation.data),
            one.taken.row["now"],
            None if company_id is None else str(company_id),
        )
        try:
            for key in function.keys:
                key_of(key, event)
        except Exception as error:
            await self._refuse_invocation(tx, one, invocation, error_text(type(error).__name__, f"a key: {error}"))
            return
        await start(tx, [Start(function=function, events=[event], parent=(one.run_id, invocation.step_id))])

    @staticmethod
    async def _refuse_invocation(tx: Tx, one: Left, invocation: Invocation, error: str) -> None:
        await step_rows.end_wait_everywhere(tx, one.run_id, invocation.step_id, "failed", None, error)
        await rows.hasten_runs_everywhere(tx, [one.run_id])

    @staticmethod
    async def _change_places(tx: Tx, kept: Sequence[Left]) -> None:
        """Who waits for a place stands in line, or has it already; who executes no longer gives up what it held."""
        limited = {one.run_id: one.taken.limits for one in kept if one.taken.limits is not None}
        if not limited:
            return
        await limit_rows.lock_limits_everywhere(tx, [one.domain for one in limited.values()])
        in_line = {one.run_id for one in kept if one.taken.why_not == "in line"}
        leaving = {run_id: one for run_id, one in limited.items() if run_id not in in_line}
        if leaving:
            await limits.release_places(tx, leaving)
        joining = {run_id: one for run_id, one in limited.items() if run_id in in_line}
        if joining:
            await rows.hasten_runs_everywhere(tx, sorted(await limits.take_places(tx, joining, in_line=True)))
