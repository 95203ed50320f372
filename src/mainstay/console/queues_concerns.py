"""Is it fine with the queues, and what is to be done: a pure judgement of what their page knows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from mainstay.console.concerns import Concern
from mainstay.console.queues_words import address_of, kind_address
from mainstay.console.shown import duration, plural

OLD_SECONDS = 300
"""The first in line of a queue that runs is looked at after that."""
FAILING_RATE = 0.5
MOST_TOLD = 12
LEAST_ATTEMPTS = 20
"""Below that many attempts in the hour a share says nothing."""


def concerns_of(
    queues: Sequence[Any], figures: Sequence[Any], pauses: Mapping[str, Any], findings: Sequence[Any] = ()
) -> list[Concern]:
    """What is not fine, the worst first, at most 12.

    Of queues, of kinds with attempts in the last hour, of kinds that are paused (kind -> queue and pause), and what
    the engine finds in failures.
    """
    found = [*_of_queues(queues), *_of_kinds(figures, pauses), *_of_findings(findings)]
    return sorted(found, key=lambda concern: concern.meaning != "bad")[:MOST_TOLD]


def _of_queues(queues: Sequence[Any]) -> Iterator[Concern]:
    for one in queues:
        here = address_of(one.queue)
        if one.dead:
            more = " or more" if one.dead >= one.bound else ""
            words = f"{plural(one.dead, 'job')}{more} of {one.queue} {'is' if one.dead == 1 else 'are'} dead"
            yield Concern("bad", words, "Redrive or clear", f"{here}?state=dead")
        if one.paused:
            yield Concern("warning", f"{one.queue} is paused by {one.paused_by}", "Resume it", f"{here}/pause")
        elif one.waiting and (one.oldest_ready_seconds or 0) >= OLD_SECONDS:
            waited = duration(one.oldest_ready_seconds * 1_000)
            yield Concern(
                "warning",
                f"The first in line of {one.queue} waits for {waited}",
                "See what waits",
                f"{here}?state=waiting",
            )


def _of_kinds(figures: Sequence[Any], pauses: Mapping[str, Any]) -> Iterator[Concern]:
    for one in figures:
        attempts, rate = one.completed + one.retried + one.dead, one.failure_rate
        if attempts >= LEAST_ATTEMPTS and rate is not None and rate >= FAILING_RATE:
            most = max(one.failures, key=lambda name: one.failures[name], default="")
            share = f"{round(rate * 100)} % of the attempts of {one.kind}"
            words = f"{share} failed in the last hour, most by {most.replace('_', ' ')}"
            yield Concern("bad", words, "Pause it or look", kind_address(one.queue, one.kind))
    for kind, (queue, pause) in pauses.items():
        words = f"{kind} is paused" if pause.share == 0 else f"{pause.share} of 100 jobs of {kind} start"
        yield Concern("warning", f"{words}, by {pause.paused_by}", "Resume it", kind_address(queue, kind))


def _of_findings(findings: Sequence[Any]) -> Iterator[Concern]:
    for one in findings:
        here, of_kind = address_of(one.queue), urlencode({"kind": one.kind})
        words = one.sentence.removesuffix(".")
        if one.code == "memory_timeouts":
            yield Concern("bad", words, "Set fewer slots", f"{here}/slots")
        elif one.code == "exhausted":
            yield Concern("warning", words, "See the dead jobs", f"{here}?state=dead&{of_kind}")
        elif one.code == "last_rung":
            yield Concern("warning", words, "See what retries", f"{here}?state=retrying&{of_kind}")
        else:
            yield Concern("warning", words, "Pause it or look", kind_address(one.queue, one.kind))
