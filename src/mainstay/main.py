"""The composition root: settings in, API application or worker out."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from fastapi import FastAPI

from mainstay import __version__, console, events, identity, jobs, observability, plans, reactions, webhooks
from mainstay.kernel import outbox, partitions, telemetry
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import MainstayError, Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.paging import Cursors
from mainstay.kernel.partitions import Partitioned
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.kernel.work import Schedule, Task
from mainstay.web import reference
from mainstay.web.framework import Framework
from mainstay.web.front import Front

_log = logger(__name__)
_INGEST_CONNECTIONS = 3
_ENGINE_CONNECTIONS = 6
_RELAY_IDLE_SECONDS = 0.25


def partitioned() -> list[Partitioned]:
    """Every table that is cut by time."""
    return [*events.PARTITIONED, *webhooks.PARTITIONED, *jobs.PARTITIONED]


@dataclass(frozen=True, slots=True)
class Foundation:
    """What both processes stand on."""

    settings: Settings
    db: Database
    keyring: Keyring

    @classmethod
    def of(cls, settings: Settings, name: str) -> "Foundation":
        """The foundation of one process."""
        db = Database(
            settings.database_url,
            size=settings.database_pool_size,
            statement_cache=settings.database_statement_cache,
            name=f"mainstay {name}",
        )
        return cls(settings, db, Keyring(settings.secret, settings.secret_previous))


def tune_collector() -> None:
    """What was loaded at start is left alone by the garbage collector, and the rest is looked at less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def build_api(settings: Settings) -> Front:
    """The API as an ASGI application; it opens and closes what it needs with its lifespan."""
    base = Foundation.of(settings, "api")
    ingest_db = Database(
        settings.database_url,
        size=_INGEST_CONNECTIONS,
        statement_cache=settings.database_statement_cache,
        name="mainstay ingest",
    )
    who = identity.Identity(base.db, access_secret=settings.jwt_access_secret, internal_token=settings.internal_token)
    passwords = identity.Passwords()

    async def wake_deliveries() -> None:
        await jobs.wake(base.db, webhooks.QUEUE)

    ingestion = events.Ingestion(ingest_db, wake_deliveries)

    cursors = Cursors(base.keyring)
    tails = events.Tails(Regions(base.db, {}), cursors)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        try:
            await base.db.open()
            await ingest_db.open()
        except MainstayError:
            _log.error("the database does not answer yet; the API starts without it and keeps trying")
        uses = asyncio.create_task(who.key_use.run(base.db, stop))
        tune_collector()
        yield
        with suppress(TimeoutError):
            await asyncio.wait_for(ingestion.drain(), settings.shutdown_seconds)
        await tails.settle()
        stop.set()
        await uses
        passwords.close()
        await ingest_db.close()
        await base.db.close()

    async def runway() -> timedelta:
        async with base.db.begin(readonly=True) as tx:
            return min([await partitions.runway(tx, spec) for spec in partitioned()])

    app = Framework(
        title="Mainstay", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.callers = who
    app.include_router(events.tail_router(base.db, tails, plans.Book.of(settings)))
    app.include_router(events.router(base.db, events.Reader(base.db, cursors), events.Sealer(base.keyring)))
    app.include_router(identity.router(base.db, who, passwords, cursors))
    app.include_router(webhooks.router(base.db, settings, base.keyring, cursors, identity.find_workspace))
    app.include_router(observability.router(settings, base.db, runway))
    pages = app.state.console = build_console(base, passwords, cursors)
    app.include_router(console.router(pages))
    app.include_router(reference.router(app, [events.describe]))
    hot = events.IngestRoutes(base.db, ingestion, who)

    def end_streams() -> None:
        tails.close()
        pages.live.close()

    return Front(app, hot.routes(), on_stop=end_streams)


def build_console(base: Foundation, passwords: identity.Passwords, cursors: Cursors) -> console.Ground:
    """What the pages of one process stand on."""
    sessions = identity.Sessions(base.db, passwords)
    return console.Ground(
        settings=base.settings,
        db=base.db,
        keyring=base.keyring,
        cursors=cursors,
        sessions=sessions,
        frame=console.frame(),
        live=console.Live(sessions.working),
    )


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker runs: tasks, schedules, the loops beside them, and what to close at the end."""

    worker: jobs.Worker
    relay: outbox.Relay
    outbound: Outbound
    base: Foundation
    engine_db: Database


def tasks_of(base: Foundation, outbound: Outbound) -> list[Task]:
    """Every kind of job of every room."""
    return [
        *jobs.tasks(base.db, partitioned()),
        *webhooks.tasks(base.db, outbound, base.keyring, base.settings),
        *events.tasks(events.Sealer(base.keyring)),
        *identity.tasks(base.db),
    ]


def schedules() -> list[Schedule]:
    """Every recurring job of every room."""
    return [*jobs.schedules(), *webhooks.schedules(), *events.schedules(), *identity.schedules()]


def build_worker(settings: Settings) -> WorkerParts:
    """A worker over all queues."""
    base = Foundation.of(settings, "worker")
    outbound = Outbound(allow=settings.outbound_allow)
    # The engine claims, acknowledges and beats its heart over connections that no handler can hold.
    engine_db = Database(
        settings.database_url,
        size=_ENGINE_CONNECTIONS,
        statement_cache=settings.database_statement_cache,
        name="mainstay engine",
    )
    worker = jobs.Worker(
        base.db,
        tasks_of(base, outbound),
        queues=jobs.queue_configs(settings.queue_concurrency, settings.queue_concurrency_overrides),
        schedules=schedules(),
        engine_db=engine_db,
        clock=SystemClock(),
        listen_url=settings.direct_url,
        shutdown_seconds=settings.shutdown_seconds,
    )
    relay = outbox.Relay(base.db, reactions.REACTIONS, reactions.record)
    return WorkerParts(worker, relay, outbound, base, engine_db)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Jobs are run and announcements relayed until `stop` is set; then what runs is ended or handed back."""
    parts = build_worker(settings)
    tune_collector()
    relay = asyncio.create_task(_relay_until(parts.relay, stop))
    try:
        await parts.worker.run(stop)
    finally:
        stop.set()
        await relay
        await parts.outbound.close()
        await parts.engine_db.close()
        await parts.base.db.close()


async def _relay_until(relay: outbox.Relay, stop: asyncio.Event) -> None:
    pause = _RELAY_IDLE_SECONDS
    while not stop.is_set():
        try:
            taken = await relay.run_once()
            telemetry.LOOP_LAST_RUN.labels("relay").set_to_current_time()
            pause = 0.0 if taken else _RELAY_IDLE_SECONDS
        except Exception as error:
            telemetry.LOOP_ERRORS.labels("relay").inc()
            _log.warning("announcements wait: the relay failed", exc_info=not isinstance(error, Unavailable))
            pause = min(max(pause * 2, _RELAY_IDLE_SECONDS), 5.0)
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            continue
