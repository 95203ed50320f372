"""Patterns that operators look for: the same failure again and again, backoff at its end, exhaustion, full memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from mainstay.jobs.failures import class_of, shape_of, step_of
from mainstay.jobs.queries import findings as rows
from mainstay.jobs.queues import rule_of
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection
from mainstay.kernel.retry import MAX_DELAY, Backoff

SAME_AT_LEAST: Final = 5
"""So many failures of one shape are a pattern."""
_LOOKED_AT: Final = 20
_SPAN: Final = timedelta(hours=1)
_MEMORY_SPAN: Final = timedelta(minutes=15)
_COUNTED_TO: Final = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One pattern in one kind: `same_failure`, `last_rung`, `exhausted` or `memory_timeouts`, in words and in facts."""

    code: str
    queue: str
    kind: str
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)


async def find(connection: Connection) -> list[Finding]:
    """What stands out now: failures and deaths of the last hour, timeouts of the last 15 minutes.

    The last 20 failures of each failing kind are looked at; counts go to 10,000.
    """
    return [
        *same_failures(await rows.last_failures_everywhere(connection, _SPAN, _LOOKED_AT)),
        *last_rungs(await rows.resting_everywhere(connection, _COUNTED_TO)),
        *exhausted(await rows.exhausted_everywhere(connection, _SPAN, _COUNTED_TO)),
        *memory_timeouts(await rows.timeouts_by_memory_everywhere(connection, _MEMORY_SPAN, _LOOKED_AT)),
    ]


def same_failures(failures: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Kinds of whose last failures five or more were at one step, or had errors of one shape (DR-Q-09)."""
    shapes: dict[tuple[str, str], Counter[str]] = {}
    latest: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in failures:
        step = step_of(row["error"])
        shape = shape_of(row["error"]) if step is None else f"step {step!r}"
        shapes.setdefault((row["queue"], row["kind"]), Counter())[shape] += 1
        latest.setdefault((row["queue"], row["kind"], shape), row)
    for (queue, kind), counted in shapes.items():
        for shape, count in counted.items():
            if count >= SAME_AT_LEAST:
                last = latest[queue, kind, shape]
                error_class = class_of(last["outcome"], last["error"])
                facts = {
                    "failures": count,
                    "of": counted.total(),
                    "step": step_of(last["error"]),
                    "shape": shape,
                    "errorClass": error_class,
                    "lastError": last["error"],
                    "lastAt": iso(last["finished_at"]),
                }
                said = f"{count} of the last {counted.total()} failures of {kind} are alike: {shape} ({error_class})."
                yield Finding("same_failure", queue, kind, said, facts)


def last_rungs(resting: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Kinds with jobs that wait for their last attempt, or as long as a backoff can get (DR-Q-10)."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in resting:
        if is_last_rung(row["queue"], row["attempt"], row["max_attempts"], row["backoff"]):
            found.setdefault((row["queue"], row["kind"]), []).append(row)
    for (queue, kind), some in found.items():
        count, next_at = sum(row["jobs"] for row in some), min(row["next_at"] for row in some)
        facts = {"jobs": count, "nextAt": iso(next_at)}
        said = f"{count:,} job(s) of {kind} are at the last rung of their backoff; the next is tried at {iso(next_at)}."
        yield Finding("last_rung", queue, kind, said, facts)


def is_last_rung(queue: str, attempt: int, max_attempts: int, backoff: str | None) -> bool:
    """Whether after that many attempts the job waits for its last one, or for the longest gap that there is."""
    rule = rule_of(queue).backoff
    if backoff is not None:
        try:
            rule = Backoff.parse(backoff)
        except ValueError:
            return True
    return attempt >= max_attempts - 1 or Backoff(rule.kind, rule.delay).after(max(attempt, 1)) >= MAX_DELAY


def exhausted(deaths: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Kinds whose jobs died after all of their attempts."""
    for row in deaths:
        facts = {"jobs": row["jobs"], "attempts": row["attempts"], "lastAt": iso(row["last_at"])}
        said = f"{row['jobs']:,} job(s) of {row['kind']} died in the last hour after up to {row['attempts']} attempts."
        yield Finding("exhausted", row["queue"], row["kind"], said, facts)


def memory_timeouts(timeouts: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Kinds that ran out of time on workers whose memory was full in the same minutes (DR-Q-11)."""
    for row in timeouts:
        facts = {"timeouts": row["timeouts"], "worker": row["worker"], "memoryShare": row["memory_share"]}
        said = (
            f"{row['timeouts']} attempt(s) of {row['kind']} ran out of time on worker {row['worker']} within 15 minutes"
            " in which its memory was exhausted: give it more, or fewer slots."
        )
        yield Finding("memory_timeouts", row["queue"], row["kind"], said, facts)
