"""The routes of health and metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mainstay import __version__
from mainstay.kernel import migrations, telemetry
from mainstay.kernel.clock import SystemClock, iso
from mainstay.kernel.db import Database
from mainstay.kernel.errors import MainstayError, Unauthenticated
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.observability import figures
from mainstay.web.callers import Callers, Operator
from mainstay.web.json import Answer

LEAST_RUNWAY = timedelta(days=2)
Runway = Callable[[Database], Awaitable[timedelta]]


def router(settings: Settings, regions: Regions, runway: Runway) -> APIRouter:
    """The routes; `runway` tells how long until a table of a database runs out of partitions."""
    routes = APIRouter(tags=["operations"])
    started = time.time()

    @routes.get("/api/v1/health/live")
    @routes.get("/api/_health/live", include_in_schema=False)
    async def live() -> Answer:
        """200 while the process answers."""
        return Answer({"status": "live", "version": __version__, "uptimeSeconds": round(time.time() - started, 1)})

    @routes.get("/api/v1/health/ready")
    @routes.get("/api/_health/ready", include_in_schema=False)
    async def ready() -> Answer:
        """200 while requests can be served, 503 with the failing check otherwise; `regions` that have databases of
        their own may be away while the others are served."""
        told, is_ready = await _told(settings, regions, runway)
        return Answer(told, 200 if is_ready else 503)

    @routes.get("/healthz")
    async def healthz() -> Answer:
        """200 with `{"status": "ok"}` while the database answers, 503 otherwise: all that HyreLog's clients look at."""
        answers = (await _checks(regions.home, runway))["database"] == "ok"
        told = {"status": "ok" if answers else "unavailable", "version": __version__, "time": iso(SystemClock().now())}
        return Answer(told, 200 if answers else 503)

    @routes.get("/internal/health")
    async def health(_: Operator) -> Answer:
        """The same for operators, always 200: which databases answer, and the regions that live in each."""
        told, is_ready = await _told(settings, regions, runway)
        return Answer({**told, "isReady": is_ready})

    @routes.get("/internal/metrics")
    async def system_figures(_: Operator) -> Answer:
        """Deliveries, events, use of keys and latency of each database, as they were at `takenAt`: within a minute."""
        told = []
        for name, db in regions.all():
            taken_at, found = await figures.read(db)
            told.append({"name": name, "takenAt": None if taken_at is None else iso(taken_at), **found})
        return Answer({"databases": told})

    @routes.get("/metrics", response_class=Response)
    @routes.get("/api/v1/metrics", response_class=Response, include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """Every figure of this process in Prometheus' text format."""
        if settings.profile == "production" and not settings.metrics_public:
            callers: Callers = request.app.state.callers
            token = request.headers.get("x-internal-token")
            if token is None:
                raise Unauthenticated("Send the operators' token as 'x-internal-token', or set METRICS_PUBLIC.")
            await callers.operator(token)
        return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return routes


async def _told(settings: Settings, regions: Regions, runway: Runway) -> tuple[dict[str, object], bool]:
    """What every database says of itself, which settings are missing, and whether home can serve."""
    databases = [db for _, db in regions.all()]
    checked = await asyncio.gather(*(_checks(db, runway) for db in databases))
    home = checked[0]
    if missing := [name for names in settings.missing.values() for name in names]:
        home["settings"] = f"missing: {', '.join(missing)}"
    is_ready = all(check == "ok" for check in home.values())
    told: dict[str, object] = {"status": "ready" if is_ready else "unavailable", "checks": home}
    if not regions.are_one:
        told["regions"] = {
            region: checks for db, checks in zip(databases, checked, strict=True) for region in regions.names_on(db)
        }
    return told, is_ready


async def _checks(db: Database, runway: Runway) -> dict[str, str]:
    try:
        found = await migrations.revision(db)
        if found is None or found < migrations.newest():
            return {
                "database": "ok",
                "schema": f"at {found}, this code expects {migrations.newest()}: run 'mainstay migrate'",
            }
        left = await runway(db)
    except MainstayError:
        return {"database": "does not answer"}
    enough = left > LEAST_RUNWAY
    return {"database": "ok", "schema": "ok", "partitions": "ok" if enough else f"end in {left}: is a worker running?"}
