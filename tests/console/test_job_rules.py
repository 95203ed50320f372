"""What pages of jobs and functions decide by themselves, as tables: timelines, concerns, filters, words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mainstay.console.functions_timeline import ticks_of, timeline_of, waits_of
from mainstay.console.queues_concerns import FAILING_RATE, LEAST_ATTEMPTS, MOST_TOLD, OLD_SECONDS, concerns_of
from mainstay.console.queues_words import Fares, chosen_of, first_line, kept_of, progress_of, rate_of, with_filter

BEGAN = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def after(seconds: float | None) -> datetime | None:
    return None if seconds is None else BEGAN + timedelta(seconds=seconds)


def step(name: str, kind: str, state: str, since: float, until: float | None, **more: Any) -> Any:
    given = {"attempt": 1, "wake_at": None, "event_name": None, **more}
    return SimpleNamespace(
        id=name,
        kind=kind,
        state=state,
        started_at=after(since),
        ended_at=after(until),
        output=None,
        error=None,
        **given,
    )


def shown(*steps: Any, state: str = "running", started: float | None = 1, ended: float | None = None) -> Any:
    run = SimpleNamespace(state=state, created_at=BEGAN, started_at=after(started), ended_at=after(ended))
    return SimpleNamespace(run=run, steps=steps)


def test_bars_share_one_axis_from_the_line_to_now() -> None:
    line = timeline_of(
        shown(step("load", "run", "done", 1, 3), step("paid", "wait", "waiting", 3, None), state="waiting"),
        BEGAN + timedelta(seconds=10),
    )
    bars = [(row.name, row.left, row.width, row.meaning, row.is_open, row.took) for row in line.rows]
    assert bars == [
        ("In line", 0, 10, "waiting", False, "1.0 s"),
        ("load", 10, 20, "good", False, "2.0 s"),
        ("paid", 30, 70, "waiting", True, "7.0 s"),
    ]
    assert [(tick.at, tick.label) for tick in line.ticks] == [(n * 20, f"{n * 2} s" if n else "0") for n in range(6)]
    assert line.took == "10.0 s"


def test_what_takes_no_time_is_seen_and_no_bar_leaves_the_axis() -> None:
    line = timeline_of(shown(step("a", "run", "failed", 10, 10), state="failed", started=0, ended=10), BEGAN)
    (bar,) = line.rows
    assert (bar.left, bar.width, bar.meaning) == (99.5, 0.5, "bad")
    # A clock of this process that is behind the database's, and a step that a cancelled run never ended.
    early = timeline_of(shown(step("b", "sleep", "waiting", 2, None), state="cancelled", ended=4), BEGAN)
    assert [(row.left + row.width, row.is_open) for row in early.rows] == [(25, False), (100, False)]


def test_a_run_at_work_shows_what_it_has_not_told_yet() -> None:
    line = timeline_of(shown(step("a", "run", "done", 1, 2)), BEGAN + timedelta(seconds=4))
    assert [(row.name, row.left, row.width) for row in line.rows] == [
        ("In line", 0, 25), ("a", 25, 25), ("At work", 50, 50),
    ]  # fmt: skip
    waiting = timeline_of(shown(state="queued", started=None), BEGAN + timedelta(seconds=4))
    assert [(row.name, row.width, row.is_open) for row in waiting.rows] == [("In line", 100, True)]


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.0009, ["0"]), (0.5, ["0", "100 ms", "200 ms", "300 ms", "400 ms", "500 ms"]), (59, ["0", "10 s", "20 s",
         "30 s", "40 s", "50 s"]), (90, ["0", "30 s", "1 min", "90 s"]),
        (7_200, ["0", "30 min", "1 h", "90 min", "2 h"]),
        (86_400 * 3, ["0", "1 d", "2 d", "3 d"]),
    ],
)  # fmt: skip
def test_the_axis_has_round_marks(seconds: float, labels: list[str]) -> None:
    assert [tick.label for tick in ticks_of(seconds)][:6] == labels
    assert len(ticks_of(seconds)) <= 7


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (shown(state="queued", started=None), ["It is in line for a worker"]),
        (shown(), ["A worker has it now"]),
        (shown(state="completed", ended=3), []),
        (
            shown(step("nap", "sleep", "waiting", 1, None, wake_at=after(60)), step("pay", "wait", "waiting", 1, None,
                  event_name="paid"), step("call", "invoke", "waiting", 1, None), state="waiting"),
            ["The step nap sleeps until 2026-01-02 12:01:00 UTC", "The step pay waits for an event paid",
             "The step call waits for the run of another function"],
        ),
        (shown(step("book", "run", "retrying", 1, 2, attempt=2), state="waiting"),
         ["The step book failed 2 times and is tried again"]),
    ],
)  # fmt: skip
def test_what_a_run_waits_for_is_told(found: Any, words: list[str]) -> None:
    assert [told for _, told, _ in waits_of(found)] == words


def queue(name: str, **more: Any) -> Any:
    plain = {"dead": 0, "bound": 10, "paused": False, "paused_by": None, "waiting": 0, "oldest_ready_seconds": None}
    return SimpleNamespace(queue=name, **{**plain, **more})


def kind(failed: int, attempts: int) -> Any:
    figures = {"completed": attempts - failed, "retried": failed, "dead": 0, "failure_rate": failed / attempts}
    return SimpleNamespace(queue="q", kind="k", failures={"timeout": failed, "lost": 1}, **figures)


def test_what_the_engine_finds_is_told_with_where_to_act() -> None:
    codes = ["same_failure", "last_rung", "exhausted", "memory_timeouts"] * 4
    found = concerns_of([], [], {}, [SimpleNamespace(code=code, queue="q", kind="k", sentence="S.") for code in codes])
    assert (len(found), {one.words for one in found}) == (MOST_TOLD, {"S"})
    assert [one.meaning for one in found[:5]] == ["bad"] * 4 + ["warning"]
    here = "/console/queues/q"
    assert {one.href for one in found} == {
        f"{here}/slots", f"{here}/kinds/k", f"{here}?state=retrying&kind=k", f"{here}?state=dead&kind=k",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("queues", "figures", "pauses", "told"),
    [
        ([queue("a")], [], {}, []),
        ([queue("a", dead=1)], [], {}, ["1 job of a is dead"]),
        ([queue("a", dead=10)], [], {}, ["10 jobs or more of a are dead"]),
        ([queue("a", waiting=1, oldest_ready_seconds=OLD_SECONDS - 1)], [], {}, []),
        ([queue("a", waiting=1, oldest_ready_seconds=OLD_SECONDS)], [], {},
         ["The first in line of a waits for 5 min"]),
        ([queue("a", waiting=1, oldest_ready_seconds=9e9, paused=True, paused_by="Mara")], [], {},
         ["a is paused by Mara"]),
        ([], [kind(LEAST_ATTEMPTS - 1, LEAST_ATTEMPTS - 1)], {}, []),
        ([], [kind(int(LEAST_ATTEMPTS * FAILING_RATE) - 1, LEAST_ATTEMPTS)], {}, []),
        ([], [kind(int(LEAST_ATTEMPTS * FAILING_RATE), LEAST_ATTEMPTS)], {},
         ["50 % of the attempts of k failed in the last hour, most by timeout"]),
        ([queue("a", dead=1)], [], {"x": ("q", SimpleNamespace(share=0, paused_by="Mara")),
                                    "y": ("q", SimpleNamespace(share=10, paused_by="Mara"))},
         ["1 job of a is dead", "x is paused, by Mara", "10 of 100 jobs of y start, by Mara"]),
    ],
)  # fmt: skip
def test_what_is_not_fine_with_queues(
    queues: Sequence[Any], figures: Sequence[Any], pauses: dict[str, Any], told: list[str]
) -> None:
    found = concerns_of(queues, figures, pauses)
    assert [one.words for one in found] == told
    assert all(one.href.startswith("/console/queues/") for one in found)


def test_filters_are_the_address() -> None:
    given = {"state": "dead", "kind": " a ", "error": "x" * 300, "lane": "\0", "other": "1"}
    assert kept_of(given) == {"kind": "a", "error": "x" * 200}
    assert with_filter({"state": "active", "add": "lane", "value": "n"}) == {"state": "active", "lane": "n"}
    assert with_filter({"state": "active", "add": "error", "value": "n"}) == {"state": "dead", "error": "n"}
    assert with_filter({"add": "evil", "value": "n"}) == {}
    assert chosen_of("/q", {"kind": "a", "lane": "n"}, "dead") == [
        ("Kind", "a", "/q?state=dead&lane=n"), ("Lane", "n", "/q?state=dead&kind=a"),
    ]  # fmt: skip


def test_figures_read_well_at_their_edges() -> None:
    assert [rate_of(a_minute) for a_minute in (0, 0.02, 0.1, 9.94, 12.4, 12_345.6)] == [
        "0", "<0.1", "0.1", "9.9", "12", "12\u202f346",
    ]  # fmt: skip
    assert [Fares(*one).failed_percent for one in ((0, 0), (5, 0), (999, 1), (1, 1), (0, 3))] == [None, 0, 1, 50, 100]
    states = [("running", 0, 0), ("running", 10, 10), ("running", 5, 20), ("done", 3, 20)]
    assert [progress_of({"state": state, "done": done, "counted": counted}) for state, done, counted in states] == [
        0, 99, 25, 100,
    ]  # fmt: skip
    assert [first_line(error) for error in (None, "\nA: b\n at c", "x" * 300)] == ["", "A: b", "x" * 200]
