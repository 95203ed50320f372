"""`mainstay up`: everything on one machine, with an embedded PostgreSQL and a company to look at."""

import asyncio
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from mainstay import embedded
from mainstay.cli import places
from mainstay.cli.interruption import FORCED_CODE, Interruption
from mainstay.cli.own_database import OwnDatabase
from mainstay.cli.places import Place, UpRefused
from mainstay.cli.ports import choose_port
from mainstay.cli.session import Session, Wishes
from mainstay.cli.terminal import Terminal

USUAL_PORT = 8080


def up(
    *,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, envvar="PORT", help="Port of the API; without it 8080 or the next free one."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Directory for all data; without it .mainstay here, or one for this user.")
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="A demonstration company with live events; without either, only on the embedded database.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove all data of the embedded database first.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of a table that renews itself.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two plain lines.")] = 5.0,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
) -> None:
    """Start everything on this machine: PostgreSQL, API, worker and a demonstration. Ctrl-C stops it all.

    \b
    Without DATABASE_URL it starts a PostgreSQL of its own in the data directory.
      mainstay up
      mainstay up --port 9000 --data ~/mainstay --no-demo
      DATABASE_URL=postgresql://me@db/mainstay mainstay up
    """
    if sys.platform == "win32":
        typer.echo("mainstay up: there is no `up` on Windows: run it under WSL", err=True)
        raise typer.Exit(1)
    wishes = Wishes(port=port, host=host, data=data, demo=demo, fresh=fresh, plain=plain, every_seconds=every)
    try:
        run(wishes)
    except (UpRefused, embedded.EmbeddedError) as refusal:
        typer.echo(f"mainstay up: {refusal}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped while starting", err=True)
        raise typer.Exit(FORCED_CODE) from None


@dataclass(slots=True)
class _Forced:
    """What has to be killed when somebody cannot wait."""

    database: OwnDatabase | None = None
    session: Session | None = None

    def __call__(self) -> None:
        if self.session is not None:
            self.session.kill()
        if self.database is not None:
            self.database.kill()


def run(wishes: Wishes) -> None:
    """Everything ran until somebody wanted it to stop, and has ended; UpRefused or EmbeddedError if it cannot run."""
    console = Terminal()
    forced = _Forced()
    interruption = Interruption(forced)
    console.interruption = interruption
    place = places.choose(wishes.data)
    if place.note is not None:
        console.say(place.note)
    lock = places.Lock(place)
    try:
        port, remark = choose_port(wishes.port, wishes.host, usual=USUAL_PORT)
        if remark is not None:
            console.say(remark)
        console.say(f"data directory: {shlex.quote(str(place.directory))}")
        _run_on(place, replace(wishes, port=port), console, forced, interruption)
    finally:
        place.remove(places.RUNNING)
        lock.release()


def _run_on(place: Place, wishes: Wishes, console: Terminal, forced: _Forced, interruption: Interruption) -> None:
    database = forced.database = OwnDatabase(place, console.say)
    try:
        console.say(database.told)
        forced.session = Session(place, wishes, console, database, interruption)
        asyncio.run(forced.session.run())
    finally:
        interruption.detach()
        database.stop()
    console.say("stopped; the data stays where it is")
