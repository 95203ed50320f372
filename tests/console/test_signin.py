"""Signing in and out in a real browser, by keyboard alone, and what is refused."""

from playwright.sync_api import expect

from tests.console.conftest import Opener
from tests.console.site import PASSWORD, Site


def test_in_and_out_by_keyboard_alone(site: Site, open_page: Opener) -> None:
    with open_page() as page:
        page.goto("/console?from=mail")
        expect(page).to_have_url(f"{site.url}/console/sign-in?next=%2Fconsole%3Ffrom%3Dmail")
        expect(page.locator("#field-email")).to_be_focused()
        page.keyboard.type(site.emails["owner"])
        page.keyboard.press("Tab")
        page.keyboard.type("not the password")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("email or the password is wrong")
        expect(page.locator("#field-email")).to_have_value(site.emails["owner"])
        expect(page.locator("#field-password")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.url}/console?from=mail")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.locator("summary[aria-label^=Account]").focus()
        page.keyboard.press("Enter")
        for _ in range(6):
            page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Sign out", exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/sign-in*")
        page.goto("/console")
        expect(page).to_have_url(f"{site.url}/console/sign-in?next=%2Fconsole")


def test_without_scripts_pages_read_and_forms_work(site: Site, open_page: Opener) -> None:
    with open_page(java_script_enabled=False) as page:
        page.goto("/console")
        page.fill("#field-email", site.emails["staff"])
        page.fill("#field-password", PASSWORD)
        page.click("text=Sign in >> nth=-1")
        page.wait_for_url(f"{site.url}/console")
        expect(page.locator(".standing")).to_be_visible()
        expect(page.locator(".chart svg").first).to_be_visible()
        page.click(".place")
        expect(page.locator("[data-panel-title]")).to_be_visible()
        page.click("button:has-text('Staging')")
        expect(page.locator(".place-workspace")).to_have_text("Staging")
        page.click("summary[aria-label^=Account]")
        page.click("button:has-text('Dark')")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_form_that_is_clicked_twice_goes_off_once(open_page: Opener) -> None:
    with open_page() as page:
        page.goto("/console/sign-in")
        posts: list[str] = []
        page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
        page.fill("#field-email", "nobody.twice@example.com")
        page.fill("#field-password", "wrong")
        page.evaluate(
            """() => { const button = document.querySelector("form button.main"); button.click();
                       setTimeout(() => button.click(), 0); }"""
        )
        page.wait_for_selector("[role=alert]")
        assert len(posts) == 1
