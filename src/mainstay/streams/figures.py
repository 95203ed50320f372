"""Figures of all streams of a database, by kind of destination: how many there are, how far behind, and what is aside.

One worker measures each minute; what it found is shown for three minutes, so that no process tells old figures.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mainstay.kernel.db import Database, Record
from mainstay.kernel.telemetry import REGISTRY
from mainstay.streams import queries as rows

EVERY: Final = timedelta(minutes=1)
BEHIND_SECONDS: Final = 60.0
"""A stream whose oldest unsent event waits for longer counts as behind."""
_SHOWN_SECONDS: Final = 180.0
_STATES: Final = ("active", "paused", "failing", "disabled")
_BY_KIND: Final = {
    "stream_lag_seconds": ("lag_seconds", "How long the oldest unsent event of any unpaused stream has waited"),
    "stream_lag_events": ("lag_events", "Events that wait for the unpaused stream that is furthest behind"),
    "streams_behind": ("behind", "Unpaused streams whose oldest unsent event waits for more than a minute"),
    "streams_blocked": ("blocked", "Streams that stand before an event that the destination refuses"),
    "stream_events_aside": ("aside", "Events that destinations refused and that are put aside"),
}


class Figures(Collector):
    """What was measured last, by database."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, Sequence[Record]]] = {}

    def keep(self, database: str, found: Sequence[Record]) -> None:
        """These figures are shown from now on."""
        self._found[database] = (time.monotonic(), found)

    def collect(self) -> Iterable[Metric]:
        """The families, of databases that were measured lately."""
        labels = ["database", "kind"]
        streams = GaugeMetricFamily("streams", "Streams by kind of destination and state", labels=[*labels, "state"])
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (_, text) in _BY_KIND.items()}
        for database, (at, found) in self._found.items():
            if time.monotonic() - at > _SHOWN_SECONDS:
                continue
            for row in found:
                for state in _STATES:
                    streams.add_metric([database, row["kind"], state], row[state])
                for name, (column, _) in _BY_KIND.items():
                    families[name].add_metric([database, row["kind"]], float(row[column]))
        return [streams, *families.values()]


FIGURES: Final = Figures()
REGISTRY.register(FIGURES)


async def measure(db: Database, name: str) -> None:
    """The metrics of this process tell how the streams of this database stand."""
    FIGURES.keep(name, await rows.figures_everywhere(db, timedelta(seconds=BEHIND_SECONDS)))
