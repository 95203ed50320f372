"""Where `mainstay up` speaks to the person who started it."""

import os
import sys

from rich.console import Console

from mainstay.cli.interruption import Interruption


class Terminal(Console):
    """A console that asks for a stop when nobody reads any more."""

    interruption: Interruption | None = None

    def say(self, text: str) -> None:
        """The text stands in lines of its own, never cut and never taken for markup."""
        self.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """What is said from now on goes nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self.interruption is not None:
            self.interruption.ask()
