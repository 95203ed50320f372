"""A running console and a browser before it; tests of the browser are skipped where there is no Chromium."""

import asyncio
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


@pytest.fixture
def open_page(site: Site, browser: Browser) -> Opener:
    """Opens a page in a browser profile of its own, as a context manager: `with open_page(role="owner") as page`."""

    @contextmanager
    def opened(role: str = "", *, viewport: Any = None, colours: Any = "light", **more: Any) -> Iterator[Page]:
        context = browser.new_context(
            base_url=site.url, viewport=viewport or WIDE, color_scheme=colours, reduced_motion="reduce", **more
        )
        try:
            if role:
                context.add_cookies(_session_of(site, browser, role))
            context.set_default_timeout(60_000)
            page = context.new_page()
            trouble: list[str] = []
            page.on("console", lambda told: trouble.append(told.text) if told.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(str(error)))
            yield page
            assert [line for line in trouble if "status of 4" not in line] == []
        finally:
            context.close()

    return opened


_sessions: dict[tuple[str, str], Any] = {}


def _session_of(site: Site, browser: Browser, role: str) -> Any:
    """The cookies of somebody who signed in once; tests of signing in itself do it again."""
    if (site.url, role) not in _sessions:
        context: BrowserContext = browser.new_context(base_url=site.url)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto("/console")
        page.fill("#field-email", site.emails[role])
        page.fill("#field-password", PASSWORD)
        page.click("button:has-text('Sign in')")
        page.wait_for_url("**/console")
        _sessions[site.url, role] = context.cookies()
        context.close()
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
