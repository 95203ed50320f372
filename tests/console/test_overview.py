"""The first page in a real browser: it answers, it is live, it looks right, and everybody can use it."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import NARROW, WIDE, Opener
from tests.console.site import Site


def _send_events(site: Site, many: int) -> None:
    event = {"action": "user.signed_in", "actor": {"id": "u-1"}}
    answer = httpx.post(
        f"{site.url}/v1/key/workspace/events/batch",
        json={"events": [event] * many},
        headers=site.tenancy.auth,
        timeout=60,
    )
    assert answer.status_code in (200, 201), answer.text


def test_the_first_line_answers_and_the_figures_are_live(site: Site, open_page: Opener) -> None:
    with open_page("owner") as page:
        page.goto("/console")
        expect(page.locator(".standing")).to_contain_text("All is well.")
        expect(page.locator("[data-health=good]")).to_be_visible()
        expect(page.locator(".chart .uplot").first).to_be_visible()
        _send_events(site, 40)
        page.wait_for_function(
            """() => [...document.querySelectorAll("#chart-events-data td:last-child")]
                       .some((cell) => Number(cell.textContent) >= 40)""",
        )


def test_the_palette_goes_everywhere_by_keyboard(open_page: Opener) -> None:
    with open_page("manager") as page:
        page.goto("/console/place")
        page.keyboard.press("Control+k")
        expect(page.get_by_role("combobox")).to_be_focused()
        page.keyboard.type("nothing is called that")
        expect(page.locator(".palette-none")).to_be_visible()
        page.keyboard.press("Control+a")
        page.keyboard.type("overv")
        page.keyboard.press("Enter")
        page.wait_for_url("**/console")


def test_the_panel_opens_over_the_page_and_gives_the_focus_back(site: Site, open_page: Opener) -> None:
    with open_page("manager") as page:
        page.goto("/console")
        page.locator(".place").focus()
        page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        expect(page).to_have_url(f"{site.url}/console/place")
        page.keyboard.press("Escape")
        expect(page.locator(".place")).to_be_focused()
        expect(page).to_have_url(f"{site.url}/console")


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_it(
    colours: str, width: str, site: Site, open_page: Opener, violations: Callable[[Page], list[str]], shots: Path
) -> None:
    viewport = WIDE if width == "wide" else NARROW
    name = f"{width}-{colours}"
    with open_page(viewport=viewport, colours=colours) as page:
        page.goto("/console/sign-in")
        page.screenshot(path=shots / f"sign-in-{name}.png")
        assert violations(page) == []
    with open_page("owner", viewport=viewport, colours=colours) as page:
        page.goto("/console")
        expect(page.locator(".chart .uplot").first).to_be_visible()
        page.screenshot(path=shots / f"overview-{name}.png", full_page=True)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if width == "narrow":
            page.click("[href='#areas']")
            expect(page.get_by_role("navigation", name="Areas")).to_be_visible()
            page.screenshot(path=shots / f"menu-{name}.png")
        else:
            page.keyboard.press("Control+k")
            page.screenshot(path=shots / f"palette-{name}.png")
            assert violations(page) == []
            page.keyboard.press("Escape")
            page.goto("/console/place")
            page.screenshot(path=shots / f"panel-{name}.png")
            assert violations(page) == []
            page.goto("/console/nowhere")
            page.screenshot(path=shots / f"error-{name}.png")
            assert violations(page) == []
