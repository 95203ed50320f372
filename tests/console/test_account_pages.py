"""A person's own account in a real browser: from registering to a second factor and back, by keyboard alone."""

import base64
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import zxingcpp
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import NARROW, WIDE, Opener
from tests.console.site import Site
from tests.mfa.rfc6238 import code_at

PASSWORD = "seven quiet herons at dusk"
OTHER = "nine loud magpies at dawn"
_LETTER = re.compile(r"<h2>([^<]*)</h2>\s*<p class=\"quiet\">To ([^,]*),.*?</article>", re.DOTALL)
_PIXELS = """async (coded) => {
  const bytes = Uint8Array.from(atob(coded), (one) => one.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const plane = canvas.getContext("2d");
  plane.drawImage(image, 0, 0);
  const given = plane.getImageData(0, 0, image.width, image.height).data;
  return [image.width, image.height, Array.from(given.filter((_, at) => at % 4 === 0))];
}"""


def reach(page: Page, wanted: Locator) -> None:
    """The keyboard alone got there."""
    for _ in range(80):
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no key leads to {wanted}")


def fill(page: Page, label: str, text: str) -> None:
    """The field was reached and typed into."""
    reach(page, page.get_by_label(label, exact=True))
    page.keyboard.type(text)


def press(page: Page, name: str) -> None:
    """The button or link of that name was reached and pressed; the next page is there."""
    reach(page, page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True)))
    with page.expect_navigation():
        page.keyboard.press("Enter")


def link_of(site: Site, to: str, subject: str) -> str:
    """The path and token of the newest such letter in the outbox."""
    with httpx.Client(base_url=site.url, timeout=60) as client:
        for _ in range(600):
            for letter in _LETTER.finditer(client.get("/console/outbox").text):
                if letter[1].startswith(subject) and letter[2] == to:
                    found = re.search(r'href="([^"]+)"', letter[0])
                    assert found is not None
                    address = urlsplit(found[1])
                    return f"{address.path}?{address.query}"
            time.sleep(0.1)
    raise AssertionError(f"no letter to {to} is about: {subject}")


def read_qr(page: Page) -> str:
    """What a camera reads from the page as it is shown."""
    shot = base64.b64encode(page.locator(".qr").screenshot()).decode()
    width, height, grey = page.evaluate(_PIXELS, shot)
    (found,) = zxingcpp.read_barcodes(memoryview(bytes(grey)).cast("B", (height, width)))
    return str(found.text)


def test_from_registering_to_a_second_factor_and_back_by_keyboard(
    site: Site, open_page: Opener, shots: Path, violations: Callable[[Page], list[str]]
) -> None:
    email = f"ada-{secrets.token_hex(4)}@example.com"
    with open_page() as page:

        def look(name: str, *, narrow: bool = False) -> None:
            page.screenshot(path=shots / f"account-{name}.png", full_page=True)
            assert (name, violations(page)) == (name, [])
            if narrow:
                page.set_viewport_size(NARROW)
                page.screenshot(path=shots / f"account-{name}-narrow.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                page.set_viewport_size(WIDE)

        page.goto("/console/sign-in")
        press(page, "Register a company")
        expect(page.get_by_label("Company")).to_be_focused()
        page.keyboard.type("Heron Works")
        fill(page, "Your name", "Ada Lane")
        fill(page, "Email", email)
        fill(page, "Password", "password")
        press(page, "Register")
        expect(page.get_by_label("Password")).to_be_focused()
        expect(page.get_by_label("Company")).to_have_value("Heron Works")
        look("register-refused")
        page.keyboard.type(PASSWORD)
        press(page, "Register")
        expect(page.locator("#notice")).to_contain_text(f"A letter to {email}")

        page.goto(link_of(site, email, "Confirm your email"))
        assert "token" not in page.url
        press(page, "Confirm the address")
        expect(page.locator("#notice")).to_contain_text(f"{email} is confirmed.")
        expect(page.locator(".facts")).to_contain_text("confirmed")

        press(page, "Set up a second factor")
        press(page, "Set it up")
        uri = read_qr(page)
        secret = re.search(r"secret=([A-Z2-7]+)", uri)[1]  # type: ignore[index]
        assert page.locator("#secret").inner_text() == secret
        expect(page.get_by_label("Code")).to_be_focused()
        look("setup", narrow=True)
        step = int(time.time()) // 30 - 1
        page.keyboard.type("000000")
        press(page, "Turn it on")
        expect(page.get_by_label("Code")).to_have_attribute("aria-invalid", "true")
        assert read_qr(page) == uri
        expect(page.get_by_label("Code")).to_be_focused()
        page.keyboard.type(code_at(secret, step))
        press(page, "Turn it on")
        expect(page.locator(".codes li")).to_have_count(10)
        recovery = page.locator(".codes code").first.inner_text()
        look("codes", narrow=True)
        press(page, "I have put them away")

        reach(page, page.locator("summary[aria-label^=Account]"))
        page.keyboard.press("Enter")
        press(page, "Sign out")
        expect(page.get_by_role("status")).to_have_text("You are signed out.")
        fill(page, "Email", email)
        fill(page, "Password", PASSWORD)
        press(page, "Sign in")
        expect(page.get_by_label("Code")).to_be_focused()
        look("challenge")
        page.keyboard.type(code_at(secret, step + 1))
        press(page, "Sign in")
        page.wait_for_url(f"{site.url}/console")

        page.goto("/console/account/sessions")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text("this one")

        page.goto("/console/forgot-password")
        fill(page, "Email", email)
        press(page, "Send the letter")
        expect(page.get_by_role("heading")).to_have_text("Look for a letter")
        page.goto(link_of(site, email, "Choose a new password"))
        fill(page, "New password", OTHER)
        press(page, "Use this password")
        expect(page.get_by_role("status")).to_contain_text("every session has ended")
        fill(page, "Email", email)
        fill(page, "Password", OTHER)
        press(page, "Sign in")
        press(page, "Use a recovery code")
        expect(page.get_by_label("Recovery code")).to_be_focused()
        page.keyboard.type(recovery.lower())
        press(page, "Sign in")
        page.wait_for_url(f"{site.url}/console")

        page.goto("/console/account/second-factor")
        expect(page.locator("main .facts")).to_contain_text("9")
        look("factor")
        fill(page, "Code to turn it off", code_at(secret, step + 2))
        press(page, "Turn it off")
        expect(page.locator("#notice")).to_contain_text("Your second factor is off")


def test_everybody_can_use_them(open_page: Opener, violations: Callable[[Page], list[str]], shots: Path) -> None:
    account = ("", "/email", "/password", "/second-factor", "/sessions", "/prove")
    visitors = ("sign-in", "register", "forgot-password", "reset-password", "accept-invitation")
    for who, pages in (("", visitors), ("manager", [f"account{one}" for one in account])):
        with open_page(who, viewport=NARROW, colours="dark") as page:
            for path in pages:
                page.goto(f"/console/{path}")
                page.screenshot(path=shots / f"own-{path.replace('/', '-')}.png", full_page=True)
                assert (path, violations(page)) == (path, [])
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
