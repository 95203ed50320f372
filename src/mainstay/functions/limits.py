"""Who may execute now: places under concurrency limits, counted and handed on under one lock for each domain."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson

from mainstay.functions.declaring import Function, Received, key_of
from mainstay.functions.queries import limits as rows
from mainstay.functions.queries import runs as run_rows
from mainstay.kernel.db import Tx

_LINE_LOOK = 20


class Limits(NamedTuple):
    """The places that a run needs while it executes: (key, size) each, all of one domain."""

    domain: str
    places: Sequence[tuple[str, int]]

    @property
    def text(self) -> str:
        """As the run's row keeps it."""
        return orjson.dumps({"domain": self.domain, "places": self.places}).decode()

    @classmethod
    def parse(cls, text: str | None) -> "Limits | None":
        """What `text` gave."""
        if text is None:
            return None
        given = orjson.loads(text)
        return cls(given["domain"], [(key, size) for key, size in given["places"]])


def limits_of(function: Function, event: Received) -> Limits | None:
    """The places that a run of that function needs for that event; None where it is not limited."""
    if not function.concurrency:
        return None
    places = {}
    is_shared = False
    for index, one in enumerate(function.concurrency):
        scope = f"fn:{function.id}:{index}" if one.scope == "fn" else one.scope
        is_shared = is_shared or one.scope != "fn"
        places[f"{scope}:{key_of(one.key, event)}"] = one.limit
    return Limits("" if is_shared else function.id, sorted(places.items()))


def admit(
    wanting: Sequence[tuple[str, Sequence[tuple[str, int]]]], held: Mapping[str, int]
) -> tuple[list[str], dict[str, int]]:
    """Which runs, in this order, get all the places that they need where so many are held; and what is held then."""
    now = dict(held)
    admitted = []
    for run_id, places in wanting:
        if all(now.get(key, 0) < size for key, size in places):
            admitted.append(run_id)
            for key, _ in places:
                now[key] = now.get(key, 0) + 1
    return admitted, now


async def take_places(tx: Tx, wanting: Mapping[str, Limits], *, in_line: bool = False) -> set[str]:
    """Those of the runs that hold all their places now; with `in_line` the others stand in line for theirs.

    Until the transaction ends nobody else takes or gives places of these domains.
    """
    await rows.lock_limits_everywhere(tx, [one.domain for one in wanting.values()])
    have = await rows.holders_everywhere(tx, list(wanting))
    others = [(run_id, wanting[run_id].places) for run_id in sorted(wanting) if run_id not in have]
    if not others:
        return have
    keys = sorted({key for _, places in others for key, _ in places})
    admitted, _ = admit(others, await rows.held_places_everywhere(tx, keys))
    got = {*have, *admitted}
    placed = [
        (key, run_id, size, run_id in got)
        for run_id, places in others
        if run_id in got or in_line
        for key, size in places
    ]
    if placed:
        await rows.place_everywhere(tx, placed)
    return got


async def release_places(tx: Tx, leaving: Mapping[str, Limits]) -> None:
    """The runs hold no places; whoever was next in line has them, and its job is in line."""
    await rows.lock_limits_everywhere(tx, [one.domain for one in leaving.values()])
    await hand_on(tx, await rows.release_everywhere(tx, list(leaving)))


async def hand_on(tx: Tx, keys: Collection[str]) -> None:
    """Free places of these keys are held by those who stood first in line. The caller holds the lock of the domain."""
    while keys:
        line: dict[str, list[tuple[str, int]]] = {}
        for row in await rows.line_everywhere(tx, sorted(keys), _LINE_LOOK):
            line.setdefault(str(row["run_id"]), []).append((row["limit_key"], row["size"]))
        if not line:
            return
        needed = sorted({key for places in line.values() for key, _ in places})
        admitted, _ = admit(list(line.items()), await rows.held_places_everywhere(tx, needed))
        if not admitted:
            return
        await rows.admit_everywhere(tx, admitted)
        await run_rows.hasten_runs_everywhere(tx, admitted)
        keys = {key for run_id in admitted for key, _ in line[run_id]} if len(line) >= _LINE_LOOK else ()
