"""The worker's own small pages: /metrics for Prometheus and /live for whoever restarts dead processes."""

from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mainstay.cli.output import CommandFailed
from mainstay.kernel import crypto, telemetry
from mainstay.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages as they are served."""

    runner: web.AppRunner
    port: int

    async def close(self) -> None:
        """The port is free again."""
        await self.runner.cleanup()


async def serve_worker_pages(settings: Settings) -> Pages:
    """`/metrics` (with the operators' token in production, as the API's) and `/live`; CommandFailed for a busy port."""
    closed = settings.profile == "production" and not settings.metrics_public

    async def metrics(request: web.Request) -> web.Response:
        token = request.headers.get("x-internal-token", "")
        if closed and not (settings.internal_token and crypto.same(token, settings.internal_token)):
            return web.Response(status=401, text="Send the operators' token as 'x-internal-token'.\n")
        return web.Response(body=generate_latest(telemetry.REGISTRY), headers={"content-type": CONTENT_TYPE_LATEST})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/live", live)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.worker_metrics_port).start()
    except OSError:
        await runner.cleanup()
        where = f"{settings.host} port {settings.worker_metrics_port}"
        raise CommandFailed(f"cannot serve the worker's metrics on {where}", "Set WORKER_METRICS_PORT.") from None
    return Pages(runner, runner.addresses[0][1])
