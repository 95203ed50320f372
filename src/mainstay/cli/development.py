"""The database of `mainstay api` and `mainstay worker` in development, where DATABASE_URL names none.

The first of them starts the embedded PostgreSQL of the data directory that `mainstay up` would take, and keeps it for
as long as it runs; those that come later use it, as they do that of an `up` that runs there.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mainstay import embedded, main
from mainstay.cli import output, places
from mainstay.cli.output import CommandFailed
from mainstay.cli.own_database import OwnDatabase
from mainstay.cli.places import OWN_SECRETS, RUNNING, Place, UpRefused
from mainstay.kernel import migrations

WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_SHARED = ("PROFILE", "DATABASE_URL", *OWN_SECRETS)


@contextmanager
def environment_with_database(given: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The environment, in development with a database and secrets where it names none; these last as long as the block.

    CommandFailed says what is in the way.
    """
    names_database = any(given.get(name, "").strip() for name in ("DATABASE_URL", "MONGO_URI"))
    if names_database or given.get("PROFILE", "").strip() != "development":
        yield given
        return
    try:
        place = places.choose(None)
        lock = _lock_or_running(place)
        if not isinstance(lock, places.Lock):
            output.tell(f"uses the database of what already runs on {place.directory}")
            yield _filled(given, lock)
            return
        try:
            with _own_database(place, given) as environment:
                yield environment
        finally:
            lock.release()
    except (UpRefused, embedded.EmbeddedError) as refusal:
        raise CommandFailed(str(refusal), "Or set DATABASE_URL to a PostgreSQL of version 15 or newer.") from refusal


def _lock_or_running(place: Place) -> places.Lock | dict[str, str]:
    """The right to run on the directory, or the settings of who has it, waited for while it starts."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return places.Lock(place)
        except UpRefused:
            if found := places.environment_of_running(place):
                return found
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


@contextmanager
def _own_database(place: Place, given: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    database = OwnDatabase(place, output.tell)
    try:
        environment = _filled(given, {**places.secrets_of(place), "DATABASE_URL": database.url})
        asyncio.run(migrations.migrate(database.url, main.partitioned()))
        shared = {name: environment[name] for name in _SHARED if name in environment}
        place.write(RUNNING, {"pid": os.getpid(), "environment": shared})
        output.tell(f"{database.told}, in {place.directory}")
        try:
            yield environment
        finally:
            place.remove(RUNNING)
    finally:
        database.stop()


def _filled(given: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What is given, and of what was found that which is not."""
    return {**found, **{name: value for name, value in given.items() if value.strip()}}
