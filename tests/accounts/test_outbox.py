"""Who sees letters: in development the machine itself and named people, in production nobody more than their number."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from mainstay import accounts
from mainstay.kernel.db import Database
from tests.accounts.mailbox import KEYRING, PASSWORD, add
from tests.cli.running import called
from tests.conftest import running_app
from tests.console.site import sign_in
from tests.tenancy import Tenancy

PAGE = "/console/outbox"
TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
PRODUCTION = {"PROFILE": "production", "JWT_REFRESH_SECRET": "a-test-secret-of-forty-characters-or-so-4"}


async def write(db: Database) -> None:
    async with db.begin() as tx:
        await accounts.write_letter(
            tx,
            KEYRING,
            to="ada@example.com",
            kind="password_reset",
            data={"name": "<b>Ada</b>"},
            link_token="ml_secret",
        )


@asynccontextmanager
async def at(app: httpx.AsyncClient, host: str, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """The same application under a name, asked from an address."""
    inner = app._transport
    assert isinstance(inner, httpx.ASGITransport)
    transport = httpx.ASGITransport(inner.app, raise_app_exceptions=False, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client


async def test_the_page_is_for_this_machine_by_its_own_name(api: httpx.AsyncClient, db: Database) -> None:
    await write(db)
    for host in ("localhost:8080", "127.0.0.1"):
        async with at(api, host, "127.0.0.1") as here:
            answer = await here.get(PAGE)
            assert answer.status_code == 200
            assert 'href="http://127.0.0.1:8080/console/reset-password?token=ml_secret"' in answer.text
            assert "<b>" not in answer.text
            assert "no-store" in answer.headers["cache-control"]
    for host, address in (("rebound.example", "127.0.0.1"), ("localhost", "192.0.2.7")):
        async with at(api, host, address) as elsewhere:
            answer = await elsewhere.get(PAGE)
            assert (answer.status_code, "ml_secret" in answer.text) == (303, False)


async def test_the_page_is_for_operators_who_are_signed_in(fresh_url: str, db: Database, tenancy: Tenancy) -> None:
    await write(db)
    ada, bob = await add(db, tenancy), await add(db, tenancy)
    async with running_app(fresh_url, CONSOLE_OPERATORS=ada.email) as api:
        for one, status in ((ada, 200), (bob, 403)):
            api.cookies.clear()
            await sign_in(api, one.email, PASSWORD)
            answer = await api.get(PAGE)
            assert (answer.status_code, "ml_secret" in answer.text) == (status, status == 200)


async def test_operators_see_links_in_development_and_numbers_in_production(
    api: httpx.AsyncClient, fresh_url: str, db: Database
) -> None:
    await write(db)
    data = (await api.get("/internal/letters", headers=TOKEN)).json()["data"]
    assert (data["waiting"], data["kinds"]) == (1, {"password_reset": 1})
    (letter,) = data["letters"]
    assert letter["link"].endswith("?token=ml_secret")
    assert letter["link"] in letter["text"]
    async with running_app(fresh_url, **PRODUCTION) as production:
        answer = await production.get("/internal/letters", headers=TOKEN)
        assert answer.json()["data"] == {"waiting": 1, "kinds": {"password_reset": 1}, "letters": None}
        async with at(production, "localhost", "127.0.0.1") as here:
            assert (await here.get(PAGE)).status_code in (303, 404)
            assert "ml_secret" not in (await here.get(PAGE)).text


async def test_the_command_shows_letters_in_development_alone(fresh_url: str, db: Database) -> None:
    await write(db)
    env = {
        "DATABASE_URL": fresh_url,
        "MAINSTAY_SECRET": "a-test-secret-of-forty-characters-or-so-1",
        "JWT_ACCESS_SECRET": "a-test-secret-of-forty-characters-or-so-2",
        "INTERNAL_TOKEN": TOKEN["x-internal-token"],
        **PRODUCTION,
    }
    told = await asyncio.to_thread(called, "letters", "list", "--json", env=env)
    assert json.loads(told.out) == {"waiting": 1, "kinds": {"password_reset": 1}}
    env["PROFILE"] = "development"
    told = await asyncio.to_thread(called, "letters", "list", "--json", env=env)
    one = json.loads(told.out)
    assert one["recipient"] == "ada@example.com"
    told = await asyncio.to_thread(called, "letters", "show", one["id"], env=env)
    assert "?token=ml_secret" in told.out
    env["PROFILE"] = "production"
    told = await asyncio.to_thread(called, "letters", "show", one["id"], env=env)
    assert (told.code, "ml_secret" in told.out + told.err) == (1, False)
