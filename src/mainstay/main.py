"""The composition root: settings in, API application or worker out."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from fastapi import FastAPI

from mainstay import (
    __version__,
    accounts,
    archive,
    console,
    erasure,
    events,
    functions,
    identity,
    incidents,
    jobs,
    limits,
    members,
    mfa,
    modules,
    observability,
    plans,
    reactions,
    streams,
    templates,
    webhooks,
)
from mainstay.kernel import outbox, partitions, telemetry
from mainstay.kernel.cache import Cache
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.errors import MainstayError, Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Outbound, most_connections
from mainstay.kernel.paging import Cursors
from mainstay.kernel.partitions import Partitioned
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.kernel.work import Cron, Schedule, Task
from mainstay.web import reference
from mainstay.web.callers import Caller
from mainstay.web.framework import Framework
from mainstay.web.front import Front

_log = logger(__name__)
_INGEST_CONNECTIONS = 3
_ENGINE_CONNECTIONS = 6
_RELAY_IDLE_SECONDS = 0.25
_EMITTED_IDLE_SECONDS = 1.0


def partitioned() -> list[Partitioned]:
    """Every table that is cut by time."""
    return [*events.PARTITIONED, *webhooks.PARTITIONED, *jobs.PARTITIONED]


@dataclass(frozen=True, slots=True)
class Foundation:
    """What both processes stand on."""

    settings: Settings
    regions: Regions
    keyring: Keyring
    host: modules.HostWork = field(default_factory=modules.HostWork)

    @property
    def db(self) -> Database:
        """The home database."""
        return self.regions.home

    @classmethod
    def of(cls, settings: Settings, name: str) -> "Foundation":
        """The foundation of one process."""
        host = modules.load(settings.modules)
        regions = Regions.connect(settings, size=settings.database_pool_size, name=f"mainstay {name}")
        return cls(settings, regions, Keyring(settings.secret, settings.secret_previous), host)


def tune_collector(young: int) -> None:
    """What was loaded at start is left alone by the garbage collector, and the rest is looked at less often.

    Everything stands still while so many young objects are looked at: some 15 ms for 10,000.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, 50, 100)


