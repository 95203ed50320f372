"""The terminal view of `mainstay up`: figures from the database and the receiver, as a table or as plain lines."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

from rich.live import Live
from rich.table import Table

from mainstay.cli import queries
from mainstay.cli.demo_receiver import Receiver
from mainstay.cli.demo_traffic import Trickle
from mainstay.cli.terminal import Terminal
from mainstay.kernel.db import GONE, Database
from mainstay.kernel.errors import MainstayError

TABLE_SECONDS = 1.0
# Counting deliveries reads them all: it may take a twentieth of the time.
_COUNT_SHARE = 20


@dataclass(slots=True)
class Figures:
    """What the view shows. `rate` is events a second since the figures before."""

    events: int = 0
    rate: float = 0.0
    deliveries: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    trouble: str = ""


class View:
    """Reads the figures and shows them until cancelled."""

    def __init__(self, terminal: Terminal, db: Database, receiver: Receiver | None, trickle: Trickle | None) -> None:
        self._terminal = terminal
        self._db = db
        self._receiver = receiver
        self._trickle = trickle
        self._figures = Figures()
        self._read_at = 0.0
        self._count_again_at = 0.0

    async def show_table(self) -> None:
        """A table that renews itself in place."""
        await self.read()
        with Live(self._table(), console=self._terminal, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(TABLE_SECONDS)
                await self.read()
                live.update(self._table(), refresh=True)

    async def show_lines(self, every_seconds: float) -> None:
        """One plain line each time."""
        await self.read()
        while True:
            await asyncio.sleep(every_seconds)
            await self.read()
            self._terminal.say(self.line())

    async def read(self) -> Figures:
        """The figures of now; those of before, with the trouble, where the database does not answer."""
        figures = self._figures
        try:
            events = await queries.count_events_everywhere(self._db)
            figures.jobs = await queries.count_jobs_everywhere(self._db)
            await self._count_deliveries()
        except (MainstayError, *GONE) as error:
            figures.trouble = f"the database does not answer ({type(error).__name__})"
            return figures
        now = time.monotonic()
        if self._read_at:
            figures.rate = max(events - figures.events, 0) / max(now - self._read_at, 0.001)
        figures.events, figures.trouble, self._read_at = events, "", now
        return figures

    async def _count_deliveries(self) -> None:
        started = time.monotonic()
        if started >= self._count_again_at:
            self._figures.deliveries = await queries.count_deliveries_everywhere(self._db)
            took = time.monotonic() - started
            self._count_again_at = started + took * _COUNT_SHARE

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of every figure."""
        figures = self._figures
        counts, jobs = figures.deliveries, figures.jobs
        rows = [
            ("events in", f"{figures.events:,} ({figures.rate:.1f}/s)"),
            ("delivered", f"{counts.get('DELIVERED', 0):,}"),
            ("failed", f"{counts.get('FAILED', 0) + counts.get('DISCARDED', 0):,}"),
            ("retrying", f"{counts.get('RETRYING', 0):,}"),
            ("queue depth", f"{jobs.get('waiting', 0) + jobs.get('active', 0):,}"),
        ]
        if self._receiver is not None:
            total = self._receiver.total()
            rows.append(("receiver verified", f"{total.verified:,}"))
            rows.append(("receiver refused", f"{total.refused:,}"))
        if self._trickle is not None and self._trickle.failed:
            rows.append(("sends repeated", f"{self._trickle.failed:,} (last: {self._trickle.last_trouble[:120]})"))
        if figures.trouble:
            rows.append(("trouble", figures.trouble))
        return rows

    def line(self) -> str:
        """The figures in one line."""
        told = ", ".join(f"{name} {value}" for name, value in self.rows())
        return f"{datetime.now():%H:%M:%S}  {told}"

    def _table(self) -> Table:
        table = Table(title="Mainstay", caption="Ctrl-C stops everything", show_header=False, min_width=48)
        table.add_column("figure")
        table.add_column("value", justify="right", overflow="fold")
        for name, value in self.rows():
            table.add_row(name, value)
        if self._receiver is not None:
            table.add_section()
            for name, tally in self._receiver.tallies.items():
                table.add_row(f"receiver /{name}", f"{tally.verified:,} verified, {tally.repeated:,} again")
        return table
