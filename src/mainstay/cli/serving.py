"""The processes of a deployment: the API, a worker, and the migration that comes before both."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated

import typer
import uvicorn
import uvloop

from mainstay import main
from mainstay.cli import output
from mainstay.cli.development import environment_with_database
from mainstay.cli.http_limits import BoundedHttp
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.cli.worker_pages import serve_worker_pages
from mainstay.kernel import logs, migrations, settings
from mainstay.kernel.settings import Settings
from mainstay.web.front import Front

BACKLOG = 2_048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
Port = Annotated[int | None, typer.Option(min=0, max=65_535, help="Listen here instead of PORT; 0 picks a free one.")]
Host = Annotated[str | None, typer.Option(help="Listen on this address instead of HOST.")]


def api(port: Port = None, host: Host = None) -> None:
    """Serve the API.

    Ends at SIGTERM or SIGINT; requests under way then get SHUTDOWN_SECONDS to end.

    \b
    A second signal ends the process at once. Settings come from the environment; in
    development without DATABASE_URL an embedded PostgreSQL is started, as by 'up'.
      mainstay api
      mainstay api --host 0.0.0.0 --port 3000
    """
    try:
        with environment_with_database(os.environ) as environment:
            found = _load("api", environment, port=port, host=host, needs_database=False)
            _serve(found, _listen(found.host, found.port))
    except (CommandFailed, settings.SettingsError) as error:
        output.fail(output.explain(error) or CommandFailed(str(error)))


def _serve(found: Settings, listener: socket.socket) -> None:
    """The API has answered until it was asked to stop."""
    bound = listener.getsockname()[1]
    front = _built(replace(found, port=bound), listener)
    server = _Server(
        uvicorn.Config(
            front,
            loop="uvloop",
            http=BoundedHttp,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, round(found.shutdown_seconds)),
        ),
        front,
    )
    shown = f"[{found.host}]" if ":" in found.host else found.host
    output.tell(f"the API listens on http://{shown}:{bound} (reference: /docs)")
    server.run(sockets=[listener])
    if not server.started:
        output.fail(CommandFailed("the API could not start", "The lines above say why."))


def _built(found: Settings, listener: socket.socket) -> Front:
    """The API; a module of the host's that cannot be used ends the start."""
    if not found.database_url:
        output.tell("not ready: DATABASE_URL is missing; only health is answered until it is set and this starts anew")
        return main.build_unready(found)
    try:
        return main.build_api(found)
    except settings.SettingsError as error:
        listener.close()
        output.fail(output.explain(error) or CommandFailed(str(error)))


def worker() -> None:
    """Run jobs, schedules and announcements.

    Ends at SIGTERM or SIGINT; what runs then gets SHUTDOWN_SECONDS to end.

    \b
    A second signal ends the process at once; its jobs are then taken over by others.
    With WORKER_METRICS_PORT set, /metrics and /live are served on HOST.
      mainstay worker
      WORKER_METRICS_PORT=9091 mainstay worker
    """
    try:
        with (
            environment_with_database(os.environ) as environment,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_work(_load("worker", environment)))
    except Exception as error:
        known = output.explain(error)
        if known is None:
            raise
        output.fail(known)


def migrate() -> None:
    """Bring the database, and those that regions have of their own, to this version's shape.

    Safe to run again, and from several places at once.

    \b
      mainstay migrate
    """
    try:
        found = _load("migrate", os.environ)
    except settings.SettingsError as error:
        output.fail(output.explain(error) or CommandFailed(str(error)))
    output.run(migrations.migrate(found.direct_url, main.partitioned()))
    output.tell(f"the database is at revision {migrations.newest()}")
    failed = [region for region, url in found.region_urls.items() if not _is_migrated(found, region, url)]
    if failed:
        output.fail(CommandFailed(f"not migrated: {', '.join(failed)}", "The lines above say why; run this again."))


def _is_migrated(found: Settings, region: str, url: str) -> bool:
    """Whether the database of the region has this version's shape now; what is in the way is told."""
    try:
        asyncio.run(migrations.migrate(found.direct_url_of(url), main.partitioned()))
    except Exception as error:
        known = output.explain(error)
        if known is None:
            raise
        output.tell(f"{region}: {known.what.replace('DATABASE_URL', f'DATABASE_URL_{region}')}")
        return False
    output.tell(f"{region}: its database is at revision {migrations.newest()}")
    return True


async def _work(found: Settings) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop.set)
    pages = await serve_worker_pages(found) if found.worker_metrics_port else None
    output.tell(f"a worker runs{'' if pages is None else f'; /metrics and /live on {found.host}:{pages.port}'}")
    try:
        await main.run_worker(found, stop)
    finally:
        if pages is not None:
            await pages.close()


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """The first signal asks to stop, the second ends the process."""
    asked = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            _end_at_once(number)
        asked = True
        stop()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)


class _Server(uvicorn.Server):
    """Stops gracefully at the first signal and at once at the second; being asked to stop is no failure."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self.front = front

    def handle_exit(self, sig: int, frame: object) -> None:
        if self.should_exit:
            _end_at_once(sig)
        self.should_exit = True
        self.front.stop()


def _end_at_once(number: int) -> None:
    output.tell("asked twice: ending at once")
    os._exit(128 + number)


def _load(
    name: str,
    environment: Mapping[str, str],
    *,
    port: int | None = None,
    host: str | None = None,
    needs_database: bool = True,
) -> Settings:
    found = settings.load(environment, needs_database=needs_database)
    if name != "migrate":
        logs.configure(service=f"{found.service_name} {name}", level=found.log_level, as_json=not sys.stderr.isatty())
    for env in settings.unused(environment):
        output.tell(f"{env} is set and has no effect: all data are in the PostgreSQL of DATABASE_URL")
    return replace(found, port=found.port if port is None else port, host=host or found.host)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; CommandFailed says what is in the way."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise CommandFailed("HOST is not an address of this machine", code=USAGE) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _in_the_way(error, host, port) from None
    listener.setblocking(False)
    return listener


def _in_the_way(error: OSError, host: str, port: int) -> CommandFailed:
    if error.errno == errno.EADDRINUSE:
        return CommandFailed(
            f"port {port} on {host} is in use by another program",
            f"Stop that program, or choose another port: mainstay api --port {port + 1 if port < 65_535 else 8080}",
            code=FAILED,
        )
    if error.errno == errno.EACCES:
        return CommandFailed(f"this user may not listen on port {port}", "Choose a port of 1024 or more.")
    return CommandFailed(f"cannot listen on {host} port {port}: {error.strerror}", "Check HOST and PORT.", code=USAGE)
