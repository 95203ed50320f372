"""The comparison of sides: turns, medians, the goals, and the same for the reference page."""

import argparse
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import chart, machine, written
from benchmarks.delivery.sides import SIDES, Scene, Turn

FLOOR_GOAL, RATE_GOAL = 0.70, 4_000
_HEAD = ["", "deliveries/s", "CPU a delivery, all processes", "worker + PostgreSQL and Redis"]


async def compare(scene: Scene, options: argparse.Namespace, *, notes: Sequence[str]) -> None:
    """Every side has taken its turns, in an order that moves on; what they say is printed, and written if asked for."""
    names = [name for name in SIDES if name in options.sides.split(",") and (name != "node" or scene.redis)]
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for number in range(options.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            title, take_turn = SIDES[name]
            turn = await take_turn(scene)
            turns[name].append(turn)
            print(f"round {number + 1}  {title:38} {turn.rate:>8,.0f}/s, CPU a delivery: "
                  f"worker {turn.worker_us:,.0f} + store {turn.store_us:,.0f} us", flush=True)  # fmt: skip
    for name, mine in turns.items():
        print(f"{SIDES[name][0]:38} {machine.spread([t.rate for t in mine])} deliveries/s, "
              f"CPU a delivery {machine.spread([t.all_us for t in mine])} us")  # fmt: skip
    verdicts = _verdicts(turns)
    for line in (*verdicts, *notes):
        print(line)
    if options.write:
        _write(options, turns, [*verdicts, *notes])


def _median(turns: Sequence[Turn], name: str) -> float:
    return statistics.median([float(getattr(turn, name)) for turn in turns])


def _met(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


def _verdicts(turns: Mapping[str, Sequence[Turn]]) -> list[str]:
    if "ours" not in turns:
        return []
    rate, cost = (_median(turns["ours"], name) for name in ("rate", "all_us"))
    found = [f"Goal of {RATE_GOAL:,} deliveries/s by one worker: {_met(rate >= RATE_GOAL)}."]
    if "bare" in turns:
        ratio = rate / _median(turns["bare"], "rate")
        found.append(f"Rate, ours to the bare loop: {ratio:.2f}; goal {FLOOR_GOAL:.2f}: {_met(ratio >= FLOOR_GOAL)}.")
    if "node" in turns:
        faster, cheaper = rate / _median(turns["node"], "rate"), _median(turns["node"], "all_us") / cost
        found.append(f"Rate, ours to Node's: {faster:.2f}; CPU a delivery, Node's to ours: {cheaper:.2f}; "
                     f"goal, to be ahead in both: {_met(faster > 1 and cheaper > 1)}.")  # fmt: skip
    return found


def _write(options: argparse.Namespace, turns: Mapping[str, Sequence[Turn]], notes: Sequence[str]) -> None:
    rows = [
        [
            f"**{SIDES[name][0]}**" if name == "ours" else SIDES[name][0],
            machine.spread([t.rate for t in mine]),
            machine.spread([t.all_us for t in mine]) + " µs",
            f"{_median(mine, 'worker_us'):,.0f} + {_median(mine, 'store_us'):,.0f} µs",
        ]
        for name, mine in turns.items()
    ]
    what = f"{options.deliveries:,} deliveries to {options.endpoints} endpoints, medians of {options.rounds} turns"
    text = f"{written.when_and_where()} {what} [least - greatest].\n\n"
    text += written.table(_HEAD, rows) + "\n\n" + " ".join(notes)
    text += "\n\n![Deliveries a second, and CPU a delivery](delivery.svg)"
    written.write(options.write, "delivery", text)
    rates = {SIDES[name][0]: [turn.rate for turn in mine] for name, mine in turns.items()}
    costs = {SIDES[name][0]: [turn.all_us for turn in mine] for name, mine in turns.items()}
    panels = [
        chart.Panel("deliveries a second", "more", rates),
        chart.Panel("µs of CPU a delivery, all processes", "less", costs),
    ]
    note = f"{written.when_and_where()} One worker process; logarithmic axes."
    written.plot(options.write, "delivery", chart.draw("Signed deliveries", panels, ours=["Mainstay"], note=note))
