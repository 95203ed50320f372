"""The console as its people meet it: API and worker as processes, a company with people, and how to sign in."""

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx

from mainstay import identity
from mainstay.kernel.db import Database, Sql
from mainstay.web.roles import FEATURES
from tests.cli.running import SECRETS
from tests.tenancy import OPERATOR, Tenancy, open_tenancy
from tests.warm import Warm

PASSWORD = "correct horse battery staple"
ROLES = ("owner", "manager", "staff")
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_LISTENS = re.compile(r"listens on (http://\S+)")


@dataclass(frozen=True, slots=True)
class Site:
    """One running console."""

    url: str
    database_url: str
    tenancy: Tenancy
    emails: dict[str, str]
    api: Warm

    def end_api(self) -> None:
        """The API is asked to end."""
        self.api.terminate()

    def run(self, work: Any) -> Any:
        """What an async function of a database gives."""

        async def with_database() -> Any:
            db = Database(self.database_url, size=2)
            try:
                return await work(db)
            finally:
                await db.close()

        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(lambda: asyncio.run(with_database())).result()

    def settle(self) -> None:
        """The worker has written down all that was announced; no such event will surprise a list that is looked at."""

        async def settled(db: Database) -> None:
            async with asyncio.timeout(90):
                while await db.value(Sql("test.left", "select exists (select from mainstay.announcements)")):
                    await asyncio.sleep(0.05)

        self.run(settled)


async def people_of(db: Database, company_id: str) -> dict[str, str]:
    """One person for each role of the company, all with the same password, staff with every feature; their emails."""
    passwords = identity.Passwords(memory_kib=19 * 1024, passes=2)
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    emails: dict[str, str] = {}
    async with db.begin() as tx:
        for role in ROLES:
            emails[role] = f"{role}-{secrets.token_hex(4)}@example.com"
            await identity.add_person(
                tx, OPERATOR, company_id, email=emails[role], name=f"{role.title()} Person",
                password_hash=password_hash, role=role,  # type: ignore[arg-type]
            )  # fmt: skip
        await tx.connection.execute(
            "update mainstay.memberships set features = $1 where company_id = $2 and role = 'staff'",
            list(FEATURES), company_id,
        )  # fmt: skip
    return emails


T = TypeVar("T")


def in_turn(width: str, pages: Iterable[T]) -> list[T]:
    """Every other page in each width, each page in one of them; with MAINSTAY_SHOTS all in both."""
    given = list(pages)
    return given if "MAINSTAY_SHOTS" in os.environ else given[width == "narrow" :: 2]


def csrf_of(html: str) -> str:
    """The token that the page's forms carry."""
    found = _CSRF.search(html)
    assert found is not None, html[:500]
    return found.group(1)


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    """The answer to the sign-in form, sent as a browser sends it; the client keeps the cookies."""
    form = await client.get("/console/sign-in")
    data = {"csrf": csrf_of(form.text), "email": email, "password": password, **more}
    return await client.post("/console/sign-in", data=data)


@contextlib.contextmanager
def running_site(database_url: str, *, shutdown_seconds: int = 3) -> Iterator[Site]:
    """API and worker run on the database, in which a company is opened; its owner operates the service."""

    async def furnish() -> tuple[Tenancy, dict[str, str]]:
        db = Database(database_url, size=2)
        tenancy = await open_tenancy(db)
        emails = await people_of(db, tenancy.company_id)
        await db.close()
        return tenancy, emails

    tenancy, emails = asyncio.run(furnish())
    environment = {
        **os.environ, **SECRETS, "DATABASE_URL": database_url, "CONSOLE_OPERATORS": emails["owner"],
        "OUTBOUND_ALLOW": "127.0.0.0/8,localhost", "SHUTDOWN_SECONDS": str(shutdown_seconds),
        "MODULES": "mainstay.cli.demo_functions",
    }  # fmt: skip
    with TemporaryDirectory(prefix="mainstay-console-") as place:
        logs = [(Path(place) / name).open("wb") for name in ("api", "worker")]
        commands = (["api", "--port", "0"], ["worker"])
        processes = [
            Warm(*command, env=environment, stdout=log, stderr=log) for command, log in zip(commands, logs, strict=True)
        ]
        try:
            site = Site(_address(Path(place) / "api", processes[0]), database_url, tenancy, emails, processes[0])
            site.settle()
            yield site
        finally:
            for process in processes:
                process.terminate()
            for process, log in zip(processes, logs, strict=True):
                process.wait(60)
                log.close()


def _address(log: Path, process: Warm) -> str:
    for _ in range(1_800):
        found = _LISTENS.search(log.read_text())
        if found is not None and _answers(found.group(1)):
            return found.group(1)
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"the API did not start: {log.read_text()}")


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/v1/health/ready", timeout=10).status_code == 200
    return False
