"""One run of a function as a timeline: its steps as bars on one axis of time, and what it waits for now. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mainstay.console.shown import duration, exact, plural

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("code", "runs"),
    "sleep": ("moon", "sleeps"),
    "wait": ("radio", "waits for an event"),
    "send": ("send", "sends events"),
    "invoke": ("corner-down-right", "runs another function"),
    "line": ("hourglass", "in line"),
    "now": ("circle-dot", "at work"),
}
"""The icon and the words of each kind of step, and of what is before the first and after the last."""
_MEANINGS: Final = {"done": "good", "failed": "bad", "retrying": "warning", "waiting": "waiting"}
_RESTING: Final = ("sleep", "wait", "invoke")
_LEAST: Final = 0.5
"""The narrowest bar, of a hundred: one that takes no time is still seen."""
_TICKS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600,
    7_200, 14_400, 28_800, 43_200, 86_400, 172_800, 432_000, 864_000, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
_MOST_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the timeline: what it is, its bar (`left` and `width` of a hundred), and how long it took in words."""

    name: str
    kind: str
    icon: str
    told: str
    state: str
    meaning: str
    left: float
    width: float
    took: str
    is_open: bool
    step: Any = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis, of a hundred, and how long after the beginning that is."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The rows in the order in which they began, the marks of the axis, and how long all of it is."""

    rows: Sequence[Row]
    ticks: Sequence[Tick]
    took: str


def timeline_of(shown: Any, now: datetime) -> Timeline:
    """The timeline of a run from the moment it was put in line to its end, or to now."""
    run, steps = shown.run, shown.steps
    begins = run.created_at
    ends = max([run.ended_at or now, *(step.ended_at for step in steps if step.ended_at)])
    whole = max((ends - begins).total_seconds(), 0.001)

    def row(name: str, kind: str, state: str, since: datetime, until: datetime | None, step: Any = None) -> Row:
        left = min(max((since - begins).total_seconds() / whole * 100, 0), 100 - _LEAST)
        width = min(max(((until or ends) - since).total_seconds() / whole * 100, _LEAST), 100 - left)
        icon, told = KINDS.get(kind, ("circle-dot", kind))
        meaning = "waiting" if kind == "line" else "accent" if kind == "now" else _MEANINGS.get(state, "neutral")
        if kind in _RESTING and state == "done":
            meaning = "neutral"
        took = _took(since, until or ends)
        return Row(name, kind, icon, told, state, meaning, round(left, 3), round(width, 3), took, until is None, step)

    rows = []
    if (run.started_at or ends) - begins >= timedelta(milliseconds=1):
        rows.append(row("In line", "line", "waiting", begins, run.started_at or (ends if run.ended_at else None)))
    rows += [row(step.id, step.kind, step.state, step.started_at, _end_of(step, run), step) for step in steps]
    if run.state == "running":
        since = max([run.started_at, *(step.ended_at for step in steps if step.ended_at)])
        rows.append(row("At work", "now", "active", since, None))
    return Timeline(rows, ticks_of(whole), _took(begins, ends))


def ticks_of(seconds: float) -> list[Tick]:
    """At most six marks at round times, the beginning among them."""
    step = next((one for one in _TICKS if seconds / one < _MOST_TICKS), _TICKS[-1])
    count = min(int(seconds / step), 100)
    return [Tick(round(n * step / seconds * 100, 3), _label(n * step)) for n in range(count + 1)]


def waits_of(shown: Any) -> list[tuple[str, str, datetime | None]]:
    """What a run that has not ended waits for now: (icon, sentence, until when)."""
    run, steps = shown.run, shown.steps
    if run.ended_at is not None:
        return []
    if run.state == "queued":
        return [("hourglass", "It is in line for a worker", None)]
    waiting = [step for step in steps if step.state == "waiting"]
    told = [(KINDS[step.kind][0], _wait_words(step), step.wake_at) for step in waiting if step.kind in KINDS]
    told += [
        (
            "rotate-cw",
            f"The step {step.id} failed {plural(step.attempt, 'time')} and is tried again",
            None,
        )
        for step in steps
        if step.state == "retrying"
    ]
    return told or [("circle-dot", "A worker has it now", None)]


def _wait_words(step: Any) -> str:
    if step.kind == "sleep":
        return (
            f"The step {step.id} sleeps until {exact(step.wake_at)}" if step.wake_at else f"The step {step.id} sleeps"
        )
    if step.kind == "invoke":
        return f"The step {step.id} waits for the run of another function"
    until = f", at the latest until {exact(step.wake_at)}" if step.wake_at else ""
    return f"The step {step.id} waits for an event {step.event_name}{until}"


def _end_of(step: Any, run: Any) -> datetime | None:
    """When the step ended; one that still waits in a run that has ended did so with it."""
    found: datetime | None = step.ended_at or run.ended_at
    return found


def _took(since: datetime, until: datetime) -> str:
    return duration(max((until - since).total_seconds(), 0) * 1_000)


def _label(seconds: float) -> str:
    if seconds == 0:
        return "0"
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit and seconds % unit < 1e-9:
            return f"{seconds / unit:g} {name}"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1_000:g} ms"
