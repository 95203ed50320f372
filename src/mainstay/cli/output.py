"""What commands say: tables for people, JSON for scripts, and errors that a person can act on."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mainstay.kernel.errors import MainstayError, Unavailable
from mainstay.kernel.settings import SettingsError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
T = TypeVar("T")
_WIDEST = 100_000


class CommandFailed(Exception):
    """The command cannot go on: what happened, what to do about it, and the exit code."""

    def __init__(self, what: str, hint: str = "", *, code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of the command's work; what goes wrong ends the process with a message and an exit code."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        fail(CommandFailed("interrupted", code=INTERRUPTED))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        fail(known)


def fail(failure: CommandFailed) -> NoReturn:
    """The process ends after saying what happened and what to do."""
    tell(f"error: {failure.what}")
    if failure.hint:
        tell(f"  {failure.hint}")
    raise typer.Exit(failure.code)


def explain(error: Exception) -> CommandFailed | None:
    """An exception in words that name what to do, never a value of a setting; None for what nobody foresaw."""
    # Only here: commands that speak HTTP never touch the database, and start twice as fast without its libraries.
    import asyncpg  # noqa: PLC0415

    from mainstay.kernel.db import GONE  # noqa: PLC0415
    from mainstay.kernel.migrations import UnfitDatabase  # noqa: PLC0415

    if isinstance(error, CommandFailed):
        return error
    if isinstance(error, SettingsError):
        return CommandFailed(str(error), "Set it in the environment; .env.example explains every setting.", code=USAGE)
    if isinstance(error, UnfitDatabase):
        return CommandFailed(str(error), "Point DATABASE_URL at another database.")
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError | asyncpg.UndefinedFunctionError):
        return CommandFailed("the database at DATABASE_URL lacks Mainstay's tables", "Run 'mainstay migrate' first.")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return CommandFailed("the database refuses the user or the password in DATABASE_URL", "Check both.")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return CommandFailed("the database that DATABASE_URL names does not exist", "Create it, then run this again.")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return CommandFailed(f"the user in DATABASE_URL may not do this: {error}", "Give it the right to.")
    if isinstance(error, Unavailable):
        return _unreachable()
    if isinstance(error, MainstayError):
        return CommandFailed(error.detail, "; ".join(f"{fault.pointer}: {fault.detail}" for fault in error.faults))
    if isinstance(error, GONE):
        is_file = isinstance(error, FileNotFoundError | PermissionError)
        return CommandFailed(str(error)) if is_file else _unreachable()
    return None


def _unreachable() -> CommandFailed:
    return CommandFailed(
        "the database at DATABASE_URL does not answer",
        "Is PostgreSQL running, and are host and port in DATABASE_URL right? 'mainstay doctor' tells more.",
    )


def tell(text: str) -> None:
    """One line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def show_json(value: object) -> None:
    """One line of JSON for a script, on standard output."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table for a person, as wide as its content where nobody looks at a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None or cell == "" else _printable(str(cell))) for cell in row))
    if not table.row_count:
        tell(empty)
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_WIDEST).measure(table).maximum)
    console.print(table)


def show_record(record: Mapping[str, object]) -> None:
    """The fields of one thing, a line each."""
    width = max(map(len, record)) + 2
    for name, value in record.items():
        print(f"{name:<{width}}{'-' if value is None or value == '' else _printable(str(value))}")


def _printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
