"""What a run of the comparison says: medians, ratios, the goal, and the same as a table and a plot of the reference."""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import chart, machine, written
from benchmarks.jobs.sides import Side

GOAL = 2.0
_HEAD = ["", "jobs/s", "CPU a job, all processes", "worker + store", "settings"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One drain: jobs a second, and microseconds of CPU a job in the worker and in its store."""

    rate: float
    worker_us: float
    store_us: float

    @property
    def all_us(self) -> float:
        """Microseconds of CPU a job in every process that shared in the work."""
        return self.worker_us + self.store_us


def _median(turns: Sequence[Turn], name: str) -> float:
    return statistics.median([float(getattr(turn, name)) for turn in turns])


def tell(
    options: argparse.Namespace,
    sides: Sequence[Side],
    turns: Mapping[str, Sequence[Turn]],
    *,
    absent: Sequence[str],
    store: str,
) -> None:
    """Medians, ratios and the goal are printed; table and plot are written where that was asked for."""
    print(f"medians of {options.runs} [least - greatest]")
    for side in sides:
        mine = turns[side.name]
        print(f"{side.title:32} {machine.spread([t.rate for t in mine])} jobs/s, "
              f"CPU a job {machine.spread([t.all_us for t in mine])} us")  # fmt: skip
    verdicts = _verdicts(sides, turns)
    for line in verdicts:
        print(line)
    if options.write:
        name = "jobs-backlog" if options.backlog else "jobs-open-transaction" if options.open_transaction else "jobs"
        _write(options, name, sides, turns, [*verdicts, *_notes(absent, store)])


def _verdicts(sides: Sequence[Side], turns: Mapping[str, Sequence[Turn]]) -> list[str]:
    """Ours against the floor, and against the peer that spends the least CPU a job."""
    found: list[str] = []
    if "ours" not in turns:
        return found
    ours = turns["ours"]
    if "bare" in turns:
        ratio = _median(ours, "rate") / _median(turns["bare"], "rate")
        found.append(f"Rate, ours to the bare loop: {ratio:.2f}.")
    others = [side for side in sides if side.name not in ("bare", "ours")]
    if others:
        best = min(others, key=lambda side: _median(turns[side.name], "all_us"))
        ratio = _median(turns[best.name], "all_us") / _median(ours, "all_us")
        met = "met" if ratio >= GOAL else "NOT met"
        found.append(
            f"CPU a job of all processes, the best peer ({best.title}) to ours: {ratio:.2f}; goal {GOAL:g}: {met}."
        )
        bounded = [side for side in others if side.name != "pgqueuer-unbounded"]
        if bounded and best not in bounded:
            second = min(bounded, key=lambda side: _median(turns[side.name], "all_us"))
            ratio = _median(turns[second.name], "all_us") / _median(ours, "all_us")
            found.append(f"The best peer with a bound on jobs in memory ({second.title}) to ours: {ratio:.2f}.")
        fastest = max(others, key=lambda side: _median(turns[side.name], "rate"))
        ratio = _median(ours, "rate") / _median(turns[fastest.name], "rate")
        found.append(f"Rate, ours to the fastest peer ({fastest.title}): {ratio:.1f}.")
    return found


def _notes(absent: Sequence[str], store: str) -> list[str]:
    return [*([f"{store}."] if store else []), *(f"Left out: {line}." for line in absent)]


def _write(
    options: argparse.Namespace,
    name: str,
    sides: Sequence[Side],
    turns: Mapping[str, Sequence[Turn]],
    notes: Sequence[str],
) -> None:
    rows = [
        [
            f"**{side.title}**" if side.name == "ours" else side.title,
            machine.spread([t.rate for t in turns[side.name]]),
            machine.spread([t.all_us for t in turns[side.name]]) + " µs",
            f"{_median(turns[side.name], 'worker_us'):,.0f} + {_median(turns[side.name], 'store_us'):,.0f} µs",
            side.settings,
        ]
        for side in sides
    ]
    text = f"{written.when_and_where()} Medians of {options.runs} turns [least - greatest].\n\n"
    text += written.table(_HEAD, rows) + "\n\n" + " ".join(notes)
    if name == "jobs":
        text += "\n\n![Jobs a second, and CPU a job](jobs.svg)"
        written.plot(options.write, name, _plot(sides, turns))
    written.write(options.write, name, text)


def _plot(sides: Sequence[Side], turns: Mapping[str, Sequence[Turn]]) -> str:
    rates = {side.title: [turn.rate for turn in turns[side.name]] for side in sides}
    costs = {side.title: [turn.all_us for turn in turns[side.name]] for side in sides}
    panels = [
        chart.Panel("jobs a second", "more", rates),
        chart.Panel("µs of CPU a job, all processes", "less", costs),
    ]
    note = f"{written.when_and_where()} One worker process; logarithmic axes."
    return chart.draw("Jobs that do nothing", panels, ours=["Mainstay"], note=note)
