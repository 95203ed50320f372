"""A running console and a browser before it; tests of the browser are skipped where there is no Chromium."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from mainstay.kernel.db import Database
from tests import npm
from tests.conftest import cut_database, drop_database, running_app
from tests.console.audit import Console
from tests.console.site import PASSWORD, Site, csrf_of, people_of, running_site, sign_in
from tests.tenancy import Tenancy

PEERS = Path(__file__).parent / "peers"
FILES = ("package.json", "package-lock.json", ".npmrc")
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def site(server_url: str, template_url: str) -> Iterator[Site]:
    """API and worker on a database of their own, shared by the tests of a module: what one breaks is its own."""
    url = asyncio.run(cut_database(server_url, template_url))
    with running_site(url) as running:
        yield running
    asyncio.run(drop_database(server_url, url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window; while it runs this thread has a loop, so its modules have no async tests."""
    found = shutil.which("chromium")
    if found is None:
        npm.missing("chromium is not installed")
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=flags)
        yield started
        started.close()


Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def profiles() -> dict[str, BrowserContext]:
    """Browser profiles that were used and are empty again, by what they are like: a new one takes a second."""
    return {}


@pytest.fixture
def open_page(site: Site, browser: Browser, profiles: dict[str, BrowserContext]) -> Opener:
    """Opens a page in a browser profile that nobody used, as a context manager: `with open_page("owner") as page`."""

    @contextmanager
    def opened(role: str = "", *, viewport: Any = None, colours: Any = "light", **more: Any) -> Iterator[Page]:
        wanted = {"viewport": viewport or WIDE, "color_scheme": colours, "reduced_motion": "reduce", **more}
        likeness = json.dumps(wanted, sort_keys=True)
        context = profiles.pop(likeness, None) or browser.new_context(base_url=site.url, **wanted)
        try:
            if role:
                context.add_cookies(_session_of(site, role))
            context.set_default_timeout(60_000)
            page = context.new_page()
            if "MAINSTAY_SHOTS" not in os.environ:
                page.screenshot = lambda **_: b""  # type: ignore[method-assign]
            trouble: list[str] = []
            page.on("console", lambda told: trouble.append(told.text) if told.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(str(error)))
            yield page
            assert [line for line in trouble if "status of 4" not in line] == []
            _empty(context, page, site)
        except BaseException:
            context.close()
            raise
        profiles[likeness] = context

    return opened


def _empty(context: BrowserContext, page: Page, site: Site) -> None:
    """Nothing of what was done in the profile is left in it."""
    devtools = context.new_cdp_session(page)
    devtools.send("Storage.clearDataForOrigin", {"origin": site.url, "storageTypes": "all"})
    devtools.detach()
    for one in context.pages:
        one.close()
    context.clear_cookies()
    context.clear_permissions()
    context.unroute_all()


_sessions: dict[tuple[str, str], Any] = {}


def _session_of(site: Site, role: str) -> Any:
    """The cookies of somebody who signed in once; tests of signing in itself do it in the browser."""
    if (site.url, role) not in _sessions:
        with httpx.Client(base_url=site.url, timeout=60) as client:
            csrf = csrf_of(client.get("/console/sign-in").text)
            form = {"csrf": csrf, "email": site.emails[role], "password": PASSWORD}
            assert client.post("/console/sign-in", data=form).status_code == 303
            _sessions[site.url, role] = [
                {
                    "name": one.name,
                    "value": one.value,
                    "url": site.url,
                    "httpOnly": one.has_nonstandard_attr("HttpOnly"),
                }
                for one in client.cookies.jar
            ]
        site.settle()
    return _sessions[site.url, role]


def follow(page: Page, selector: str) -> None:
    """The page that the link leads to is there."""
    with page.expect_navigation():
        page.click(selector)


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: MAINSTAY_SHOTS, or a directory of this run."""
    given = os.environ.get("MAINSTAY_SHOTS")
    place = Path(given) if given else tmp_path_factory.mktemp("shots")
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, installed once outside the tree and shared by later runs."""
    home = npm.installed("axe", PEERS, FILES)
    return (home / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def violations(axe: str) -> Callable[[Page], list[str]]:
    """What axe finds wrong with a page; it is put in by the debugger, so the page's own policy stays as it is."""

    def found(page: Page) -> list[str]:
        page.evaluate(axe)
        result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:4]}"
            for one in result["violations"]
        ]

    return found


@pytest.fixture
async def console(db: Database, tenancy: Tenancy, tmp_path: Path) -> AsyncIterator[Console]:
    emails = await people_of(db, tenancy.company_id)
    async with running_app(db.dsn, OUTBOUND_ALLOW="127.0.0.0/8", OBJECT_STORE=f"file://{tmp_path}") as app:
        profiles, tokens = {}, {}
        for role, email in emails.items():
            profiles[role] = httpx.AsyncClient(transport=app._transport, base_url="http://test")
            await sign_in(profiles[role], email)
            tokens[role] = csrf_of((await profiles[role].get("/console")).text)
        yield Console(app, tenancy, profiles, tokens)
