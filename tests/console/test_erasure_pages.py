"""Pages of erasures and holds in a real browser: light and dark, wide and narrow, by keyboard, and what axe says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from mainstay.kernel.db import Database, Sql
from tests.console.conftest import NARROW, WIDE, Opener, follow
from tests.console.site import Site, in_turn


@pytest.fixture(scope="module")
def furnished(site: Site) -> dict[str, str]:
    """A company with events of a person, who was counted, and a hold on another; the addresses of pages by name."""
    ada = {"id": "user-ada-7", "email": "ada@example.com", "name": "Ada Lovelace"}
    events = [{"action": "doc.opened", "actor": ada, "payload": {"by": "ada@example.com"}}] * 3
    sent = httpx.post(
        f"{site.url}/v1/key/workspace/events/batch", json={"events": events}, headers=site.tenancy.auth, timeout=60
    )
    assert sent.status_code == 200
    body = {"actorId": "user-ada-7", "actorEmail": "ada@example.com", "reason": "Request 17", "dryRun": True}
    counted = _post(site, "erasures", body)["id"]
    _completed(site, counted)
    _post(site, "gdpr/export", {"actorId": "user-ada-7"})
    _post(site, "holds", {"reason": "Audit of the year", "actorId": "u-11"})
    hold = _post(site, "holds", {"reason": "Case 11, order of a court", "actorEmail": "eve@example.com"})
    return {
        "erasure": f"/console/erasures/{counted}",
        "erasures": "/console/erasures",
        "erasure-form": "/console/erasures/new",
        "hold": f"/console/holds/{hold['id']}",
        "holds": "/console/holds",
    }


def _post(site: Site, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{site.url}/v1/key/company/{path}", json=body, headers=site.tenancy.company_auth, timeout=60)
    assert answer.status_code in (201, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def _counted(site: Site, body: dict[str, Any]) -> str:
    """The id of an erasure that was counted to its end."""
    asked = str(_post(site, "erasures", {**body, "dryRun": True})["id"])
    _completed(site, asked)
    return asked


def _completed(site: Site, erasure_id: str) -> None:
    async def wait(db: Database) -> None:
        async with asyncio.timeout(90):
            ended = "select state = 'completed' from mainstay.erasures where id = $1"
            while not await db.value(Sql("t", ended), erasure_id):
                await asyncio.sleep(0.05)

    site.run(wait)


def test_a_person_is_counted_and_erased_by_keyboard(
    site: Site, furnished: dict[str, str], open_page: Opener, shots: Path
) -> None:
    with open_page("owner") as page:
        page.goto(furnished["erasure-form"])
        page.focus("#field-actorId")
        page.keyboard.type("user-ada-7")
        page.focus("#field-reason")
        page.keyboard.type("Request 18")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_have_text("Count before an erasure")
        _completed(site, page.url.rpartition("/")[2])
        page.reload()
        expect(page.locator(".panel")).to_contain_text("3 events would lose every part")
        page.locator("summary", has_text="Erase this person for good").focus()
        page.keyboard.press("Enter")
        page.fill(".panel #field-actorId", "user-ada-8")
        follow(page, "button:has-text('Erase for good')")
        expect(page.locator(".panel .error")).to_contain_text("This is not whom the count was of")
        page.screenshot(path=shots / "erasure-refused.png")
        page.fill(".panel #field-actorId", "user-ada-7")
        follow(page, "button:has-text('Erase for good')")
        _completed(site, page.url.rpartition("/")[2])
        page.reload()
        expect(page.locator(".panel")).to_contain_text("does not hold the person any more")
        expect(page.locator(".panel tbody tr")).to_have_count(3)
        page.screenshot(path=shots / "erasure-done.png")


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_them(
    colours: str,
    width: str,
    furnished: dict[str, str],
    open_page: Opener,
    violations: Callable[[Page], list[str]],
    shots: Path,
) -> None:
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        for what, address in in_turn(width, furnished.items()):
            page.goto(address)
            if what in ("erasures", "holds"):
                page.locator("main details.fold > summary").click()
            page.screenshot(path=shots / f"{what}-{width}-{colours}.png", full_page=True)
            assert (what, violations(page)) == (what, [])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
