"""How an import goes on, for whoever watches: a bar on a terminal, a line every few seconds elsewhere."""

import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mainstay.cli import output
from mainstay.cli.import_position import Lines, Position

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows positions as they are reached, and lines of text above the bar."""

    def __init__(self, file: str, lines: Lines) -> None:
        self._lines = lines
        self._told_at = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            total = None if file == "-" else os.path.getsize(file)
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("importing", total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, position: Position) -> None:
        """The position is shown, on a terminal at once."""
        text = f"{position.read} read, {position.refused} refused"
        if self._bar is not None:
            done = self._lines.raw.tell() if self._lines.raw.seekable() else None
            self._bar.update(self._task, completed=done, description=text)
        elif time.monotonic() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            output.tell(text)

    def tell(self, text: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            output.tell(text)