def build_api(settings: Settings) -> Front:
    """The API as an ASGI application; it opens and closes what it needs with its lifespan."""
    base = Foundation.of(settings, "api")
    regions = base.regions
    ingest = Regions.connect(settings, size=_INGEST_CONNECTIONS, name="mainstay ingest")
    who = identity.Identity(
        base.db,
        access_secret=settings.jwt_access_secret,
        previous_secrets=settings.jwt_access_secret_previous,
        refresh_secrets=(settings.jwt_refresh_secret, *settings.jwt_refresh_secret_previous),
        internal_token=settings.internal_token,
        regions=regions,
    )
    passwords = identity.Passwords()

    def ingestion_into(db: Database) -> events.Ingestion:
        async def wake_deliveries() -> None:
            await jobs.wake(regions.of(region), webhooks.QUEUE)

        region = next(name for name, one in ingest.all() if one is db)
        return events.Ingestion(db, wake_deliveries)

    ingestions = ingest.each(ingestion_into)

    keeping = limits.Keeping.of(settings, base.db)
    cache = Cache.of(settings, regions, identity.cached.FAMILIES)
    cursors, watch = Cursors(base.keyring), incidents.Watch.over(base.db, base.keyring)
    tails = events.Tails(regions, cursors)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        await asyncio.gather(*(_open(name, db) for one in (regions, ingest) for name, db in one.all()))
        await asyncio.gather(*(_introduce(db, base.host) for _, db in regions.all()))
        await keeping.open()
        loops = [asyncio.create_task(who.run(stop)), asyncio.create_task(keeping.run(stop))]
        loops += [asyncio.create_task(watch.log.run(base.db, stop)), asyncio.create_task(cache.run(stop))]
        tune_collector(10_000)
        yield
        with suppress(TimeoutError):
            drains = (ingestion.drain() for ingestion in set(ingestions.values()))
            await asyncio.wait_for(asyncio.gather(*drains), settings.shutdown_seconds)
        await tails.settle()
        stop.set()
        await asyncio.gather(*loops)
        passwords.close()
        await ingest.close()
        await regions.close()

    app = Framework(
        title="Mainstay", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.callers = who
    exporter = events.Exporter(regions, base.keyring, plans.Book.of(settings))
    ground = accounts.Ground(base.db, base.keyring, passwords, who, settings, cache)
    for routes in (
        keeping.join(app),
        events.tail_router(base.db, tails, plans.Book.of(settings)),
        exporter.router(),
        events.router(regions, cursors, base.keyring),
        archive.router(settings, regions, plans.Book.of(settings), cursors),
        erasure.router(erasure.ground_of(settings, regions, base.keyring), cursors),
        plans.router(plan_parts(base)),
        plans.operator_router(regions, plans.Book.of(settings)),
        templates.router(regions, cursors),
        identity.router(regions, cursors, workspace_figures(base)),
        webhooks.router(regions, settings, base.keyring, cursors, identity.find_workspace),
        accounts.router(ground),
        incidents.router(base.db, base.keyring, cursors, watch.mode),
        members.router(regions, base.keyring, passwords, cursors, cache),
        streams.router(regions, settings, base.keyring),
        jobs.router(settings, regions, cursors, region_finder(base.db)),
        functions.router(settings, regions, cursors, functions_of(base, base.db)),
        observability.router(settings, regions, _runway),
        observability.cache_router(base.db, cache),
        mfa.router(base.db, base.keyring, issuer=settings.brand),
    ):
        app.include_router(routes)
    pages = app.state.console = build_console(base, ground, cursors, exporter, watch.mode)
    app.include_router(console.router(pages))
    app.include_router(reference.router(app, [events.describe]))
    hot = events.IngestRoutes(regions, ingestions, who, keeping.rates)

    def end_streams() -> None:
        tails.close()
        pages.live.close()

    return Front(
        app,
        hot.routes(),
        on_stop=end_streams,
        watch=watch,
        proxies=settings.trusted_proxies,
        limit_fields=settings.rate_limit_headers,
    )


def build_unready(settings: Settings) -> Front:
    """What is served in place of the API while settings are missing that nothing can be done without."""
    return Front(observability.unready([name for names in settings.missing.values() for name in names]), {})


async def _open(name: str, db: Database) -> None:
    try:
        await db.open()
    except MainstayError:
        _log.error("the database does not answer yet; the API starts without it and keeps trying", database=name)


async def _introduce(db: Database, host: modules.HostWork) -> None:
    """Jobs of the modules' kinds can be asked for before the first worker runs; one that runs tells of them itself."""
    with suppress(MainstayError, asyncpg.PostgresError):
        await jobs.desk.public.introduce(db, host.tasks)


async def _runway(db: Database) -> timedelta:
    async with db.begin(readonly=True) as tx:
        return min([await partitions.runway(tx, spec) for spec in partitioned()])


def plan_parts(base: Foundation) -> plans.Parts:
    """What the routes of usage stand on, and what they ask of rooms above them."""

    async def per_minute(db: Connection, company_id: str, minutes: int) -> list[tuple[datetime, int]]:
        return await events.per_minute(db, company_id=company_id, minutes=minutes)

    async def tries(db: Connection, company_id: str) -> dict[str, int]:
        totals = (await webhooks.read_figures(db, company_id=company_id))["totals"]
        return {f"{name}24h": totals[name] for name in ("attempts", "delivered", "failed")}

    settings = base.settings
    return plans.Parts(base.regions, plans.Book.of(settings), base.keyring, settings.outbound_allow, per_minute, tries)


def region_finder(home: Database) -> Callable[[str], Awaitable[str | None]]:
    """Tells in which region the data of a company live, for the room that has jobs and knows no companies."""

    async def find_region(company_id: str) -> str | None:
        company = await identity.find_company(home, company_id)
        return None if company is None else company.data_region

    return find_region


def workspace_figures(base: Foundation) -> Callable[[Caller, str], Awaitable[Mapping[str, Any]]]:
    """What a workspace holds, for the room that has workspaces and knows nothing of events."""
    regions, book = base.regions, plans.Book.of(base.settings)

    async def figures(caller: Caller, workspace_id: str) -> Mapping[str, Any]:
        company_id, db = caller.company_id, regions.of(caller.region)
        used = await plans.workspace_usage(regions.home, db, book, company_id, workspace_id=workspace_id)
        stored = sum(one.quantity for one in used.meters if one.meter == "events")
        usage = {"period_start": used.period.start, "period_end": used.period.end, "events": stored}
        return {"events": await events.head_seq(db, company_id, workspace_id), "latest_usage": usage}

    return figures


def chain_reader(db: Database) -> templates.ReadOn:
    """How the check of templates reads the chains of one database: up to 1,000 events or 8 MiB a step."""

    async def read_on(
        company_id: str, workspace_id: str, seq: int, at: datetime
    ) -> tuple[Sequence[Mapping[str, Any]], int, datetime]:
        following = events.Following(db, company_id)
        ends = {name: end for name, end in (await following.heads()).items() if name == workspace_id}
        read = await following.read_on({workspace_id: (seq, at)}, ends, limit=1_000, most_bytes=8 * 1024 * 1024)
        return read.rows, *read.marks.get(workspace_id, (seq, at))

    return read_on


def build_console(
    base: Foundation,
    ground: accounts.Ground,
    cursors: Cursors,
    exporter: events.Exporter,
    mode: incidents.Mode,
) -> console.Ground:
    """What the pages of one process stand on."""
    sessions = identity.Sessions(base.db, ground.who.tokens)
    return console.Ground(
        settings=base.settings,
        regions=base.regions,
        keyring=base.keyring,
        cursors=cursors,
        sessions=sessions,
        accounts=ground,
        frame=console.frame(),
        exporter=exporter,
        usage=plan_parts(base),
        live=console.Live(sessions.working, are_closed=mode.is_on),
        mode=mode,
        functions=functions_of(base, base.db),
    )


@dataclass(frozen=True, slots=True)
class RegionParts:
    """What a worker runs for one database: the engine with its tasks and schedules, the relay of announcements, and
    what takes emitted events to their chains whenever it is told that there are some."""

    name: str
    worker: jobs.Worker
    relay: outbox.Relay
    emissions: events.Emissions
    emitted: asyncio.Event


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker runs for each database, home first, and what to close at the end."""

    of_databases: list[RegionParts]
    outbound: Outbound
    base: Foundation
    engines: Regions
    serving: functions.Serving

    @property
    def worker(self) -> jobs.Worker:
        """The engine of the home database."""
        return self.of_databases[0].worker

    @property
    def relay(self) -> outbox.Relay:
        """The relay of the home database."""
        return self.of_databases[0].relay


def functions_of(base: Foundation, db: Database) -> functions.Registry:
    """Every function of the host's modules, on one database; the clock starts them at home alone."""
    found = base.host.functions
    if db is not base.db:
        found = [replace(one, triggers=[by for by in one.triggers if not isinstance(by, Cron)]) for one in found]
    return functions.Registry(found)


def tasks_of(
    base: Foundation, outbound: Outbound, db: Database | None = None, serving: functions.Serving | None = None
) -> list[Task]:
    """Every kind of job of every room, on one database of those that regions have (home unless given).

    With `serving` also what applications serve.
    """
    db = db or base.db
    registry = functions_of(base, db) if serving is None else serving.registry
    name = next(name for name, one in base.regions.all() if one is db)
    return [
        *jobs.tasks(db, partitioned()),
        *functions.tasks(db, registry, serving),
        *webhooks.tasks(db, outbound, base.keyring, base.settings),
        *events.tasks(events.Sealer(base.keyring)),
        *streams.tasks(db, outbound, base.keyring, base.settings.brand, name),
        *archive.tasks(archive.ground_of(base.settings, base.regions, db, base.keyring)),
        *erasure.tasks(erasure.ground_of(base.settings, base.regions, base.keyring), db),
        *templates.tasks(db, chain_reader(db)),
        *identity.tasks(db),
        *incidents.tasks(base.db),
        *limits.tasks(db),
        *mfa.tasks(db, base.keyring),
        *accounts.tasks(base.db, base.keyring),
        *members.tasks(base.db),
        *observability.tasks(db),
        *plans.tasks(base.db, db, plans.Book.of(base.settings), base.keyring, plans.senders_of(outbound)),
    ]


def schedules_of(base: Foundation, db: Database, registry: functions.Registry) -> list[Schedule]:
    """Every recurring job on one database; those of the host's modules run at home alone."""
    return [*schedules(registry), *(base.host.schedules if db is base.db else ())]


def schedules(registry: functions.Registry | None = None) -> list[Schedule]:
    """Every recurring job of every room, and every function of the registry that the clock starts."""
    return [
        *jobs.schedules(),
        *functions.schedules(registry or functions.Registry()),
        *webhooks.schedules(),
        *events.schedules(),
        *streams.schedules(),
        *archive.schedules(),
        *erasure.schedules(),
        *templates.schedules(),
        *identity.schedules(),
        *incidents.schedules(),
        *limits.schedules(),
        *mfa.schedules(),
        *accounts.schedules(),
        *members.schedules(),
        *plans.schedules(),
        *observability.schedules(),
    ]


def build_worker(settings: Settings) -> WorkerParts:
    """A worker over all queues of every database."""
    base = Foundation.of(settings, "worker")
    outbound = Outbound(allow=settings.outbound_allow, connections=most_connections())
    # The engine claims, acknowledges and beats its heart over connections that no handler can hold.
    engines = Regions.connect(settings, size=_ENGINE_CONNECTIONS, name="mainstay engine")
    serving = functions.Serving(functions_of(base, base.db), settings.inngest_signing_key, settings.outbound_allow)
    parts = []
    for (name, db), (_, engine_db) in zip(base.regions.all(), engines.all(), strict=True):
        emitted, is_home = asyncio.Event(), db is base.db
        registry = serving.registry if is_home else functions_of(base, db)
        tasks = tasks_of(base, outbound, db, serving if is_home else None)
        modules.check_apart(base.host, (one.kind for one in tasks), (one.name for one in schedules(registry)))
        worker = jobs.Worker(
            db,
            [*tasks, *base.host.tasks],
            queues=jobs.queue_configs(
                settings.queue_concurrency, settings.queue_concurrency_overrides, extra=base.host.queues
            ),
            schedules=schedules_of(base, db, registry),
            engine_db=engine_db,
            clock=SystemClock(),
            listen_url=settings.direct_url_of(db.dsn),
            shutdown_seconds=settings.shutdown_seconds,
            heard=waking(emitted),
        )
        relay = reactions.relay_of(base.regions, db, registry, base.keyring)
        parts.append(RegionParts(name, worker, relay, emissions_of(base.regions, db), emitted))
    return WorkerParts(parts, outbound, base, engines, serving)


def waking(emitted: asyncio.Event) -> Callable[[str], None]:
    """Sets the event when a notification speaks of emitted events, or may have been missed."""

    def heard(queue: str) -> None:
        if queue in ("", events.EMITTED):
            emitted.set()

    return heard


def emissions_of(regions: Regions, db: Database) -> events.Emissions:
    """What takes the events emitted in one database to the chains there, and has their deliveries begin."""

    async def wake_deliveries() -> None:
        await jobs.wake(db, webhooks.QUEUE)

    return events.Emissions(regions.home, db, regions.names_on(db), wake_deliveries)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Jobs are run and announcements relayed until `stop` is set; then what runs is ended or handed back."""
    parts = build_worker(settings)
    tune_collector(100_000)
    is_alone = len(parts.of_databases) == 1
    try:
        ends = await asyncio.gather(
            *(_run_region(one, stop, is_alone=is_alone) for one in parts.of_databases), return_exceptions=True
        )
        for failure in ends:
            if failure is not None:
                raise failure
    finally:
        await parts.outbound.close()
        await parts.serving.close()
        await parts.engines.close()
        await parts.base.regions.close()


async def _run_region(parts: RegionParts, stop: asyncio.Event, *, is_alone: bool) -> None:
    """The engine of one database ends, then its relay; what ends by itself ends those of the others in order, too."""
    if not is_alone:
        telemetry.enter_part(parts.name)
    relay = asyncio.create_task(_until(stop, "relay", parts.relay.run_once, stop, _RELAY_IDLE_SECONDS))
    emitting = asyncio.create_task(
        _until(stop, "emitted", parts.emissions.run_once, parts.emitted, _EMITTED_IDLE_SECONDS)
    )
    try:
        await parts.worker.run(stop)
    finally:
        stop.set()
        parts.emitted.set()
        await asyncio.gather(relay, emitting)


async def _until(
    stop: asyncio.Event, loop: str, run_once: Callable[[], Awaitable[int]], woken: asyncio.Event, idle_seconds: float
) -> None:
    """Round after round until `stop`, at once where the last one found something, else when woken or in a while."""
    pause = idle_seconds
    while not stop.is_set():
        if woken is not stop:
            woken.clear()
        try:
            taken = await run_once()
            telemetry.LOOP_LAST_RUN.labels(loop).set_to_current_time()
            pause = 0.0 if taken else idle_seconds
        except Exception as error:
            telemetry.LOOP_ERRORS.labels(loop).inc()
            _log.warning("a round failed", loop=loop, exc_info=not isinstance(error, Unavailable))
            pause = min(max(pause * 2, idle_seconds), 5.0)
        if stop.is_set():
            return
        try:
            await asyncio.wait_for(woken.wait(), pause)
        except TimeoutError:
            continue
