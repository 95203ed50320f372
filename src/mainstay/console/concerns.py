"""Is it fine, and what is to be done: a pure judgement of what the overview knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mainstay.console.shown import plural

Meaning = Literal["warning", "bad"]
LATE_SECONDS = 60.0
FAILING_SHARE = 0.05
LEAST_TRIES = 20
"""Below that many tries in the hour a share says nothing; endpoints that fail are named on their own."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the overview knows. What belongs to the whole service is empty for those who do not operate it."""

    tries: int = 0
    tries_failed: int = 0
    endpoints_failing: int = 0
    endpoints_disabled: int = 0
    workers: int | None = None
    dead: Sequence[tuple[str, int]] = ()
    paused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not fine: what, and where to act on it."""

    meaning: Meaning
    words: str
    act: str
    href: str


def concerns_of(standing: Standing) -> list[Concern]:
    """What is not fine, the worst first; nothing where all is."""
    found = []
    if standing.workers == 0:
        found.append(
            Concern("bad", "No worker is running: jobs wait", "Start one with `mainstay worker`", "/console/jobs")
        )
    if standing.tries >= LEAST_TRIES and standing.tries_failed / standing.tries >= FAILING_SHARE:
        share = round(100 * standing.tries_failed / standing.tries)
        words = f"{share} % of the tries to deliver failed in the last hour"
        found.append(Concern("bad" if share >= 50 else "warning", words, "Look at webhooks", "/console/webhooks"))
    if standing.endpoints_disabled:
        verb = "is" if standing.endpoints_disabled == 1 else "are"
        words = f"{plural(standing.endpoints_disabled, 'endpoint')} {verb} switched off after failures"
        found.append(Concern("bad", words, "Repair and switch on", "/console/webhooks"))
    if standing.endpoints_failing:
        verb = "fails" if standing.endpoints_failing == 1 else "fail"
        words = f"{plural(standing.endpoints_failing, 'endpoint')} {verb} now"
        found.append(Concern("warning", words, "See why", "/console/webhooks"))
    for queue, dead in standing.dead:
        verb = "is" if dead == 1 else "are"
        found.append(
            Concern("bad", f"{plural(dead, 'job')} of {queue} {verb} dead", "Redrive or clear", "/console/jobs")
        )
    for queue in standing.paused:
        found.append(Concern("warning", f"The queue {queue} is paused", "Resume it", "/console/jobs"))
    return sorted(found, key=lambda concern: concern.meaning != "bad")
