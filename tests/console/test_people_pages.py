"""Pages of a company's people, keys and limits in a real browser: one walk through all of it, and what axe says."""

import html
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from mainstay import identity, members
from mainstay.identity.key_use import KeyUse
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.web.callers import Caller
from tests.cli.running import SECRETS
from tests.console.conftest import NARROW, WIDE, Opener, follow
from tests.console.site import Site
from tests.tenancy import OPERATOR

MEMBERS, KEYS = "/console/members", "/console/keys"
WORDS = "nine loud magpies at dawn"
_LINK = re.compile(r'href="(/console/accept-invitation\?token=[^"]+|http[^"]+/console/accept-invitation\?token=[^"]+)"')


def letter_to(site: Site, email: str) -> str:
    """Where the newest invitation to the address leads, without its host."""
    outbox = httpx.get(f"{site.url}/console/outbox", timeout=60).text
    letter = outbox[outbox.index(email) :]
    found = _LINK.search(letter)
    assert found is not None, letter[:2_000]
    return re.sub(r"^https?://[^/]+", "", html.unescape(found.group(1)))


def test_a_member_and_a_key_come_and_go(site: Site, open_page: Opener, shots: Path) -> None:
    with open_page("owner") as page, open_page() as guest:
        page.goto(f"{MEMBERS}/invitations/new")
        page.fill("#field-email", "new.hand@example.com")
        page.get_by_label("events").check()
        follow(page, "button:has-text('Invite')")
        expect(page.locator("#panel")).to_contain_text("new.hand@example.com")
        guest.goto(letter_to(site, "new.hand@example.com"))
        guest.fill("#field-name", "New Hand")
        guest.fill("#field-password", WORDS)
        follow(guest, "button:has-text('Join')")
        guest.goto("/console/events")
        expect(guest.locator("nav.areas a[aria-current=page]")).to_have_text("Events")
        assert guest.goto(KEYS).status == 403  # type: ignore[union-attr]

        page.goto(f"{MEMBERS}?search=new.hand")
        page.click("a.row-link:has-text('New Hand')")
        page.select_option("#field-role", "manager")
        follow(page, "button:has-text('See what changes')")
        expect(page.locator("section", has_text="Gains")).to_contain_text("issue, rotate and revoke API keys")
        expect(page.locator("h1")).to_have_text("What changes for New Hand")
        assert guest.goto(KEYS).status == 403  # type: ignore[union-attr]
        page.screenshot(path=shots / "role-preview.png")
        follow(page, "button:has-text('Change the role')")
        expect(page.locator("#notice")).to_contain_text("New Hand is manager now")
        assert guest.goto(KEYS).status == 200  # type: ignore[union-attr]

        page.click("summary:has-text('Suspend')")
        follow(page, "button:has-text('Suspend New Hand')")
        expect(page.locator("#panel")).to_contain_text("suspended")
        guest.goto(KEYS)
        expect(guest).to_have_url(re.compile("/console/sign-in"))

        page.goto(f"{KEYS}/new")
        page.fill("#field-name", "Billing service")
        page.select_option("#field-workspaceId", site.tenancy.workspace_id)
        page.select_option("#field-rights", "some")
        page.check("input[value='events.write']")
        follow(page, "button:has-text('Make the key')")
        secret = page.locator(".secret-value code").inner_text()
        page.screenshot(path=shots / "key-secret.png")
        assert secret not in page.url
        event = {"action": "user.signed_in", "actor": {"id": "u-1"}}
        with httpx.Client(base_url=site.url, headers={"authorization": f"Bearer {secret}"}, timeout=60) as client:
            assert client.post("/v1/key/workspace/events", json=event).status_code == 201
            assert client.get("/v1/key/workspace/webhooks").status_code in (403, 404)
            follow(page, "a:has-text('Open the key')")
            uses = page.locator(".facts div", has_text="In the last 5 minutes").locator("dd")
            for _ in range(240):
                if uses.inner_text() != "0 uses":
                    break
                time.sleep(0.25)
                page.reload()
            expect(uses).to_have_text(re.compile("^[12] use"))
            page.click("summary:has-text('Revoke this key')")
            page.fill("input[name=confirm]", "Billing service")
            follow(page, "button:has-text('Revoke the key')")
            expect(page.locator("#notice")).to_contain_text("no request succeeds with it")
            assert client.post("/v1/key/workspace/events", json=event).status_code == 401


@pytest.fixture(scope="module")
def furnished(site: Site) -> dict[str, str]:
    """A company whose people and keys have something to show; the addresses of its pages by name."""
    tenancy = site.tenancy

    async def furnish(db: Database) -> dict[str, str]:
        owner = await db.value(Sql("t", "select id::text from mainstay.people where email = $1"), site.emails["owner"])
        caller = Caller(
            "person", str(owner), "Olive Owner", tenancy.company_id, role="owner", email=site.emails["owner"],
            is_fresh=True,
        )  # fmt: skip
        staff = await db.value(Sql("t", "select id::text from mainstay.people where email = $1"), site.emails["staff"])
        async with db.begin() as tx:
            invitation = await members.invite(
                tx, Keyring(SECRETS["MAINSTAY_SECRET"]), caller, email="ada@example.com", role="staff",
                features=["events"],
            )  # fmt: skip
            for name in ("Support", "Sales"):
                department = await members.departments.open_department(tx, caller, name=name)
            await members.departments.join_department(tx, caller, department.id, str(staff))
            key = await identity.issue_key(
                tx, OPERATOR, tenancy.company_id, kind="company", name="Nightly report", read_only=True,
                allow_list=["198.51.100.0/24"], scopes=["events.read", "exports"], labels=["team:finance"],
            )  # fmt: skip
            await identity.issue_key(tx, OPERATOR, tenancy.company_id, kind="company", name="Old laptop")
        use = KeyUse()
        for _ in range(1_204):
            use.count(key.record.id, "198.51.100.7")
        use.count_refusal(key.record.id, "address", "203.0.113.9")
        await use.flush_once(db)
        return {
            "members": MEMBERS,
            "member": f"{MEMBERS}/{staff}",
            "member-self": f"{MEMBERS}/{owner}",
            "member-role": f"{MEMBERS}/{staff}/role?role=manager",
            "invitation": f"{MEMBERS}/invitations/{invitation.id}",
            "invite": f"{MEMBERS}/invitations/new",
            "department": f"/console/departments/{department.id}",
            "key": f"{KEYS}/{key.record.id}",
            "key-form": f"{KEYS}/new",
            "company": "/console/company",
            "limits": "/console/limits",
            "all-limits": "/console/all-limits?policy=general",
            "restriction": "/console/restriction",
        }

    found: dict[str, str] = site.run(furnish)
    return found


SEEN = {
    "wide": ["members", "member", "member-role", "invitation", "key", "key-form", "company", "all-limits"],
    "narrow": ["members", "member", "member-self", "invite", "department", "key", "company", "limits", "restriction"],
}
"""Which pages are looked at so; with MAINSTAY_SHOTS all are."""


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_it(
    colours: str,
    width: str,
    furnished: dict[str, str],
    open_page: Opener,
    violations: Callable[[Page], list[str]],
    shots: Path,
) -> None:
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        for what in furnished if "MAINSTAY_SHOTS" in os.environ else SEEN[width]:
            page.goto(furnished[what])
            page.screenshot(path=shots / f"{what}-{width}-{colours}.png", full_page=True)
            assert (what, violations(page)) == (what, [])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
