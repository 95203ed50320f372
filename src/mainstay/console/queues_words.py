"""Queues and jobs in words: addresses, the filters that an address holds, what an act on many jobs means. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from mainstay.console.trail import address

PATH = "/console/queues"
State = Literal["dead", "retrying", "active", "waiting", "parked", "delayed", "completed"]
STATES: tuple[State, ...] = ("dead", "retrying", "active", "waiting", "parked", "delayed", "completed")
"""In the order in which somebody should look at them."""
STATE_WORDS = {state: state.title() for state in STATES} | {"parked": "Set aside"}
FILTERS = {"kind": "Kind", "lane": "Lane", "company": "Company id", "error": "Error holds"}
"""What a list of jobs can be filtered by, and how a page calls it; errors are those of dead jobs."""
_ABOUT = {"kind": "of kind {}", "lane": "in lane {}", "company": "of company {}", "error": "whose error holds “{}”"}
MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class BulkWords:
    """An act on many jobs as a page offers it: what it is called, what it does, and what is said afterwards."""

    title: str
    noun: str
    told: str
    done: str
    icon: str
    states: tuple[State, ...]


BULK: Mapping[str, BulkWords] = {
    "redrive": BulkWords(
        "Redrive",
        "dead job",
        "back in line with all attempts ahead, the oldest first. A job stays dead while another with its dedupe key "
        "is on its way.",
        "in line again",
        "rotate-cw",
        ("dead",),
    ),
    "clear": BulkWords(
        "Clear",
        "dead job",
        "removed with payload, error and attempts. This cannot be undone.",
        "cleared",
        "trash-2",
        ("dead",),
    ),
    "promote": BulkWords(
        "Retry now",
        "delayed or retrying job",
        "put in line at once instead of when due. Attempts stay counted.",
        "put in line",
        "play",
        ("retrying", "delayed"),
    ),
    "cancel": BulkWords(
        "Cancel",
        "job that has not begun",
        "ended without running, whether waiting, delayed or retrying. What runs now runs to its end. This cannot be "
        "undone.",
        "cancelled",
        "ban",
        ("retrying", "waiting", "parked", "delayed"),
    ),
}


def address_of(queue: str) -> str:
    """The page of a queue."""
    return f"{PATH}/{quote(queue, safe=':')}"


def kind_address(queue: str, kind: str) -> str:
    """The panel of a kind of jobs."""
    return f"{address_of(queue)}/kinds/{quote(kind, safe=':')}"


def kept_of(query: Mapping[str, str]) -> dict[str, str]:
    """The filters that an address or a form holds, each cut to what could match."""
    found = {name: query.get(name, "").replace("\0", "").strip()[:MOST_CHARACTERS] for name in FILTERS}
    return {name: value for name, value in found.items() if value}


def with_filter(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of an address with the one that its form adds; one of errors leads to dead jobs."""
    added = {query.get("add", ""): query.get("value", "")}
    found = {**({"state": query["state"]} if query.get("state") else {}), **kept_of({**query, **added})}
    return {**found, "state": "dead"} if "error" in found else found


def chosen_of(path: str, kept: Mapping[str, str], state: str) -> list[tuple[str, str, str]]:
    """(name, value, the address without it) of every filter that is set."""
    return [
        (FILTERS[name], value, address(path, {"state": state, **{key: kept[key] for key in kept if key != name}}))
        for name, value in kept.items()
    ]


def about(kept: Mapping[str, str]) -> str:
    """The filters as the end of a sentence, with a blank before it; '' where none is set."""
    return "".join(f" {_ABOUT[name].format(value)}" for name, value in kept.items())


def acts_of(state: str, queue: str, kept: Mapping[str, str]) -> list[tuple[str, BulkWords, str]]:
    """What can be done with all jobs that a list shows: (act, words, address of its panel)."""
    query = f"?{urlencode(kept)}" if kept else ""
    return [
        (name, words, f"{address_of(queue)}/{name}{query}") for name, words in BULK.items() if state in words.states
    ]


def first_line(error: str | None) -> str:
    """By what jobs that failed alike are found: the first line of the error, cut to what a filter takes."""
    return (error or "").strip().partition("\n")[0][:MOST_CHARACTERS].strip()


def progress_of(act: Mapping[str, Any]) -> int:
    """How far a bulk act is, of a hundred; a floor of what it counted tells little past its end."""
    if act["state"] == "done":
        return 100
    return min(99, int(100 * act["done"] / max(act["counted"], 1)))


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)


@dataclass(frozen=True, slots=True)
class Fares:
    """How attempts ended in the last hour: those that completed, and those that failed."""

    completed: int
    failed: int

    @property
    def a_minute(self) -> float:
        """Jobs that completed, a minute."""
        return self.completed / 60

    @property
    def failed_percent(self) -> int | None:
        """Attempts that failed, of a hundred; None where there were none. Where some failed it is 1 at least."""
        attempts = self.completed + self.failed
        if not attempts:
            return None
        return max(round(100 * self.failed / attempts), 1 if self.failed else 0)


def fares_of(figures: Iterable[Any]) -> Fares:
    """How the attempts of several kinds ended together."""
    found = list(figures)
    return Fares(sum(one.completed for one in found), sum(one.retried + one.dead for one in found))


def rate_of(a_minute: float) -> str:
    """Jobs a minute as people read them: `0`, `<0.1`, `0.2`, `12`."""
    if 0 < a_minute < 0.1:
        return "<0.1"
    return f"{a_minute:.1f}" if 0 < a_minute < 10 else f"{a_minute:,.0f}".replace(",", "\u202f")
