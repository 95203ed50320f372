"""One run of `mainstay up` on a database that is there: what is started, in which order, and how it is stopped."""

import asyncio
import json
import os
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from mainstay import main
from mainstay.cli import demo_archive, demo_company, demo_functions
from mainstay.cli.demo_company import DemoCompany, Ground
from mainstay.cli.demo_receiver import Receiver
from mainstay.cli.demo_traffic import Trickle
from mainstay.cli.demo_view import View
from mainstay.cli.interruption import Interruption
from mainstay.cli.own_database import OwnDatabase
from mainstay.cli.places import DEMO, RUNNING, Place, UpRefused, secrets_of
from mainstay.cli.ports import free_port
from mainstay.cli.supervisor import READY_SECONDS, Child, Leash
from mainstay.cli.terminal import Terminal
from mainstay.kernel import migrations
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import GONE, Database
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.settings import Settings, SettingsError, load

LOOPBACK = "127.0.0.1/32"
API_STOP_SECONDS = 6.0
WORKER_STOP_SECONDS = 8.0
# Less than the usual 20 s, as somebody waits at the terminal; the slowest receiver here takes 2 s.
SHUTDOWN_SECONDS = "5"
OBJECTS = "objects"
_HTTP_TIMEOUT = aiohttp.ClientTimeout(total=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asked for; None where it left the choice to us."""

    port: int | None = None
    host: str = "127.0.0.1"
    data: Path | None = None
    demo: bool | None = None
    fresh: bool = False
    plain: bool = False
    every_seconds: float = 5.0


class Session:
    """Everything above the database, from its migration to its stop."""

    def __init__(
        self, place: Place, wishes: Wishes, terminal: Terminal, database: OwnDatabase, interruption: Interruption
    ) -> None:
        """`wishes.port` is settled: nobody else listens on it."""
        self._place = place
        self._wishes = wishes
        self._terminal = terminal
        self._say = terminal.say
        self._database = database
        self._interruption = interruption
        self._has_demo = database.is_embedded if wishes.demo is None else wishes.demo
        shown = "127.0.0.1" if wishes.host in ("0.0.0.0", "::") else wishes.host  # noqa: S104 - compared only
        self._url = f"http://[{shown}]:{wishes.port}" if ":" in shown else f"http://{shown}:{wishes.port}"
        self._leash = Leash()
        self._children: list[Child] = []
        self._receiver: Receiver | None = None
        self._db: Database | None = None

    async def run(self) -> None:
        """Everything ran until somebody wanted it to stop, and all above the database has ended."""
        self._interruption.attach(asyncio.get_running_loop())
        serving = asyncio.create_task(self._serve())
        asked = asyncio.create_task(self._interruption.wait())
        try:
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            serving.cancel()
            try:
                await serving
            except asyncio.CancelledError:
                self._say("stopping ...")
            finally:
                await self._stop()

    def kill(self) -> None:
        """The processes end at once."""
        for child in self._children:
            child.kill()

    async def _serve(self) -> None:
        if self._wishes.fresh:
            await self._database.empty()
        environment = self._environment()
        settings = _checked(environment)
        if settings.region_urls:
            named = ", ".join(f"DATABASE_URL_{region}" for region in settings.region_urls)
            raise UpRefused(f"it serves one database: with {named}, run 'mainstay migrate', 'api' and 'worker'")
        await self._migrate(settings)
        db = self._db = Database(settings.database_url, size=2, statement_cache=0, name="mainstay up")
        company = await self._open_demo(settings, db) if self._has_demo else None
        if company is not None:
            environment.setdefault("CONSOLE_OPERATORS", company.owner.email)
        self._place.write(
            RUNNING, {"pid": os.getpid(), "url": self._url, "environment": self._told_settings(environment)}
        )
        await self._start_children(environment)
        self._say(welcome(self._url, self._place, company))
        trickle = Trickle(self._url, company) if company is not None else None
        view = View(self._terminal, db, self._receiver, trickle)
        is_table = self._terminal.is_terminal and not self._wishes.plain
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(child.keep())
            group.create_task(self._database.keep(self._move))
            group.create_task(view.show_table() if is_table else view.show_lines(self._wishes.every_seconds))
            if trickle is not None:
                group.create_task(trickle.run())
                group.create_task(demo_archive.keep_a_day(trickle, db))
                group.create_task(demo_functions.place_orders(db, trickle.company.company_id))

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, **secrets_of(self._place)}
        if self._database.is_embedded:
            environment.pop("DATABASE_DIRECT_URL", None)
        if self._has_demo:
            allowed = environment.get("OUTBOUND_ALLOW", "").strip()
            environment["OUTBOUND_ALLOW"] = f"{allowed},{LOOPBACK}" if allowed else LOOPBACK
            own = environment.get("MODULES", "").strip()
            environment["MODULES"] = f"{own},{demo_functions.__name__}" if own else demo_functions.__name__
        environment.setdefault("PROFILE", "development")
        environment.setdefault("SHUTDOWN_SECONDS", SHUTDOWN_SECONDS)
        environment.setdefault("OBJECT_STORE", (self._place.directory / OBJECTS).as_uri())
        return environment | {
            "DATABASE_URL": self._database.url,
            "HOST": self._wishes.host,
            "PORT": str(self._wishes.port),
            "WORKER_METRICS_PORT": str(free_port()),
        }

    def _told_settings(self, environment: dict[str, str]) -> dict[str, str]:
        names = ("PROFILE", "DATABASE_URL", "DATABASE_DIRECT_URL", "HOST", "PORT", "WORKER_METRICS_PORT",
                 "OUTBOUND_ALLOW", "OBJECT_STORE", "MODULES",
                 "CONSOLE_OPERATORS", "MAINSTAY_SECRET", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET",
                 "INTERNAL_TOKEN")  # fmt: skip
        return {name: environment[name] for name in names if name in environment}

    async def _migrate(self, settings: Settings) -> None:
        try:
            await migrations.migrate(settings.direct_url, main.partitioned())
        except migrations.UnfitDatabase as error:
            raise UpRefused(str(error)) from error
        except (asyncpg.PostgresError, MainstayError, *GONE) as error:
            raise UpRefused(f"{self._database.told} cannot be used: {type(error).__name__}: {error}") from error

    async def _open_demo(self, settings: Settings, db: Database) -> DemoCompany:
        before = demo_company.kept(self._place)
        port = free_port(before.receiver_port if before is not None else None)
        self._receiver = Receiver()
        await self._receiver.open(port)
        keyring = Keyring(settings.secret, settings.secret_previous)
        company = await demo_company.ensure(Ground(self._place, db, keyring, settings.outbound_allow, port))
        self._receiver.secrets = company.secrets
        return company

    async def _start_children(self, environment: dict[str, str]) -> None:
        worker = f"{self._url.rpartition(':')[0]}:{environment['WORKER_METRICS_PORT']}/live"
        for name, live in (("worker", worker), ("api", f"{self._url}/api/v1/health/live")):
            child = Child(name, self._place, environment, leash=self._leash, is_well=_answers(live), say=self._say)
            self._children.append(child)
            child.start()
        for child in self._children:
            await child.until_well()
        is_ready = _answers(f"{self._url}/api/v1/health/ready")
        for _ in range(int(READY_SECONDS * 10)):
            if await is_ready():
                return
            await asyncio.sleep(0.1)
        self._say(f"the API is up, but not ready: see {self._url}/api/v1/health/ready")

    def _move(self) -> None:
        """The processes start again with the database's new address."""
        if self._db is not None:
            self._db.dsn = self._database.url
        for child in self._children:
            child.environment["DATABASE_URL"] = self._database.url
            child.kill()

    async def _stop(self) -> None:
        seconds = {"api": API_STOP_SECONDS, "worker": WORKER_STOP_SECONDS}
        for child in sorted(self._children, key=lambda child: child.name):
            await child.stop(seconds[child.name])
        if self._receiver is not None:
            await self._receiver.close()
        if self._db is not None:
            await self._db.close(1.0)
        self._leash.close()


def _checked(environment: dict[str, str]) -> Settings:
    try:
        return load(environment)
    except SettingsError as error:
        raise UpRefused(str(error)) from error


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        try:
            async with aiohttp.ClientSession(timeout=_HTTP_TIMEOUT) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    return ask


def welcome(url: str, place: Place, company: DemoCompany | None) -> str:
    """What the person at the terminal needs to begin."""
    lines = ["", f"Mainstay is up: {url}", f"console:        {url}/console", f"API reference:  {url}/docs",
             f"logs:           {place.logs}"]  # fmt: skip
    if company is None:
        return "\n".join([*lines, "Ctrl-C stops everything.", ""])
    lines += ["", "Sign in to the console as the owner of the demonstration company:"]
    lines += [f"  {url}/console", f"  email     {company.owner.email}", f"  password  {company.owner.password}"]
    body = {
        "action": "report.exported",
        "category": "reports",
        "actor": {"id": "u-1", "email": "you@acme.example", "name": "You"},
        "target": {"id": "report-7", "type": "report"},
        "payload": {"rows": 250},
    }
    lines += [
        "",
        "Send an event to the demonstration company:",
        f"  curl -sS {url}/v1/key/workspace/events -H 'authorization: Bearer {company.workspaces[0].key}'"
        f" -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}",
        "",
        "All its people (for the console and POST /api/v1/auth/login; passwords of this data directory alone):",
        *(f"  {person.role:8} {person.email}  {person.password}" for person in company.people),
        f"Its other keys: {place.directory / DEMO}",
        "",
        "Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)
