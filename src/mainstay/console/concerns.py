"""Is it fine, and what is to be done: a pure judgement of what the overview knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mainstay.console.shown import plural

Meaning = Literal["warning", "bad"]
SILENT_MINUTES = 3
"""A worker writes the depth of the queues down once a minute."""
FAILING_TRIES = 5
"""As many as one delivery has on the documented ladder; fewer in a row may be one bad moment."""
FAILING_SHARE = 0.05
MOSTLY_FAILING_PERCENT = 50
LEAST_TRIES = 20
"""Below that many tries in the hour a share says nothing; endpoints that fail are named on their own."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the overview knows. What belongs to the whole service is empty for those who do not operate it."""

    tries: int = 0
    tries_failed: int = 0
    endpoints_failing: int = 0
    endpoints_disabled: int = 0
    silent_minutes: int = 0
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
    found = [*_of_the_service(standing), *_of_the_company(standing)]
    return sorted(found, key=lambda concern: concern.meaning != "bad")


def _of_the_service(standing: Standing) -> Iterator[Concern]:
    if standing.silent_minutes >= SILENT_MINUTES:
        words = f"No worker has been heard of for {standing.silent_minutes} minutes: jobs wait"
        yield Concern("bad", words, "Look at jobs", "/console/queues")
    for queue, dead in standing.dead:
        verb = "is" if dead == 1 else "are"
        yield Concern("bad", f"{plural(dead, 'job')} of {queue} {verb} dead", "Redrive or clear", "/console/queues")
    for queue in standing.paused:
        yield Concern("warning", f"The queue {queue} is paused", "Resume it", "/console/queues")


def _of_the_company(standing: Standing) -> Iterator[Concern]:
    if standing.endpoints_disabled:
        verb = "is" if standing.endpoints_disabled == 1 else "are"
        words = f"{plural(standing.endpoints_disabled, 'endpoint')} {verb} switched off after failures"
        yield Concern("bad", words, "Repair and switch on", "/console/webhooks")
    if standing.endpoints_failing:
        verb = "fails" if standing.endpoints_failing == 1 else "fail"
        words = f"{plural(standing.endpoints_failing, 'endpoint')} {verb} now"
        yield Concern("warning", words, "See why", "/console/webhooks")
    if standing.tries >= LEAST_TRIES and standing.tries_failed / standing.tries >= FAILING_SHARE:
        share = round(100 * standing.tries_failed / standing.tries)
        words = f"{share} % of the tries to deliver failed in the last hour"
        meaning: Meaning = "bad" if share >= MOSTLY_FAILING_PERCENT else "warning"
        yield Concern(meaning, words, "Look at webhooks", "/console/webhooks")
